#include "server/request/hold.h"

bool hold_take(hold *self, http_exchange *exchange) {
  if (!self->open || self->n >= self->most) {
    return false;
  }
  exchange->next_held = NULL;
  *(self->last != NULL ? &self->last->next_held : &self->first) = exchange;
  self->last = exchange;
  self->n++;
  return true;
}

bool hold_remove(hold *self, const http_exchange *exchange) {
  http_exchange *before = NULL;
  http_exchange *at = self->first;
  while (at != NULL && at != exchange) {
    before = at;
    at = at->next_held;
  }
  if (at == NULL) {
    return false;
  }
  *(before != NULL ? &before->next_held : &self->first) = at->next_held;
  self->last = self->last == at ? before : self->last;
  self->n--;
  return true;
}

http_exchange *hold_next(hold *self) {
  http_exchange *first = self->first;
  if (first != NULL) {
    (void)hold_remove(self, first);
  }
  return first;
}
