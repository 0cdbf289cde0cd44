/* byte_alphabet - GPT-2's way to write any byte as one printable character ("Ġ" is the space).
 *
 * Printable Latin-1 stands for itself; the other 68 bytes, in order, are U+0100 and up.
 */
#ifndef MSGL_COMMON_BYTE_ALPHABET_H
#define MSGL_COMMON_BYTE_ALPHABET_H

#include "common/buf.h"

/* The byte that a character stands for, or -1. */
int byte_alphabet_byte(uint32_t cp);
uint32_t byte_alphabet_char(unsigned char byte);

/* Appends text with each byte written as its character. */
void byte_alphabet_write(struct str text, struct buf *out);

/* Appends the bytes that text stands for; false, and nothing appended, when it holds a character
 * outside the alphabet. */
bool byte_alphabet_read(struct str text, struct buf *out);

#endif
