/* include/ui/ui.h
 *
 * Pages: `/`, the status page. Later: query page, public dashboards.
 */
#ifndef ENGRAM_UI_UI_H
#define ENGRAM_UI_UI_H

#include "http/http.h"

struct ui;
struct ui *ui_new(const char *version);
void ui_free(struct ui *own_u);
const struct http_route *ui_routes(struct ui *u, size_t *ret_n);

#endif
