/* ui - the page to chat and to watch the cluster: static files that are compiled in.
 *
 *   GET /            router/web/ui/index.html
 *   GET /ui/NAME     router/web/ui/NAME
 *   GET /ui/port.js  which port this is: `export const cluster = true` on the admin port
 *
 * Every file has an ETag and is asked for again with If-None-Match. The headers allow the page its
 * own files and calls, and nothing else: no other origin, no inline script or style, no frame, no
 * HTML made of strings. Loop thread.
 */
#ifndef MSGL_ROUTER_WEB_UI_H
#define MSGL_ROUTER_WEB_UI_H

#include "router/http/http_server.h"

struct ui_file {
    const char *name, *type;
    const char *etag; /* quoted */
    const unsigned char *data;
    size_t len;
};

/* The table that cmake/msgl_embed.cmake makes of router/web/ui. */
extern const struct ui_file ui_files[];
extern const size_t ui_file_count;

/* True when the path was one of the page's: it is answered. */
bool ui_request(struct http_exchange *exchange, bool admin);

/* The file of a path, or NULL. */
const struct ui_file *ui_find(struct str path, bool admin);
/* What If-None-Match says names this ETag. */
bool ui_matches(struct str if_none_match, const char *etag);

#endif
