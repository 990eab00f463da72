/* meta.json, as Prometheus writes it (tabs, order of keys), with the `thanos` section that Thanos and
 * Cortex expect and one of our own. Prometheus ignores keys it does not know. */
#include "block_int.h"

#include <inttypes.h>
#include <stdio.h>

#define META_VERSION   1 /* of meta.json, Prometheus's */
#define ENGRAM_VERSION 1 /* of the section "engram" */

static const char from_ooo[] = "from-out-of-order"; /* Prometheus's compaction hint */

/* --- reading --- */

static bool copy(const struct json *j, char *out, size_t out_n)
{
    struct sv s;

    if (!json_sv(j, &s))
        return true; /* absent: stays empty */
    if (s.n >= out_n || memchr(s.p, 0, s.n))
        return false;
    memcpy(out, s.p, s.n);
    out[s.n] = 0;
    return true;
}

static uint64_t number(const struct json *j)
{
    int64_t v;

    return json_i64(j, &v) && v > 0 ? (uint64_t)v : 0;
}

static enum status read_compaction(const struct json *j, struct block_meta *m, struct err *err)
{
    const struct json *sources = json_get(j, "sources"), *hints = json_get(j, "hints");
    uint64_t level = number(json_get(j, "level"));
    struct sv s;

    m->level = level > 0 && level < 1000 ? (unsigned)level : 1;
    /* A foreign block can have more sources than we keep; nobody asks for the rest. */
    for (size_t i = 0; i < json_len(sources) && m->sources_n < BLOCK_SOURCES_MAX; i++) {
        if (!json_sv(json_at(sources, i), &s) || !ulid_valid(s))
            return err_set(err, ST_CORRUPT, "meta.json: a source is not a ULID");
        memcpy(m->sources[m->sources_n++], s.p, ULID_LEN);
    }
    for (size_t i = 0; i < json_len(hints); i++)
        if (json_sv(json_at(hints, i), &s) && sv_is(s, from_ooo))
            m->out_of_order = true;
    return ST_OK;
}

static enum status read_root(const struct json *root, struct block_meta *m, struct err *err)
{
    const struct json *stats = json_get(root, "stats"), *own = json_get(root, "engram");
    const struct json *labels = json_get(json_get(root, "thanos"), "labels");
    int64_t version;
    struct sv s;

    if (!json_i64(json_get(root, "version"), &version) || version != META_VERSION)
        return err_set(err, ST_CORRUPT, "meta.json: its version is not %d", META_VERSION);
    if (json_i64(json_get(own, "version"), &version) && version > ENGRAM_VERSION)
        return err_set(err, ST_CORRUPT,
                       "meta.json: its section engram has version %" PRId64 ", newer than %d", version,
                       ENGRAM_VERSION);
    if (!json_sv(json_get(root, "ulid"), &s) || !ulid_valid(s))
        return err_set(err, ST_CORRUPT, "meta.json: no valid ulid");
    memcpy(m->ulid, s.p, ULID_LEN);
    if (!json_i64(json_get(root, "minTime"), &m->range.from_ms) ||
        !json_i64(json_get(root, "maxTime"), &m->range.to_ms) || m->range.from_ms > m->range.to_ms)
        return err_set(err, ST_CORRUPT, "meta.json: no valid minTime and maxTime");
    m->num_samples = number(json_get(stats, "numSamples"));
    m->num_series = number(json_get(stats, "numSeries"));
    m->num_chunks = number(json_get(stats, "numChunks"));
    TRY(read_compaction(json_get(root, "compaction"), m, err));
    if (!copy(json_get(labels, "__org_id__"), m->tenant, sizeof(m->tenant)) ||
        !copy(json_get(labels, "__ingester_id__"), m->ingester, sizeof(m->ingester)))
        return err_set(err, ST_CORRUPT, "meta.json: a label of the section thanos is too long");
    m->log_from = number(json_get(own, "log_from"));
    m->log_to = number(json_get(own, "log_to"));
    m->cut_seq = number(json_get(own, "cut_seq"));
    return ST_OK;
}

enum status block_meta_read(struct sv json, struct block_meta *ret, struct err *err)
{
    struct json_doc *doc = NULL;
    struct block_meta m = {0};
    enum status st;

    if (json.n > BLOCK_META_MAX)
        return err_set(err, ST_CORRUPT, "meta.json of %zu bytes", json.n);
    if (json_parse(json, &doc, err) != ST_OK)
        return err ? (err->st = ST_CORRUPT, err_wrap(err, "meta.json")) : ST_CORRUPT;
    st = read_root(json_root(doc), &m, err);
    json_free(doc);
    if (st == ST_OK)
        *ret = m;
    return st;
}

/* --- writing --- */

static void write_compaction(struct buf *b, const struct block_meta *m)
{
    buf_printf(b, "\t\"compaction\": {\n\t\t\"level\": %u,\n\t\t\"sources\": [", m->level ? m->level : 1);
    for (unsigned i = 0; i < m->sources_n; i++)
        buf_printf(b, "%s\n\t\t\t\"%s\"", i ? "," : "", m->sources[i]);
    if (m->sources_n == 0)
        buf_printf(b, "\n\t\t\t\"%s\"", m->ulid);
    buf_str(b, "\n\t\t]");
    if (m->out_of_order)
        buf_printf(b, ",\n\t\t\"hints\": [\n\t\t\t\"%s\"\n\t\t]", from_ooo);
    buf_str(b, "\n\t},\n\t\"version\": 1");
}

static void write_label(struct buf *b, bool first, const char *name, const char *value)
{
    buf_printf(b, "%s\n\t\t\t\"%s\": ", first ? "" : ",", name);
    json_str(b, sv_of(value));
}

static void write_thanos(struct buf *b, const struct block_meta *m)
{
    buf_str(b, ",\n\t\"thanos\": {\n\t\t\"version\": 1,\n\t\t\"labels\": {");
    if (m->ingester[0])
        write_label(b, true, "__ingester_id__", m->ingester);
    if (m->tenant[0])
        write_label(b, !m->ingester[0], "__org_id__", m->tenant);
    buf_str(b, m->ingester[0] || m->tenant[0] ? "\n\t\t}" : "}");
    buf_str(b, ",\n\t\t\"downsample\": {\n\t\t\t\"resolution\": 0\n\t\t},\n\t\t\"source\": \"engram\"\n\t}");
}

void block_meta_write(struct buf *out, const struct block_meta *m)
{
    buf_printf(out, "{\n\t\"ulid\": \"%s\",\n\t\"minTime\": %" PRId64 ",\n\t\"maxTime\": %" PRId64 ",\n",
               m->ulid, m->range.from_ms, m->range.to_ms);
    buf_printf(out,
               "\t\"stats\": {\n\t\t\"numSamples\": %" PRIu64 ",\n\t\t\"numSeries\": %" PRIu64
               ",\n\t\t\"numChunks\": %" PRIu64 "\n\t},\n",
               m->num_samples, m->num_series, m->num_chunks);
    write_compaction(out, m);
    write_thanos(out, m);
    buf_printf(out,
               ",\n\t\"engram\": {\n\t\t\"version\": %d,\n\t\t\"log_from\": %" PRIu64
               ",\n\t\t\"log_to\": %" PRIu64 ",\n\t\t\"cut_seq\": %" PRIu64 "\n\t}\n}\n",
               ENGRAM_VERSION, m->log_from, m->log_to, m->cut_seq);
}
