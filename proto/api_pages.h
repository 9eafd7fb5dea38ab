/* The description of the API, made at build time from openapi.json: the document itself, and the
 * same for people as one page that fetches nothing. Static storage. */
#ifndef RR_PROTO_API_PAGES_H
#define RR_PROTO_API_PAGES_H

#include <stddef.h>

extern const char rr_openapi_page[];
extern const size_t rr_openapi_page_size;

extern const char rr_docs_page[];
extern const size_t rr_docs_page_size;

#endif
