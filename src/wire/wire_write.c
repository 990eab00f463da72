/* prometheus.WriteRequest, the hot decoder: one walk over the bytes, columns in the batch's arena.
 *
 * A series is not taken apart. The bytes of its labels are named by a hash, and what the labels are is
 * asked only where the hash is unknown; here they are merely held to be well-formed, so that the later
 * parse can't fail. Senders write them in one piece and in plain form; labels that lie scattered, or
 * hold fields a label does not have, are written anew into the arena.
 */
#include "wire_int.h"

enum { TAG_1_LEN = 0x0a, TAG_2_LEN = 0x12, TAG_1_I64 = 0x09, TAG_2_VARINT = 0x10 };

enum status wire_bad(struct err *err, const char *what)
{
    return err_set(err, ST_INVALID, "body is not a WriteRequest: malformed %s", what);
}

enum status wire_over(const struct arena *arena, struct err *err)
{
    return err_set(err, ST_LIMIT, "decoding this request needs more than %zu bytes",
                   arena->max_bytes);
}

/* A Label of the two known fields with one-byte tags, which labels_from_wire() reads. */
static inline bool label_plain(struct sv msg, bool *ret_plain)
{
    struct walk w = walk_of(msg);
    struct field f;

    *ret_plain = true;
    /* What every sender writes: a short name, a short value, nothing else. */
    if (LIKELY(msg.n >= 4 && w.p[0] == TAG_1_LEN && w.p[1] < 0x80 && msg.n >= 4 + (size_t)w.p[1])) {
        const uint8_t *value = w.p + 2 + w.p[1];

        if (LIKELY(value[0] == TAG_2_LEN && value[1] < 0x80 && value + 2 + value[1] == w.end))
            return true;
    }
    while (w.p < w.end) {
        uint8_t tag = *w.p;

        if (LIKELY(tag == TAG_1_LEN || tag == TAG_2_LEN)) {
            w.p++;
            if (UNLIKELY(!walk_bytes(&w, &f.bytes)))
                return false;
            continue;
        }
        *ret_plain = false;
        if (!walk_field(&w, &f) || ((f.no == 1 || f.no == 2) && f.type != PB_LEN))
            return false;
    }
    return true;
}

static struct label label_parse(struct sv msg)
{
    struct label l = {{NULL, 0}, {NULL, 0}};
    struct walk w = walk_of(msg);
    struct field f;

    while (w.p < w.end && walk_field(&w, &f)) {
        if (f.no == 1)
            l.name = f.bytes;
        else if (f.no == 2)
            l.value = f.bytes;
    }
    return l;
}

/* The labels of a message (field 1) in plain form, in one piece, in the arena. */
static bool labels_anew(struct sv msg, struct arena *arena, struct sv *ret)
{
    struct arena_mark begin = arena_mark(arena);
    struct walk w = walk_of(msg);
    struct labels ls = {NULL, 0};
    struct buf out;
    struct field f;

    while (w.p < w.end && walk_field(&w, &f))
        ls.n += f.no == 1;
    ls.p = arena_array(arena, ls.n ? ls.n : 1, sizeof(*ls.p));
    if (!ls.p)
        return false;
    ls.n = 0;
    w = walk_of(msg);
    while (w.p < w.end && walk_field(&w, &f))
        if (f.no == 1)
            ls.p[ls.n++] = label_parse(f.bytes);
    /* A label grows by its two tags, lengths and outer length at most. */
    buf_init(&out, msg.n + ls.n * 24);
    labels_to_wire(&out, ls);
    arena_back(arena, begin);
    *ret = arena_sv(arena, buf_view(&out));
    buf_fini(&out);
    return ret->p != NULL;
}

/* Where the labels of a message lie while it is walked. */
struct labels_at {
    struct sv raw;
    bool seen, anew;
};

static inline bool labels_see(struct labels_at *at, const uint8_t *from, const struct walk *w,
                              struct sv label)
{
    bool plain;

    if (UNLIKELY(!label_plain(label, &plain)))
        return false;
    if (!at->seen)
        at->raw = sv_make(from, 0);
    if (UNLIKELY(!plain || *from != TAG_1_LEN || (const char *)from != at->raw.p + at->raw.n))
        at->anew = true;
    at->seen = true;
    at->raw.n = (size_t)((const char *)w->p - at->raw.p);
    return true;
}

static inline bool sample_parse(struct sv msg, struct batch_sample *s)
{
    struct walk w = walk_of(msg);
    struct field f;

    /* What every sender writes: value, then timestamp. */
    if (LIKELY(msg.n >= 11 && w.p[0] == TAG_1_I64 && w.p[9] == TAG_2_VARINT)) {
        uint64_t v;

        memcpy(&v, w.p + 1, sizeof(v));
        s->f = double_of(v);
        w.p += 10;
        if (!walk_varint(&w, &v))
            return false;
        s->t_ms = (int64_t)v;
    }
    while (UNLIKELY(w.p < w.end)) {
        if (!walk_field(&w, &f))
            return false;
        if (f.no == 1) {
            if (f.type != PB_I64)
                return false;
            s->f = double_of(f.v);
        } else if (f.no == 2) {
            if (f.type != PB_VARINT)
                return false;
            s->t_ms = (int64_t)f.v;
        }
    }
    return true;
}

