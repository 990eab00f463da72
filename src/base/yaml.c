/* YAML by libyaml's event parser: the only file that knows libyaml.
 *
 * Events and not libyaml's own documents, because only there anchors, aliases, tags and depth can
 * be refused before they cost anything. Depth matters: libyaml's time is quadratic in it, so it is
 * held against a ceiling at each opening, while no more than a kilobyte has been looked ahead.
 * Duplicate keys, which libyaml keeps, are found with one hash map per open map.
 *
 * Our own names avoid yaml_free() and the like, which the library exports. */
#include "base/yaml.h"

#include "base/arena.h"
#include "base/heap.h"
#include "base/hmap.h"

#include <assert.h>
#include <yaml.h>

/* The smallest entry of a file is 2 bytes, a node some 120; a sensible file needs far less. */
#define TREE_MAX_BYTES ((size_t)32 << 20)

struct yaml_tree {
    struct arena arena;
    struct yaml *root;
};

struct frame { /* an open map or list */
    struct yaml *node, *last;
    struct hmap keys; /* key -> its struct yaml, maps only */
    struct sv key;    /* read, its value not yet */
    unsigned key_line;
    bool has_key;
};

struct load {
    yaml_parser_t parser;
    struct yaml_tree *tree;
    struct frame frames[YAML_MAX_DEPTH];
    size_t depth;
    bool ended;
};

static unsigned line_of(const yaml_event_t *ev)
{
    return (unsigned)ev->start_mark.line + 1;
}

static enum status no_memory(struct err *err)
{
    return err_set(err, ST_LIMIT, "yaml: more than %zu bytes of entries", TREE_MAX_BYTES);
}

static enum status libyaml_says(const yaml_parser_t *p, struct err *err)
{
    if (p->error == YAML_READER_ERROR)
        return err_set(err, ST_INVALID, "yaml: byte %zu: %s", p->problem_offset, p->problem);
    return err_set(err, ST_INVALID, "line %zu: %s%s%s", p->problem_mark.line + 1,
                   p->problem ? p->problem : "not yaml", p->context ? " " : "",
                   p->context ? p->context : "");
}

/* Hangs a new node under the innermost open one. */
static enum status add_node(struct load *l, enum yaml_kind kind, unsigned line, struct yaml **ret,
                            struct err *err)
{
    struct frame *f = l->depth ? &l->frames[l->depth - 1] : NULL;
    struct yaml *y = arena_new(&l->tree->arena, struct yaml);

    if (!y)
        return no_memory(err);
    y->kind = kind;
    y->line = line;
    if (!f) {
        assert(!l->tree->root);
        l->tree->root = y;
        *ret = y;
        return ST_OK;
    }
    if (f->node->kind == YAML_MAP) {
        assert(f->has_key);
        y->key = f->key;
        y->key_line = f->key_line;
        f->has_key = false;
        hmap_set(&f->keys, y->key, y);
    }
    if (f->last)
        f->last->next = y;
    else
        f->node->child = y;
    f->last = y;
    f->node->n++;
    *ret = y;
    return ST_OK;
}

static bool wants_key(const struct load *l)
{
    const struct frame *f = l->depth ? &l->frames[l->depth - 1] : NULL;

    return f && f->node->kind == YAML_MAP && !f->has_key;
}

static enum status take_key(struct load *l, struct sv key, unsigned line, struct err *err)
{
    struct frame *f = &l->frames[l->depth - 1];
    const struct yaml *old = hmap_get(&f->keys, key);

    if (key.n == 0)
        return err_set(err, ST_INVALID, "line %u: empty key", line);
    if (old)
        return err_set(err, ST_INVALID,
                       "line %u: key \"" SV_FMT "\" is there twice, first on line %u", line,
                       SV_ARG(sv_sub(key, 0, 200)), old->key_line);
    f->key = key;
    f->key_line = line;
    f->has_key = true;
    return ST_OK;
}

static enum status on_scalar(struct load *l, const yaml_event_t *ev, struct err *err)
{
    struct sv s = sv_make(ev->data.scalar.value, ev->data.scalar.length);
    struct yaml *y;

    if (sv_find(s, 0) != SIZE_MAX)
        return err_set(err, ST_INVALID, "line %u: a NUL character", line_of(ev));
    s = arena_sv(&l->tree->arena, s);
    if (!s.p)
        return no_memory(err);
    if (wants_key(l))
        return take_key(l, s, line_of(ev), err);
    TRY(add_node(l, YAML_SCALAR, line_of(ev), &y, err));
    y->text = s;
    y->quoted = ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return ST_OK;
}

static enum status on_open(struct load *l, enum yaml_kind kind, unsigned line, struct err *err)
{
    struct frame *f;
    struct yaml *y = NULL;

    if (wants_key(l))
        return err_set(err, ST_INVALID, "line %u: a key must be a plain text", line);
    if (l->depth == YAML_MAX_DEPTH)
        return err_set(err, ST_LIMIT, "line %u: nested deeper than %d levels", line,
                       YAML_MAX_DEPTH);
    TRY(add_node(l, kind, line, &y, err));
    f = &l->frames[l->depth++];
    *f = (struct frame){.node = y};
    hmap_init(&f->keys);
    return ST_OK;
}

