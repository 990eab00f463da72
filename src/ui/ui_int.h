/* src/ui/ui_int.h - the embedded files of the page. */
#ifndef ENGRAM_UI_INT_H
#define ENGRAM_UI_INT_H

#include "ui/ui.h"

struct ui_asset {
    const char *name;
    const unsigned char *p;
    size_t n;
    const char *tag; /* of its bytes */
};
extern const struct ui_asset ui_assets[];
extern const size_t ui_assets_n;

#endif
