#include "server/sched/estimate.h"

static const double memory = 0.98; /* what is left of an observation's weight after the next one */
static const double outlier = 4;
static const double stiffness =
    0.01; /* how much the fit prefers the model's shape to what it sees */
static const uint64_t first_few = 4; /* observations that are taken as they are */

static const double margin_first = 1.1;
static const double margin_least = 1;
static const double margin_most = 1.5;
static const double margin_step = 0.01;
static const double margin_share = 0.9;
static const uint64_t margin_floor =
    5000000; /* ns: below, the clock's grain and the threads' start dominate */

void estimate_init(estimate *self, double shape) {
  *self = (estimate){.shape = shape, .margin = margin_first};
}

/* y = token * x + extra * q, where `extra` is held near 0. */
static void fit(estimate *self) {
  double determinant = self->xx * self->qq * (1 + stiffness) - self->xq * self->xq;
  double extra = 0;
  if (determinant > 0) {
    extra = (self->qy * self->xx - self->xy * self->xq) / determinant;
  }
  double token = (self->xy - extra * self->xq) / self->xx;
  double square = token * self->shape + extra;
  if (token <= 0 || square < 0) { /* noise; neither part of the work gives time back */
    token = self->xy / self->xx;
    square = token * self->shape;
  }
  self->token = token;
  self->square = square;
}

void estimate_observe(estimate *self, workload done, uint64_t ns) {
  if (done.tokens == 0 || ns == 0) {
    return;
  }
  double y = (double)ns;
  if (self->observed >= first_few) {
    double expected = (double)estimate_ns(self, done);
    y = y > outlier * expected   ? outlier * expected
        : y < expected / outlier ? expected / outlier
                                 : y;
  }
  double q = (double)done.squares;
  double x = (double)done.tokens + self->shape * q;
  self->xx = memory * self->xx + x * x;
  self->xq = memory * self->xq + x * q;
  self->qq = memory * self->qq + q * q;
  self->xy = memory * self->xy + x * y;
  self->qy = memory * self->qy + q * y;
  self->observed++;
  fit(self);
}

/* A quantile by small steps: up where the prediction was too early, down a ninth of that where
 * not. */
void estimate_check(estimate *self, uint64_t predicted, uint64_t actual) {
  if (predicted < margin_floor) {
    return;
  }
  bool late = (double)actual > self->margin * (double)predicted;
  double margin = self->margin + margin_step * (late ? margin_share : margin_share - 1);
  self->margin = margin < margin_least ? margin_least : margin > margin_most ? margin_most : margin;
}

uint64_t estimate_ns(const estimate *self, workload work) {
  return (uint64_t)(self->token * (double)work.tokens + self->square * (double)work.squares);
}

double estimate_tokens_per_second(const estimate *self, unsigned workers) {
  if (self->observed == 0) {
    return 0;
  }
  /* The mean squares a token: q / x, weighted as in the fit, solved for tokens. */
  double squares_each = self->xq / (self->xx - self->shape * self->xq);
  return 1e9 * workers / (self->token + self->square * squares_each);
}
