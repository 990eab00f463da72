/* Anchored regular expressions: a thin C face of RE2 (shim.cc). */
#include "base/regex.h"

#include "shim.h"

#define GROUPS_MAX 100 /* more groups than any template can name */

enum status regex_new(struct sv pattern, struct regex **ret, struct err *err)
{
    char why[256];
    void *re = shim_regex_new(pattern.p ? pattern.p : "", pattern.n, why, sizeof(why));

    if (!re)
        return err_set(err, ST_INVALID, "error parsing regexp: %s", why);
    *ret = re;
    return ST_OK;
}

void regex_free(struct regex *re)
{
    shim_regex_free(re);
}

bool regex_match(const struct regex *re, struct sv text)
{
    return shim_regex_match(re, text.p ? text.p : "", text.n);
}

unsigned regex_groups(const struct regex *re)
{
    return shim_regex_groups(re);
}

bool regex_match_groups(const struct regex *re, struct sv text, struct sv *groups, unsigned max)
{
    const char *p[GROUPS_MAX];
    size_t n[GROUPS_MAX];

    if (max > GROUPS_MAX)
        max = GROUPS_MAX;
    if (!shim_regex_match_groups(re, text.p ? text.p : "", text.n, p, n, max))
        return false;
    for (unsigned i = 0; i < max; i++)
        groups[i] = sv_make(p[i], n[i]);
    return true;
}

unsigned regex_group_named(const struct regex *re, struct sv name)
{
    return shim_regex_group_named(re, name.p, name.n);
}
