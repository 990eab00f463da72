/* RE2 and <charconv> behind plain C functions, the only C++ of the house. */
#include "shim.h"

#include <charconv>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <re2/re2.h>
#include <string>
#include <vector>

extern "C" {

size_t shim_scientific(char *out, size_t cap, double v)
{
    auto r = std::to_chars(out, out + cap, v, std::chars_format::scientific);

    return r.ec == std::errc() ? static_cast<size_t>(r.ptr - out) : 0;
}

size_t shim_parse(const char *p, size_t n, bool hex, double *ret)
{
    double v = 0;
    auto r = std::from_chars(p, p + n, v, hex ? std::chars_format::hex : std::chars_format::general);

    if (r.ec == std::errc::invalid_argument)
        return 0;
    if (r.ec == std::errc::result_out_of_range) {
        /* Too large or too small to hold: strtod tells which, on a bounded copy. */
        std::string copy(p, static_cast<size_t>(r.ptr - p));
        v = std::strtod((hex ? "0x" + copy : copy).c_str(), nullptr);
    }
    *ret = v;
    return static_cast<size_t>(r.ptr - p);
}

void *shim_regex_new(const char *p, size_t n, char *err, size_t err_n)
{
    try {
        RE2::Options o;
        o.set_log_errors(false);
        o.set_dot_nl(true);
        o.set_max_mem(8 << 20);
        auto re = std::make_unique<RE2>(re2::StringPiece(p, n), o);
        if (!re->ok()) {
            std::strncpy(err, re->error().c_str(), err_n - 1);
            err[err_n - 1] = 0;
            return nullptr;
        }
        return re.release();
    } catch (const std::exception &e) {
        std::strncpy(err, e.what(), err_n - 1);
        err[err_n - 1] = 0;
        return nullptr;
    }
}

void shim_regex_free(void *re)
{
    delete static_cast<RE2 *>(re);
}

int shim_regex_match(const void *re, const char *p, size_t n)
{
    return static_cast<const RE2 *>(re)->Match(re2::StringPiece(p, n), 0, n, RE2::ANCHOR_BOTH,
                                               nullptr, 0);
}

unsigned shim_regex_groups(const void *re)
{
    return static_cast<unsigned>(static_cast<const RE2 *>(re)->NumberOfCapturingGroups());
}

int shim_regex_match_groups(const void *re, const char *p, size_t n, const char **group_p,
                            size_t *group_n, unsigned max)
{
    try {
        std::vector<re2::StringPiece> groups(max);
        if (!static_cast<const RE2 *>(re)->Match(re2::StringPiece(p, n), 0, n, RE2::ANCHOR_BOTH,
                                                 groups.data(), static_cast<int>(max)))
            return 0;
        for (unsigned i = 0; i < max; i++) {
            group_p[i] = groups[i].data();
            group_n[i] = groups[i].size();
        }
        return 1;
    } catch (const std::bad_alloc &) {
        return 0;
    }
}

unsigned shim_regex_group_named(const void *re, const char *p, size_t n)
{
    const auto &named = static_cast<const RE2 *>(re)->NamedCapturingGroups();
    auto it = named.find(std::string(p, n));

    return it == named.end() ? 0 : static_cast<unsigned>(it->second);
}

} /* extern "C" */
