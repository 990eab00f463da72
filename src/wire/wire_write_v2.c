/* io.prometheus.write.v2.Request: two walks over the bytes, the first for the symbols (which may stand
 * anywhere), the second for the series.
 *
 * References are gathered on a stack that all series of the request share; an exemplar's lie above
 * those of its series. What they make (a reference of one byte can name a text of a mebibyte) is
 * measured before it is written, and ends at the arena's ceiling.
 *
 * A series without samples is taken: senders put each exemplar into a series of its own. */
#include "wire_int.h"

struct v2 {
    struct batch *batch;
    struct sv *symbols;
    uint32_t *row_of; /* by symbol, as a series' name: 1 + the last row of metadata */
    uint32_t *refs;
    size_t symbols_n, refs_n, refs_cap;
};

struct meta {
    uint32_t type, help, unit;
};

static enum status bad(struct err *err, const char *what)
{
    return err_set(err, ST_INVALID, "body is not an io.prometheus.write.v2.Request: %s", what);
}

static enum status over(const struct v2 *x, struct err *err)
{
    return wire_over(x->batch->arena, err);
}

static enum status push_ref(struct v2 *x, uint64_t ref, struct err *err)
{
    /* What does not fit is cut off, as everywhere in protobuf. */
    uint32_t at = (uint32_t)ref;

    if (UNLIKELY(at >= x->symbols_n))
        return err_set(err, ST_INVALID,
                       "body is not an io.prometheus.write.v2.Request: reference to symbol %u of %zu",
                       at, x->symbols_n);
    if (UNLIKELY(x->refs_n == x->refs_cap)) {
        size_t cap = x->refs_cap ? x->refs_cap * 2 : 256;
        uint32_t *p = arena_alloc(x->batch->arena, cap * sizeof(*p));

        if (!p)
            return over(x, err);
        if (x->refs_n)
            memcpy(p, x->refs, x->refs_n * sizeof(*p));
        x->refs = p;
        x->refs_cap = cap;
    }
    x->refs[x->refs_n++] = at;
    return ST_OK;
}

/* labels_refs, packed as senders write them, or one by one. */
static enum status push_refs(struct v2 *x, const struct field *f, struct err *err)
{
    struct walk w;
    uint64_t v;

    if (f->type == PB_VARINT)
        return push_ref(x, f->v, err);
    if (f->type != PB_LEN)
        return bad(err, "malformed label references");
    w = walk_of(f->bytes);
    while (w.p < w.end) {
        if (UNLIKELY(!walk_varint(&w, &v)))
            return bad(err, "malformed label references");
        TRY(push_ref(x, v, err));
    }
    return ST_OK;
}

