/* Translates RE2's complaints into Go's. Both write "what: fragment"; Go puts the fragment in
 * backticks, and says the whole pattern where a bracket is missing. */
#include "promql_regex_text.h"

static const struct {
    const char *re2, *go;
    bool whole; /* Go shows the whole pattern */
} words[] = {
    {"missing ]", "missing closing ]", false},
    {"missing )", "missing closing )", true},
    {"unexpected )", "unexpected )", true},
    {"trailing \\", "trailing backslash at end of expression", true},
    {"no argument for repetition operator", "missing argument to repetition operator", false},
    {"bad repetition operator", "invalid nested repetition operator", false},
    {"invalid repetition size", "invalid repeat count", false},
    {"invalid escape sequence", "invalid escape sequence", false},
    {"invalid character class range", "invalid character class range", false},
    {"invalid character class", "invalid character class range", false},
    {"invalid named capture group", "invalid named capture", false},
    {"invalid perl operator", "invalid or unsupported Perl syntax", false},
    {"invalid UTF-8", "invalid UTF-8", true},
    {"pattern too large - compile failed", "expression too large", true},
};

static const struct sv lead = {"error parsing regexp: ", 22};

void promql_regex_text(struct buf *out, const char *why, struct sv pattern)
{
    struct sv s = sv_of(why), what;

    buf_clear(out);
    if (!sv_starts(s, lead)) {
        buf_sv(out, s);
        return;
    }
    what = sv_sub(s, lead.n, s.n);
    buf_sv(out, lead);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct sv re2 = sv_of(words[i].re2), rest;

        if (!sv_starts(what, re2) || (what.n > re2.n && what.p[re2.n] != ':'))
            continue;
        rest = what.n > re2.n + 2 ? sv_sub(what, re2.n + 2, what.n) : (struct sv){"", 0};
        buf_printf(out, "%s: `", words[i].go);
        if (words[i].whole && rest.n != 0)
            buf_sv(out, pattern);
        else if (words[i].whole)
            buf_sv(out, sv_is(re2, "trailing \\") ? rest : pattern);
        else
            buf_sv(out, rest);
        buf_ch(out, '`');
        return;
    }
    buf_sv(out, what);
}
