#include "router/grammar/grammar_formats.h"

#include "common/base.h"

#include <string.h>

/* Years from 1, as most readers of dates have it; days that every month has. */
#define DATE                                                                                       \
    "([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
#define TIME                                                                                       \
    "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]" \
    ")"

/* Labels of 62 letters at most, 4 of them: never above 63 and 253. */
#define LABEL "[a-z0-9]{1,20}(-[a-z0-9]{1,20}){0,2}"
#define HOST  LABEL "(\\." LABEL "){0,3}"
#define HEX   "[0-9a-f]{1,4}"
/* All eight groups, or some left out at the end, at the start, or between. */
#define IPV6                                                                                       \
    "((" HEX ":){7}" HEX "|(" HEX ":){1,6}:|::((" HEX ":){0,6}" HEX ")?"                           \
    "|(" HEX ":){1,5}(:" HEX "){1,2}|(" HEX ":){1,3}(:" HEX "){3,4})"
#define PCHAR "([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})"
#define URI                                                                                        \
    "[a-z][a-z0-9+-]{1,9}://" HOST "(:[1-9][0-9]{0,3})?(/" PCHAR "*)*(\\?(" PCHAR "|[/?])*)?"      \
    "(#(" PCHAR "|[/?])*)?"
/* RFC 3339's appendix A: no part between two others is left out. */
#define COUNT "[0-9]{1,4}"
#define HMS   "T(" COUNT "H(" COUNT "M(" COUNT "S)?)?|" COUNT "M(" COUNT "S)?|" COUNT "S)"
#define DURATION                                                                                   \
    "P((" COUNT "Y(" COUNT "M(" COUNT "D)?)?|" COUNT "M(" COUNT "D)?|" COUNT "D)(" HMS ")?|" HMS   \
    "|" COUNT "W)"

const char *grammar_format(const char *name)
{
    static const struct {
        const char *name, *regex;
    } known[] = {
        {"date", DATE},
        {"time", TIME},
        {"date-time", DATE "T" TIME},
        {"uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"},
        {"ipv4", "((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]["
                 "0-9]|[1-9]?[0-9])"},
        {"email", "[a-z0-9]{1,20}([._-][a-z0-9]{1,20}){0,3}@[a-z0-9]{1,20}(\\.[a-z]{2,10}){1,2}"},
        {"hostname", HOST},
        {"ipv6", IPV6},
        {"uri", URI},
        {"duration", DURATION},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(known[i].name, name) == 0)
            return known[i].regex;
    return NULL;
}