static inline size_t uvarint_size(uint64_t v)
{
    size_t n = 1;

    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

static inline char *put_uvarint(char *p, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *p++ = (char)(v | 0x80);
    *p++ = (char)v;
    return p;
}

static inline char *put_text(char *p, char tag, struct sv s)
{
    *p++ = tag;
    p = put_uvarint(p, s.n);
    if (s.n)
        memcpy(p, s.p, s.n);
    return p + s.n;
}

static inline size_t label_size(struct sv name, struct sv value)
{
    return 2 + uvarint_size(name.n) + name.n + uvarint_size(value.n) + value.n;
}

/* The labels of the references from `from` on, as 1.0 writes them. */
static enum status labels_of(struct v2 *x, size_t from, struct sv *ret, struct err *err)
{
    size_t bytes = 0;
    char *p;

    *ret = (struct sv){NULL, 0};
    if ((x->refs_n - from) % 2)
        return bad(err, "odd number of label references");
    for (size_t i = from; i < x->refs_n; i += 2) {
        size_t n = label_size(x->symbols[x->refs[i]], x->symbols[x->refs[i + 1]]);

        bytes += 1 + uvarint_size(n) + n;
        if (UNLIKELY(bytes > x->batch->arena->max_bytes))
            return over(x, err);
    }
    if (!bytes)
        return ST_OK;
    p = arena_alloc(x->batch->arena, bytes);
    if (!p)
        return over(x, err);
    *ret = sv_make(p, bytes);
    for (size_t i = from; i < x->refs_n; i += 2) {
        struct sv name = x->symbols[x->refs[i]], value = x->symbols[x->refs[i + 1]];

        *p++ = 0x0a;
        p = put_uvarint(p, label_size(name, value));
        p = put_text(p, 0x0a, name);
        p = put_text(p, 0x12, value);
    }
    return ST_OK;
}

static enum status sample(struct v2 *x, struct sv msg, struct err *err)
{
    struct batch_sample *s = batch_add_sample(x->batch);
    struct walk w = walk_of(msg);
    struct field f;

    if (!s)
        return over(x, err);
    while (w.p < w.end) {
        if (UNLIKELY(!walk_field(&w, &f) || (f.no == 1 && f.type != PB_I64) ||
                     ((f.no == 2 || f.no == 3) && f.type != PB_VARINT)))
            return bad(err, "malformed sample");
        switch (f.no) {
        case 1: s->f = double_of(f.v); break;
        case 2: s->t_ms = (int64_t)f.v; break;
        case 3: s->st_ms = (int64_t)f.v; break;
        default: break;
        }
    }
    return ST_OK;
}

static enum status histogram(struct v2 *x, struct sv msg, struct err *err)
{
    struct batch_hist *h = batch_add_hist(x->batch);
    enum status st;

    if (!h)
        return over(x, err);
    st = wire_hist(msg, x->batch->arena, h, err);
    return st == ST_INVALID ? bad(err, "malformed histogram") : st;
}

static enum status exemplar(struct v2 *x, struct sv msg, struct err *err)
{
    struct batch_exemplar *e = batch_add_exemplar(x->batch);
    struct walk w = walk_of(msg);
    size_t from = x->refs_n;
    struct field f;

    if (!e)
        return over(x, err);
    while (w.p < w.end) {
        if (!walk_field(&w, &f) || (f.no == 2 && f.type != PB_I64) ||
            (f.no == 3 && f.type != PB_VARINT))
            return bad(err, "malformed exemplar");
        switch (f.no) {
        case 1: TRY(push_refs(x, &f, err)); break;
        case 2: e->f = double_of(f.v); break;
        case 3: e->t_ms = (int64_t)f.v; break;
        default: break;
        }
    }
    TRY(labels_of(x, from, &e->raw, err));
    x->refs_n = from;
    return ST_OK;
}

/* A message in two pieces is one, with what the later piece sets. */
static enum status metadata(struct v2 *x, struct sv msg, struct meta *m, struct err *err)
{
    struct walk w = walk_of(msg);
    struct meta piece = {0};
    struct field f;

    while (w.p < w.end) {
        if (!walk_field(&w, &f) || ((f.no == 1 || f.no == 3 || f.no == 4) && f.type != PB_VARINT))
            return bad(err, "malformed metadata");
        switch (f.no) {
        case 1: piece.type = (uint32_t)f.v; break;
        case 3: piece.help = (uint32_t)f.v; break;
        case 4: piece.unit = (uint32_t)f.v; break;
        default: break;
        }
    }
    if (piece.help >= x->symbols_n || piece.unit >= x->symbols_n)
        return bad(err, "metadata refers to a symbol that is not there");
    m->type = piece.type ? piece.type : m->type;
    m->help = piece.help ? piece.help : m->help;
    m->unit = piece.unit ? piece.unit : m->unit;
    return ST_OK;
}

static struct sv trim_suffix(struct sv name, const char *suffix)
{
    size_t n = strlen(suffix);

    return name.n > n && memcmp(name.p + name.n - n, suffix, n) == 0 ? sv_sub(name, 0, name.n - n)
                                                                     : name;
}

struct sv wire_family_of(struct sv name, uint32_t type)
{
    static const char *const suffixes[8][3] = {[3] = {"_bucket", "_count", "_sum"},
                                               [4] = {"_bucket", "_gcount", "_gsum"},
                                               [5] = {"_count", "_sum"}};

    for (int i = 0; i < 3 && type < 8 && suffixes[type][i]; i++) {
        struct sv family = trim_suffix(name, suffixes[type][i]);

        if (family.n < name.n)
            return family;
    }
    return name;
}

/* The metadata of a series whose references begin at `from`. All series of a name bring the same: one
 * row is enough. */
static enum status keep_metadata(struct v2 *x, size_t from, const struct meta *m, struct err *err)
{
    struct batch_metadata row = {.type = wire_metadata_type_of((int32_t)m->type)}, *to;
    uint32_t *last = NULL;

    if (!m->type && !m->help && !m->unit)
        return ST_OK;
    for (size_t i = from; i < x->refs_n && !last; i += 2)
        if (sv_is(x->symbols[x->refs[i]], "__name__"))
            last = &x->row_of[x->refs[i + 1]], row.metric = x->symbols[x->refs[i + 1]];
    if (!row.metric.n)
        return ST_OK; /* such a series is refused */
    row.metric = wire_family_of(row.metric, row.type);
    row.help = x->symbols[m->help];
    row.unit = x->symbols[m->unit];
    to = *last ? &x->batch->metadata[*last - 1] : NULL;
    if (to && to->type == row.type && sv_eq(to->help, row.help) && sv_eq(to->unit, row.unit))
        return ST_OK;
    to = batch_add_metadata(x->batch);
    if (!to)
        return over(x, err);
    *to = row;
    *last = (uint32_t)x->batch->metadata_n;
    return ST_OK;
}

static void start_all(struct batch *b, const struct batch_series *s, int64_t st_ms)
{
    for (uint32_t i = s->sample_off; st_ms && i < b->samples_n; i++)
        if (!b->samples[i].st_ms)
            b->samples[i].st_ms = st_ms;
    for (uint32_t i = s->hist_off; st_ms && i < b->hists_n; i++)
        if (!b->hists[i].st_ms)
            b->hists[i].st_ms = st_ms;
}

static enum status series_fields(struct v2 *x, struct sv msg, struct meta *m, int64_t *ret_st_ms,
                                 struct err *err)
{
    struct walk w = walk_of(msg);
    struct field f;

    while (w.p < w.end) {
        if (UNLIKELY(!walk_field(&w, &f) || (f.no >= 2 && f.no <= 5 && f.type != PB_LEN) ||
                     (f.no == 6 && f.type != PB_VARINT)))
            return bad(err, "malformed series");
        switch (f.no) {
        case 1: TRY(push_refs(x, &f, err)); break;
        case 2: TRY(sample(x, f.bytes, err)); break;
        case 3: TRY(histogram(x, f.bytes, err)); break;
        case 4: TRY(exemplar(x, f.bytes, err)); break;
        case 5: TRY(metadata(x, f.bytes, m, err)); break;
        case 6: *ret_st_ms = (int64_t)f.v; break;
        default: break;
        }
    }
    return ST_OK;
}

static enum status series(struct v2 *x, struct sv msg, struct err *err)
{
    struct batch *b = x->batch;
    struct batch_series *s = batch_add_series(b);
    struct meta m = {0};
    int64_t st_ms = 0;

    if (!s)
        return over(x, err);
    s->sample_off = (uint32_t)b->samples_n;
    s->hist_off = (uint32_t)b->hists_n;
    s->exemplar_off = (uint32_t)b->exemplars_n;
    x->refs_n = 0;
    TRY(series_fields(x, msg, &m, &st_ms, err));
    TRY(labels_of(x, 0, &s->raw, err));
    TRY(keep_metadata(x, 0, &m, err));
    s->alias = hash128(s->raw.p, s->raw.n, b->alias_key);
    s->sample_n = (uint32_t)b->samples_n - s->sample_off;
    s->hist_n = (uint32_t)b->hists_n - s->hist_off;
    s->exemplar_n = (uint32_t)b->exemplars_n - s->exemplar_off;
    start_all(b, s, st_ms);
    return ST_OK;
}

/* First walk: the symbols, and whether the request is well-formed at this level. */
static enum status symbols(struct v2 *x, struct sv body, struct err *err)
{
    struct walk w = walk_of(body);
    size_t n = 0, series_n = 0;
    struct field f;

    while (w.p < w.end) {
        if (!walk_field(&w, &f) || ((f.no == 4 || f.no == 5) && f.type != PB_LEN))
            return bad(err, "malformed request");
        n += f.no == 4;
        series_n += f.no == 5;
    }
    x->symbols = arena_array(x->batch->arena, n + 1, sizeof(*x->symbols));
    x->row_of = arena_array(x->batch->arena, n + 1, sizeof(*x->row_of));
    if (!x->symbols || !x->row_of)
        return over(x, err);
    w = walk_of(body);
    while (w.p < w.end && walk_field(&w, &f))
        if (f.no == 4)
            x->symbols[x->symbols_n++] = f.bytes;
    if (n ? x->symbols[0].n != 0 : series_n != 0)
        return bad(err, "the first symbol is not empty");
    return ST_OK;
}

enum status wire_write_v2(struct sv body, struct batch *batch, struct err *err)
{
    struct v2 x = {.batch = batch};
    struct walk w = walk_of(body);
    struct field f = {0};

    TRY(symbols(&x, body, err));
    while (w.p < w.end && walk_field(&w, &f))
        if (f.no == 5)
            TRY(series(&x, f.bytes, err));
    return ST_OK;
}
