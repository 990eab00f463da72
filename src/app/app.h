/* src/app/app.h
 *
 * The process: everything built in order, torn down in reverse. The only place that knows which
 * rooms a role needs.
 *
 * Threads: app_start() and app_stop() from main alone; between them main waits for signals.
 */
#ifndef ENGRAM_APP_APP_H
#define ENGRAM_APP_APP_H

#include "config.h"

struct app;

enum status app_start(const struct config *c /* outlives the app */, struct app **ret,
                      struct err *err);
/* Drain: unready, refuse new requests, finish those running, sync, stop. Takes NULL. */
void app_stop(struct app *own_a);

#endif