static void on_close(struct load *l)
{
    assert(l->depth > 0);
    hmap_fini(&l->frames[--l->depth].keys);
}

static enum status no_extras(const yaml_char_t *anchor, const yaml_char_t *tag, unsigned line,
                             struct err *err)
{
    if (anchor)
        return err_set(err, ST_INVALID, "line %u: anchors (&%.100s) are not taken", line,
                       (const char *)anchor);
    if (tag)
        return err_set(err, ST_INVALID, "line %u: tags (%.100s) are not taken", line,
                       (const char *)tag);
    return ST_OK;
}

static enum status on_event(struct load *l, const yaml_event_t *ev, struct err *err)
{
    unsigned line = line_of(ev);

    switch (ev->type) {
    case YAML_ALIAS_EVENT:
        return err_set(err, ST_INVALID, "line %u: aliases (*%.100s) are not taken", line,
                       (const char *)ev->data.alias.anchor);
    case YAML_SCALAR_EVENT:
        TRY(no_extras(ev->data.scalar.anchor, ev->data.scalar.tag, line, err));
        return on_scalar(l, ev, err);
    case YAML_SEQUENCE_START_EVENT:
        TRY(no_extras(ev->data.sequence_start.anchor, ev->data.sequence_start.tag, line, err));
        return on_open(l, YAML_LIST, line, err);
    case YAML_MAPPING_START_EVENT:
        TRY(no_extras(ev->data.mapping_start.anchor, ev->data.mapping_start.tag, line, err));
        return on_open(l, YAML_MAP, line, err);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: on_close(l); return ST_OK;
    case YAML_DOCUMENT_START_EVENT:
        if (l->tree->root)
            return err_set(err, ST_INVALID, "line %u: a second document", line);
        return ST_OK;
    case YAML_STREAM_END_EVENT: l->ended = true; return ST_OK;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT: return ST_OK;
    }
    return ST_OK;
}

static enum status run(struct load *l, struct err *err)
{
    while (!l->ended) {
        yaml_event_t ev;
        enum status st;

        if (!yaml_parser_parse(&l->parser, &ev))
            return libyaml_says(&l->parser, err);
        st = on_event(l, &ev, err);
        yaml_event_delete(&ev);
        TRY(st);
    }
    assert(l->depth == 0);
    return ST_OK;
}

enum status yaml_tree_parse(struct sv text, struct yaml_tree **ret, struct err *err)
{
    struct load *l;
    struct yaml *root;
    enum status st;

    if (text.n > YAML_MAX_BYTES)
        return err_set(err, ST_LIMIT, "yaml: %zu bytes are more than %zu", text.n, YAML_MAX_BYTES);
    l = heap_new(struct load);
    l->tree = heap_new(struct yaml_tree);
    arena_init(&l->tree->arena, TREE_MAX_BYTES);
    if (!yaml_parser_initialize(&l->parser))
        abort(); /* out of memory, as heap_alloc() */
    yaml_parser_set_encoding(&l->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&l->parser, (const unsigned char *)(text.n ? text.p : ""), text.n);
    TRY_GOTO(run(l, err));
    root = l->tree->root;
    if (!root || (root->kind == YAML_SCALAR && yaml_is_null(root))) {
        l->tree->root = NULL;
        TRY_GOTO(add_node(l, YAML_MAP, 1, &root, err));
    }
    *ret = l->tree;
    l->tree = NULL;
out:
    while (l->depth)
        on_close(l);
    yaml_parser_delete(&l->parser);
    yaml_tree_free(l->tree);
    heap_free(l);
    return st;
}

void yaml_tree_free(struct yaml_tree *t)
{
    if (!t)
        return;
    arena_fini(&t->arena);
    heap_free(t);
}

const struct yaml *yaml_root(const struct yaml_tree *t)
{
    return t->root;
}

const struct yaml *yaml_get(const struct yaml *map, const char *key)
{
    if (!map || map->kind != YAML_MAP)
        return NULL;
    for (const struct yaml *y = map->child; y; y = y->next)
        if (sv_is(y->key, key))
            return y;
    return NULL;
}

bool yaml_is_null(const struct yaml *y)
{
    return !y || (y->kind == YAML_SCALAR && !y->quoted &&
                  (y->text.n == 0 || sv_is(y->text, "~") || sv_is(y->text, "null")));
}

bool yaml_bool(const struct yaml *y, bool *ret)
{
    static const char *const words[][2] = {
        {"false", "true"}, {"no", "yes"}, {"off", "on"}, {"False", "True"}};

    if (!y || y->kind != YAML_SCALAR)
        return false;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        for (int v = 0; v < 2; v++)
            if (sv_is(y->text, words[i][v])) {
                *ret = v;
                return true;
            }
    return false;
}
