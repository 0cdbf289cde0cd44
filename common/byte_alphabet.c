#include "common/byte_alphabet.h"

#include "common/utf8.h"

int byte_alphabet_byte(uint32_t cp)
{
    if ((cp >= 33 && cp <= 126) || (cp >= 161 && cp <= 172) || (cp >= 174 && cp <= 255))
        return (int)cp;
    if (cp >= 256 && cp <= 288)
        return (int)cp - 256;
    if (cp >= 289 && cp <= 322)
        return (int)cp - 289 + 127;
    return cp == 323 ? 173 : -1;
}

uint32_t byte_alphabet_char(unsigned char byte)
{
    if (byte < 33)
        return byte + 256u;
    if (byte >= 127 && byte <= 160)
        return byte - 127u + 289u;
    return byte == 173 ? 323 : byte;
}

void byte_alphabet_write(struct str text, struct buf *out)
{
    buf_reserve(out, text.len * 2);
    for (size_t i = 0; i < text.len; i++)
        out->len += (size_t)utf8_encode(byte_alphabet_char((unsigned char)text.data[i]),
                                        out->data + out->len);
}

bool byte_alphabet_read(struct str text, struct buf *out)
{
    size_t start = out->len;
    for (size_t i = 0; i < text.len;) {
        uint32_t cp;
        int used = utf8_decode(text.data + i, text.len - i, &cp);
        int byte = used ? byte_alphabet_byte(cp) : -1;
        if (byte < 0) {
            out->len = start;
            return false;
        }
        buf_char(out, (char)byte);
        i += (size_t)used;
    }
    return true;
}
