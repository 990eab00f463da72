/* The codec of the log's record bodies.
 *
 *   every body   version u8 | flags u8 | epoch uvarint | items to the end
 *                flags: 1 = every sample carries a start timestamp; others are refused
 *   SERIES       ref | length uvarint | labels in remote-write 1.0 wire form
 *   SAMPLES      ref | count uvarint | count x { time | value f64 le [| start time] }
 *   HISTS        ref | time | start time | length uvarint | prometheus Histogram message
 *   EXEMPLARS    ref | time | value f64 le | length uvarint | labels in wire form
 *   METADATA     type uvarint | metric, help, unit: each length uvarint and bytes
 *   CUT_BEGIN    from varint | to varint
 *   CUT          from varint | to varint | position of CUT_BEGIN uvarint | length uvarint | ULID
 *
 *   ref          varint, difference to the reference before it
 *   time         varint, difference to the time before it in this record, of any series: in a
 *                scrape it is mostly 0, one byte
 *   start time   u8 0: none; 1: varint, time minus start time
 *
 * Checksums, types and tenants are the frame's (wal_write.c). */
#include "wal_record.h"

#include <assert.h>

#define FLAG_ST 1

void wal_code_begin(struct wal_coder *c, struct buf *out, uint64_t epoch, bool with_st)
{
    *c = (struct wal_coder){.out = out, .with_st = with_st};
    buf_u8(out, WAL_RECORD_VERSION);
    buf_u8(out, with_st ? FLAG_ST : 0);
    buf_uvarint(out, epoch);
}

static void code_ref(struct wal_coder *c, uint32_t ref)
{
    buf_varint(c->out, (int64_t)ref - (int64_t)c->prev_ref);
    c->prev_ref = ref;
}

