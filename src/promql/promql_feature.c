/* Feature switches by Prometheus's names. */
#include "promql/promql.h"

bool promql_feature(struct promql_opts *o, struct sv name, bool on)
{
    const struct {
        const char *name;
        bool *at;
    } features[] = {
        {"promql-experimental-functions", &o->experimental_functions},
        {"promql-duration-expr", &o->duration_expr},
        {"promql-extended-range-selectors", &o->extended_range_selectors},
        {"promql-binop-fill-modifiers", &o->binop_fill_modifiers},
        {"promql-delayed-name-removal", &o->delayed_name_removal},
        {"use-start-timestamps", &o->start_timestamps},
    };

    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++)
        if (sv_is(name, features[i].name)) {
            *features[i].at = on;
            return true;
        }
    return false;
}