static enum status sample(struct sv msg, struct batch *b, struct err *err)
{
    struct batch_sample *s;

    if (LIKELY(b->samples_n < b->samples_cap)) {
        s = &b->samples[b->samples_n++];
        *s = (struct batch_sample){0};
    } else {
        s = batch_add_sample(b);
        if (!s)
            return wire_over(b->arena, err);
    }
    return LIKELY(sample_parse(msg, s)) ? ST_OK : wire_bad(err, "sample");
}

static enum status exemplar(struct sv msg, struct batch *b, struct err *err)
{
    struct batch_exemplar *e = batch_add_exemplar(b);
    struct labels_at at = {0};
    struct walk w = walk_of(msg);
    struct field f;

    if (!e)
        return wire_over(b->arena, err);
    while (w.p < w.end) {
        const uint8_t *from = w.p;
        bool ok = walk_field(&w, &f);

        if (ok && f.no == 1)
            ok = f.type == PB_LEN && labels_see(&at, from, &w, f.bytes);
        else if (ok && f.no == 2)
            ok = f.type == PB_I64;
        else if (ok && f.no == 3)
            ok = f.type == PB_VARINT;
        if (!ok)
            return wire_bad(err, "exemplar");
        if (f.no == 2)
            e->f = double_of(f.v);
        else if (f.no == 3)
            e->t_ms = (int64_t)f.v;
    }
    e->raw = at.raw;
    if (at.anew && !labels_anew(msg, b->arena, &e->raw))
        return wire_over(b->arena, err);
    return ST_OK;
}

static enum status histogram(struct sv msg, struct batch *b, struct err *err)
{
    struct batch_hist *h = batch_add_hist(b);

    if (!h)
        return wire_over(b->arena, err);
    return wire_hist(msg, b->arena, h, err);
}

static enum status series(struct sv msg, struct batch *b, struct err *err)
{
    struct batch_series *s = batch_add_series(b);
    struct labels_at at = {0};
    struct walk w = walk_of(msg);
    struct field f;

    if (!s)
        return wire_over(b->arena, err);
    s->sample_off = (uint32_t)b->samples_n;
    s->hist_off = (uint32_t)b->hists_n;
    s->exemplar_off = (uint32_t)b->exemplars_n;
    while (w.p < w.end) {
        const uint8_t *from = w.p;

        if (UNLIKELY(!walk_field(&w, &f) || (f.no >= 1 && f.no <= 4 && f.type != PB_LEN)))
            return wire_bad(err, "series");
        switch (f.no) {
        case 1:
            if (UNLIKELY(!labels_see(&at, from, &w, f.bytes)))
                return wire_bad(err, "label");
            break;
        case 2: TRY(sample(f.bytes, b, err)); break;
        case 3: TRY(exemplar(f.bytes, b, err)); break;
        case 4: TRY(histogram(f.bytes, b, err)); break;
        default: break;
        }
    }
    s->raw = at.raw;
    if (UNLIKELY(at.anew) && !labels_anew(msg, b->arena, &s->raw))
        return wire_over(b->arena, err);
    s->alias = hash128(s->raw.p, s->raw.n, b->alias_key);
    s->sample_n = (uint32_t)b->samples_n - s->sample_off;
    s->hist_n = (uint32_t)b->hists_n - s->hist_off;
    s->exemplar_n = (uint32_t)b->exemplars_n - s->exemplar_off;
    return ST_OK;
}

static enum status metadata(struct sv msg, struct batch *b, struct err *err)
{
    struct batch_metadata *m = batch_add_metadata(b);
    struct walk w = walk_of(msg);
    struct field f;

    if (!m)
        return wire_over(b->arena, err);
    while (w.p < w.end) {
        if (!walk_field(&w, &f) || (f.no == 1 && f.type != PB_VARINT) ||
            ((f.no == 2 || f.no == 4 || f.no == 5) && f.type != PB_LEN))
            return wire_bad(err, "metadata");
        switch (f.no) {
        case 1: m->type = wire_metadata_type_of((int32_t)f.v); break;
        case 2: m->metric = f.bytes; break;
        case 4: m->help = f.bytes; break;
        case 5: m->unit = f.bytes; break;
        default: break;
        }
    }
    return ST_OK;
}

enum status wire_write_v1(struct sv body, struct batch *batch, struct err *err)
{
    struct walk w = walk_of(body);
    struct field f;

    while (w.p < w.end) {
        if (!walk_field(&w, &f) || ((f.no == 1 || f.no == 3) && f.type != PB_LEN))
            return wire_bad(err, "request");
        if (LIKELY(f.no == 1))
            TRY(series(f.bytes, batch, err));
        else if (f.no == 3)
            TRY(metadata(f.bytes, batch, err));
    }
    return ST_OK;
}
