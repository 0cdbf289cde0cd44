/* openapi - the table of paths, and the document that is printed from it and from params_table. */
#ifndef MSGL_ROUTER_API_OPENAPI_H
#define MSGL_ROUTER_API_OPENAPI_H

#include "common/buf.h"

void openapi_document(struct buf *out); /* OpenAPI 3.0 */
const char *
openapi_method(const char *path);      /* the one that the path takes; the path is one of ours */
bool openapi_guarded(struct str path); /* --api-key asks there */

#endif
