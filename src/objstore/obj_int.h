/* src/objstore/obj_int.h - what both backends share: which keys are keys. */
#ifndef ENGRAM_OBJSTORE_OBJ_INT_H
#define ENGRAM_OBJSTORE_OBJ_INT_H

#include "base/err.h"
#include "base/sv.h"

#define OBJ_KEY_MAX 1024u /* bytes; S3's own limit */

/* Relative, no empty, "." or ".." part, no control characters, no part over 255 bytes. */
enum status obj_key_check(struct sv key, struct err *err);
/* A prefix of such keys; may be empty, may end in '/'. */
enum status obj_prefix_check(struct sv prefix, struct err *err);

#endif
