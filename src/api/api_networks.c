/* Networks in CIDR form, IPv4 and IPv6, kept as 16 bytes and a number of leading bits. */
#include "api_int.h"

#include "base/heap.h"

#include <arpa/inet.h>
#include <stdio.h>

struct network {
    uint8_t bytes[16];
    unsigned bits;
    bool v6;
};

struct api_networks {
    struct network *p;
    size_t n;
};

/* An address alone, no %zone. */
static bool parse_address(struct sv s, uint8_t out[16], bool *ret_v6)
{
    char z[INET6_ADDRSTRLEN + 1];

    if (s.n == 0 || s.n >= sizeof(z))
        return false;
    memcpy(z, s.p, s.n);
    z[s.n] = '\0';
    *ret_v6 = sv_find(s, ':') != SIZE_MAX;
    memset(out, 0, 16);
    return inet_pton(*ret_v6 ? AF_INET6 : AF_INET, z, out) == 1;
}

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || (uint8_t)((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

static bool parse_network(struct sv s, struct network *ret)
{
    struct sv bits, address = sv_cut(sv_trim(s), '/', &bits);
    uint64_t n;
    unsigned most;

    if (!parse_address(address, ret->bytes, &ret->v6))
        return false;
    most = ret->v6 ? 128 : 32;
    ret->bits = most;
    if (!bits.p)
        return true;
    if (!sv_u64(bits, &n) || n > most)
        return false;
    ret->bits = (unsigned)n;
    return true;
}

enum status api_networks_parse(const char *const *texts, size_t n, struct api_networks **ret,
                               struct err *err)
{
    struct api_networks *all = heap_new(struct api_networks);

    all->p = heap_array(n ? n : 1, sizeof(*all->p));
    for (; all->n < n; all->n++)
        if (!parse_network(sv_of(texts[all->n]), &all->p[all->n])) {
            const char *culprit = texts[all->n];

            api_networks_free(all);
            return err_set(err, ST_INVALID,
                           "\"%s\" is not a network such as 10.0.0.0/8, fd00::/8 or 192.0.2.7",
                           culprit);
        }
    *ret = all;
    return ST_OK;
}

void api_networks_free(struct api_networks *own_n)
{
    if (!own_n)
        return;
    heap_free(own_n->p);
    heap_free(own_n);
}

bool api_networks_have(const struct api_networks *all, struct sv address)
{
    uint8_t bytes[16];
    bool v6;

    if (!parse_address(address, bytes, &v6))
        return false;
    for (size_t i = 0; i < all->n; i++)
        if (all->p[i].v6 == v6 && same_bits(all->p[i].bytes, bytes, all->p[i].bits))
            return true;
    return false;
}
