/* keys - CURVE key pairs in files, as `msgl keys` writes them.
 *
 *   router.key    public, secret of all routers      router.pub    public alone: for workers
 *   worker.key    public, secret of all workers      workers.allow public keys of workers, one a line
 *
 * Keys are Z85 text of 40 characters, one a line; lines that are empty or begin with '#' are skipped.
 * Any thread.
 */
#ifndef MSGL_PROTO_KEYS_H
#define MSGL_PROTO_KEYS_H

#include "common/status.h"

#define KEY_TEXT_BYTES 41 /* with the NUL */

struct key_pair {
    char public_key[KEY_TEXT_BYTES], secret_key[KEY_TEXT_BYTES];
};

enum status MUST_USE key_pair_make(struct key_pair *pair, struct err *err);
/* Public key first, then secret key. INVALID when the two do not belong together. */
enum status MUST_USE key_pair_read(const char *path, struct key_pair *pair, struct err *err);
/* The first key of a file. */
enum status MUST_USE key_read(const char *path, char key[KEY_TEXT_BYTES], struct err *err);
void key_pair_wipe(struct key_pair *pair);

#endif
