/* A bounded walk over the pages of an LMDB file (data format 1, little-endian, 64 bit).
 *
 * LMDB follows page numbers and offsets as it finds them; a file that a failing disk or a cut-off
 * copy has damaged would end the process instead of giving an error. This walk checks what LMDB
 * takes for granted. What it relies on of the format:
 *
 *   page   0 pgno u64 | 8 pad u16 | 10 flags u16 | 12 lower u16 | 14 upper u16 | 16 offsets u16[]
 *          (overflow pages: 12 number of pages u32)
 *   meta   pages 0 and 1, from byte 16: magic u32 | version u32 | address u64 | mapsize u64 |
 *          two trees (free, main) | last page u64 | transaction u64; the higher transaction counts
 *   tree   pad u32 (of the first: page size) | flags u16 | depth u16 | 4 counts u64 | root u64
 *   node   lo u16 | hi u16 | flags u16 | key size u16 | key | data
 *          leaf: lo, hi are the size of the data; branch: lo, hi, flags are the child's page
 */
#include "base/codec.h"
#include "base/fs.h"
#include "catalogue_int.h"

#define PAGE_HEAD   16u
#define META_BYTES  136u
#define TREE_BYTES  48u
#define NODE_HEAD   8u
#define MAGIC       0xbeefc0deu
#define NO_PAGE     UINT64_MAX
#define DEPTH_MAX   16u
#define P_BRANCH    0x01u
#define P_LEAF      0x02u
#define P_OVERFLOW  0x04u
#define P_META      0x08u
#define N_BIGDATA   0x01u
#define N_SUBDATA   0x02u
#define N_DUPDATA   0x04u

struct walk {
    const uint8_t *p;
    uint64_t pages;   /* whole pages in the file */
    uint64_t visited; /* more than there are: a cycle */
    uint32_t page_bytes;
};

static uint16_t le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}
static uint32_t le32(const uint8_t *p)
{
    return le16(p) | (uint32_t)le16(p + 2) << 16;
}
static uint64_t le64(const uint8_t *p)
{
    return le32(p) | (uint64_t)le32(p + 4) << 32;
}

static enum status bad(struct err *err, uint64_t page, const char *what)
{
    return err_set(err, ST_CORRUPT, "catalogue: page %llu: %s", (unsigned long long)page, what);
}

/* The address of a page that must have one of the kinds in `flags`. */
static enum status page_at(struct walk *w, uint64_t no, unsigned flags, const uint8_t **ret,
                           struct err *err)
{
    const uint8_t *p;

    if (no < 2 || no >= w->pages)
        return bad(err, no, "outside the file");
    if (++w->visited > w->pages)
        return bad(err, no, "reached twice");
    p = w->p + no * w->page_bytes;
    if (le64(p) != no || !(le16(p + 10) & flags) || (le16(p + 10) & 0xfu & ~flags))
        return bad(err, no, "is not what its parent says");
    *ret = p;
    return ST_OK;
}

static enum status walk_tree(struct walk *w, const uint8_t *tree, bool is_free, unsigned nesting,
                             struct err *err);

static enum status big_value(struct walk *w, uint64_t no, uint64_t bytes, const uint8_t **ret,
                             struct err *err)
{
    const uint8_t *p;
    uint64_t n;

    TRY(page_at(w, no, P_OVERFLOW, &p, err));
    n = le32(p + 12);
    if (n == 0 || n > w->pages - no || n * w->page_bytes < bytes + PAGE_HEAD)
        return bad(err, no, "a long value does not fit");
    w->visited += n - 1;
    *ret = p + PAGE_HEAD;
    return ST_OK;
}

