/* The values of an option that may be given more than once. */
#ifndef RR_SERVER_BASE_OPTION_LIST_H
#define RR_SERVER_BASE_OPTION_LIST_H

#include <stddef.h>

enum { OPTION_LIST_MAX = 32 };

/* The values of an option that may be given several times; each may be a list with commas. */
typedef struct option_list {
  const char *items[OPTION_LIST_MAX];
  size_t n;
} option_list;

#endif
