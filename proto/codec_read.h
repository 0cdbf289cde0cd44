/* codec_read - a cursor over msgpack bytes that no input can hurt.
 *
 *      data ├──────read──────┤at├───────left───────┤end        bad: sticky; every later read gives
 * 0
 *
 * Why not msgpack-c's unpacker: it allocates for an array's announced count before it has seen an
 * element (five bytes make it ask for gigabytes). Here a count is compared with the bytes that are
 * left first, nothing is allocated, and strings are views. Any thread.
 */
#ifndef MSGL_PROTO_CODEC_READ_H
#define MSGL_PROTO_CODEC_READ_H

#include "common/buf.h"

#define READ_DEPTH_MAX 8 /* of values that are skipped */

struct reader {
    const unsigned char *at, *end;
    bool bad;
};

/* Each returns 0, false or an empty slice and sets bad when the next value is of another type or is
 * cut off. Integers come in any width; a negative one is bad for read_uint. */
uint64_t read_uint(struct reader *reader);
int64_t read_int(struct reader *reader);
double read_float(struct reader *reader); /* float32, float64 or integer */
bool read_bool(struct reader *reader);
struct str read_bytes(struct reader *reader); /* str or bin */
uint32_t read_map(struct reader *reader);     /* number of pairs: at least 2 bytes each are left */
uint32_t read_array(struct reader *reader);   /* number of items: at least 1 byte each is left */
void read_skip(struct reader *reader);        /* one whole value, nested at most READ_DEPTH_MAX */

#endif
