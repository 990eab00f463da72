/* include/model/matcher.h
 *
 * Label matchers: = != =~ !~. Literal, prefix, suffix, contains and alternation patterns are
 * answered without an engine; the rest by base/regex.h.
 *
 * Threads: matcher_matches() from any thread. Memory: matcher_free(); name and value are copied.
 */
#ifndef ENGRAM_MODEL_MATCHER_H
#define ENGRAM_MODEL_MATCHER_H

#include "model/labels.h"

enum matcher_op { MATCH_EQ, MATCH_NE, MATCH_RE, MATCH_NRE };

struct regex;

struct matcher {
    enum matcher_op op;
    struct sv name, value;
    /* Derived from a regular expression; empty otherwise. */
    struct regex *re;       /* NULL when set or shape answer alone */
    struct sv *set;         /* the only values it can match: `a|b|c` */
    size_t set_n;
    struct sv prefix;       /* every match begins with it */
    struct sv suffix, contains; /* for `.*x` and `.*x.*` */
    bool any, any_nonempty; /* `.*` and `.+` */
    bool shape_exact;       /* prefix, suffix, contains decide alone */
};

enum status matcher_new(enum matcher_op op, struct sv name, struct sv value, struct matcher **ret,
                        struct err *err); /* ST_INVALID: bad pattern */
void matcher_free(struct matcher *m);
bool matcher_matches(const struct matcher *m, struct sv value);
/* Absent labels count as "". */
bool matcher_matches_labels(const struct matcher *m, struct labels ls);
bool matcher_matches_empty(const struct matcher *m);
/* name="value", as Prometheus prints it; names that need it are quoted. */
void matcher_print(struct buf *out, const struct matcher *m);
const char *matcher_op_text(enum matcher_op op);

#endif