static enum status walk_leaf_node(struct walk *w, uint64_t no, const uint8_t *node, size_t left,
                                  bool is_free, unsigned nesting, struct err *err)
{
    uint64_t bytes = le16(node) | (uint64_t)le16(node + 2) << 16;
    unsigned flags = le16(node + 4), key_n = le16(node + 6);
    const uint8_t *data = node + NODE_HEAD + key_n;

    if ((flags & ~(N_BIGDATA | N_SUBDATA)) || key_n == 0 || NODE_HEAD + key_n > left)
        return bad(err, no, "a node's key is outside");
    left -= NODE_HEAD + key_n;
    if (left < ((flags & N_BIGDATA) ? 8 : bytes))
        return bad(err, no, "a node's value is outside");
    if (flags & N_BIGDATA)
        TRY(big_value(w, le64(data), bytes, &data, err));
    if (is_free && (bytes < 8 || le64(data) > bytes / 8 - 1 || key_n != 8))
        return bad(err, no, "a list of free pages is cut off");
    if (flags & N_SUBDATA) {
        if (bytes != TREE_BYTES || nesting || is_free)
            return bad(err, no, "a nested tree where none can be");
        return walk_tree(w, data, false, nesting + 1, err);
    }
    return ST_OK;
}

static enum status walk_page(struct walk *w, uint64_t no, bool is_free, unsigned depth,
                             unsigned nesting, struct err *err)
{
    const uint8_t *p;
    unsigned lower, upper, keys;
    bool leaf;

    if (depth > DEPTH_MAX)
        return bad(err, no, "too deep");
    TRY(page_at(w, no, P_BRANCH | P_LEAF, &p, err));
    leaf = le16(p + 10) & P_LEAF;
    lower = le16(p + 12);
    upper = le16(p + 14);
    if (lower < PAGE_HEAD || lower > upper || upper > w->page_bytes || lower % 2)
        return bad(err, no, "its bounds are not sound");
    keys = (lower - PAGE_HEAD) / 2;
    if (keys < (leaf || is_free ? 1u : 2u))
        return bad(err, no, "holds too little");
    for (unsigned i = 0; i < keys; i++) {
        unsigned at = le16(p + PAGE_HEAD + 2 * i);

        if (at < upper || at + NODE_HEAD > w->page_bytes || at % 2)
            return bad(err, no, "a node is outside");
        if (leaf) {
            TRY(walk_leaf_node(w, no, p + at, w->page_bytes - at, is_free, nesting, err));
            continue;
        }
        if (at + NODE_HEAD + le16(p + at + 6) > w->page_bytes)
            return bad(err, no, "a node's key is outside");
        TRY(walk_page(w, le32(p + at) | (uint64_t)le16(p + at + 4) << 32, is_free, depth + 1,
                      nesting, err));
    }
    return ST_OK;
}

static enum status walk_tree(struct walk *w, const uint8_t *tree, bool is_free, unsigned nesting,
                             struct err *err)
{
    uint64_t root = le64(tree + 40);

    return root == NO_PAGE ? ST_OK : walk_page(w, root, is_free, 1, nesting, err);
}

static bool meta_sound(const uint8_t *page)
{
    return (le16(page + 10) & P_META) && le32(page + PAGE_HEAD) == MAGIC &&
           le32(page + PAGE_HEAD + 4) == 1;
}

static enum status walk_file(const struct fs_map *m, struct err *err)
{
    const uint8_t *p = (const uint8_t *)m->p, *meta;
    struct walk w = {.p = p};

    if (m->n < 2 * (PAGE_HEAD + META_BYTES))
        return bad(err, 0, "cut off");
    w.page_bytes = le32(p + PAGE_HEAD + 24);
    if (w.page_bytes < 512 || w.page_bytes > 65536 || (w.page_bytes & (w.page_bytes - 1)))
        return bad(err, 0, "no sound page size");
    w.pages = m->n / w.page_bytes;
    if (w.pages < 2 || !meta_sound(p) || !meta_sound(p + w.page_bytes))
        return bad(err, 0, "not the head of a catalogue");
    meta = p + PAGE_HEAD;
    if (le64(meta + 128) < le64(meta + w.page_bytes + 128))
        meta += w.page_bytes;
    w.visited = 2;
    TRY(walk_tree(&w, meta + 24, true, 0, err));
    return walk_tree(&w, meta + 24 + TREE_BYTES, false, 0, err);
}

enum status catalogue_pages_check(const char *file, struct err *err)
{
    struct fs_map m;
    enum status st;

    if (!fs_exists(fs_posix(), file))
        return ST_OK;
    TRY(fs_map(fs_posix(), file, &m, err));
    st = m.n ? walk_file(&m, err) : ST_OK;
    fs_unmap(&m);
    return st;
}