static int64_t minus(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

static int64_t plus(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

static void code_time(struct wal_coder *c, int64_t t_ms)
{
    buf_varint(c->out, minus(t_ms, c->prev_ms));
    c->prev_ms = t_ms;
}

static void code_st(struct wal_coder *c, int64_t t_ms, int64_t st_ms)
{
    buf_u8(c->out, st_ms != 0);
    if (st_ms)
        buf_varint(c->out, minus(t_ms, st_ms));
}

static void code_bytes(struct wal_coder *c, struct sv s)
{
    buf_uvarint(c->out, s.n);
    buf_sv(c->out, s);
}

void wal_code_series(struct wal_coder *c, uint32_t ref, struct labels labels)
{
    size_t at, n;
    uint8_t head[10];
    size_t head_n = 0;

    code_ref(c, ref);
    at = c->out->n;
    labels_to_wire(c->out, labels);
    if (!buf_ok(c->out))
        return;
    n = c->out->n - at;
    for (size_t v = n; head_n == 0 || v; v >>= 7)
        head[head_n++] = (uint8_t)((v & 0x7f) | (v >> 7 ? 0x80 : 0));
    if (!buf_reserve(c->out, head_n)) {
        c->out->over = true;
        return;
    }
    memmove(c->out->p + at + head_n, c->out->p + at, n);
    memcpy(c->out->p + at, head, head_n);
    c->out->n += head_n;
}

void wal_code_group(struct wal_coder *c, uint32_t ref, size_t n)
{
    assert(n > 0);
    code_ref(c, ref);
    buf_uvarint(c->out, n);
}

void wal_code_sample(struct wal_coder *c, const struct batch_sample *s)
{
    code_time(c, s->t_ms);
    buf_le64(c->out, f64_bits(s->f));
    if (c->with_st)
        code_st(c, s->t_ms, s->st_ms);
}

void wal_code_hist(struct wal_coder *c, uint32_t ref, const struct batch_hist *h)
{
    code_ref(c, ref);
    code_time(c, h->t_ms);
    code_st(c, h->t_ms, h->st_ms);
    code_bytes(c, h->wire);
}

void wal_code_exemplar(struct wal_coder *c, uint32_t ref, const struct batch_exemplar *e)
{
    code_ref(c, ref);
    code_time(c, e->t_ms);
    buf_le64(c->out, f64_bits(e->f));
    code_bytes(c, e->raw);
}

void wal_code_metadata(struct wal_coder *c, const struct batch_metadata *m)
{
    buf_uvarint(c->out, m->type);
    code_bytes(c, m->metric);
    code_bytes(c, m->help);
    code_bytes(c, m->unit);
}

void wal_code_cut(struct buf *out, uint64_t epoch, const struct wal_cut *cut)
{
    struct wal_coder c;

    wal_code_begin(&c, out, epoch, false);
    buf_varint(out, cut->window.from_ms);
    buf_varint(out, cut->window.to_ms);
    if (!cut->ulid.n)
        return;
    buf_uvarint(out, cut->begin_pos);
    code_bytes(&c, cut->ulid);
}

enum status wal_read_open(struct wal_reader *r, uint8_t type, struct sv body, struct err *err)
{
    uint8_t version, flags;

    *r = (struct wal_reader){.cur = cur_of(body), .type = type};
    if (type < WAL_SERIES || type > WAL_CUT)
        return err_set(err, ST_CORRUPT, "log record: unknown type %u", type);
    version = cur_u8(&r->cur);
    flags = cur_u8(&r->cur);
    r->epoch = cur_uvarint(&r->cur);
    r->with_st = flags & FLAG_ST;
    if (r->cur.bad)
        return err_set(err, ST_CORRUPT, "log record of type %u: cut short in its head", type);
    if (version != WAL_RECORD_VERSION || (flags & ~FLAG_ST))
        return err_set(
            err, ST_INVALID,
            "log record of type %u: version %u, flags %#x; this program knows version %u", type,
            version, flags, WAL_RECORD_VERSION);
    return ST_OK;
}

static uint32_t read_ref(struct wal_reader *r)
{
    int64_t ref = plus((int64_t)r->ref, cur_varint(&r->cur));

    if (ref < 0 || ref > UINT32_MAX)
        r->cur.bad = true;
    else
        r->ref = (uint32_t)ref;
    return r->ref;
}

static int64_t read_time(struct wal_reader *r)
{
    return r->prev_ms = plus(r->prev_ms, cur_varint(&r->cur));
}

static int64_t read_st(struct wal_reader *r, int64_t t_ms)
{
    return cur_u8(&r->cur) ? minus(t_ms, cur_varint(&r->cur)) : 0;
}

static double read_f64(struct wal_reader *r)
{
    return f64_of_bits(cur_le64(&r->cur));
}

static void read_sample(struct wal_reader *r, struct wal_item *ret)
{
    if (r->group_left == 0) {
        read_ref(r);
        r->group_left = cur_uvarint(&r->cur);
        if (r->group_left == 0 || r->group_left > cur_left(&r->cur) / 9)
            r->cur.bad = true; /* a sample takes 9 bytes at least */
    }
    r->group_left--;
    ret->ref = r->ref;
    ret->sample.t_ms = read_time(r);
    ret->sample.f = read_f64(r);
    ret->sample.st_ms = r->with_st ? read_st(r, ret->sample.t_ms) : 0;
}

static void read_cut(struct wal_reader *r, struct wal_item *ret)
{
    ret->cut.window.from_ms = cur_varint(&r->cur);
    ret->cut.window.to_ms = cur_varint(&r->cur);
    if (r->type == WAL_CUT) {
        ret->cut.begin_pos = cur_uvarint(&r->cur);
        ret->cut.ulid = cur_uvarint_bytes(&r->cur);
        if (!ulid_valid(ret->cut.ulid))
            r->cur.bad = true;
    }
    if (trange_empty(ret->cut.window))
        r->cur.bad = true;
}

static void read_item(struct wal_reader *r, struct wal_item *ret)
{
    switch ((enum wal_record_type)r->type) {
    case WAL_SERIES:
        ret->ref = read_ref(r);
        ret->labels = cur_uvarint_bytes(&r->cur);
        break;
    case WAL_SAMPLES: read_sample(r, ret); break;
    case WAL_HISTS:
        ret->ref = read_ref(r);
        ret->sample.t_ms = read_time(r);
        ret->sample.st_ms = read_st(r, ret->sample.t_ms);
        ret->wire = cur_uvarint_bytes(&r->cur);
        break;
    case WAL_EXEMPLARS:
        ret->ref = read_ref(r);
        ret->sample.t_ms = read_time(r);
        ret->sample.f = read_f64(r);
        ret->labels = cur_uvarint_bytes(&r->cur);
        break;
    case WAL_METADATA:
        ret->metadata.type = (uint32_t)cur_uvarint(&r->cur);
        ret->metadata.metric = cur_uvarint_bytes(&r->cur);
        ret->metadata.help = cur_uvarint_bytes(&r->cur);
        ret->metadata.unit = cur_uvarint_bytes(&r->cur);
        break;
    case WAL_CUT_BEGIN:
    case WAL_CUT: read_cut(r, ret); break;
    }
}

enum status wal_read_next(struct wal_reader *r, struct wal_item *ret, bool *ret_more,
                          struct err *err)
{
    *ret = (struct wal_item){0};
    if (cur_left(&r->cur) == 0 && r->group_left == 0) {
        *ret_more = false;
        return ST_OK;
    }
    read_item(r, ret);
    if (r->cur.bad)
        return err_set(err, ST_CORRUPT, "log record of type %u: malformed, %zu bytes from its end",
                       r->type, cur_left(&r->cur));
    *ret_more = true;
    return ST_OK;
}
