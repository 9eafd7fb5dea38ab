#include "bench/load/report.h"

#include <inttypes.h>
#include <math.h>

enum {
  WIDTH = 760,
  HEIGHT = 320,
  LEFT = 64,
  RIGHT = 20,
  TOP = 34,
  BOTTOM = 44,
  TICKS_MAX = 64,
  PATH_POINTS = 200
};

static void text_of(const char *text, FILE *out) {
  for (; *text != '\0'; text++) {
    switch (*text) {
    case '&': fputs("&amp;", out); break;
    case '<': fputs("&lt;", out); break;
    case '>': fputs("&gt;", out); break;
    case '"': fputs("&quot;", out); break;
    default: fputc(*text, out);
    }
  }
}

/* --- plots ------------------------------------------------------------------------------------ */

typedef struct axis {
  double low, high;
  bool logarithmic;
} axis;

static double share(const axis *self, double value) {
  if (self->logarithmic) {
    value = value < self->low ? self->low : value;
    return log(value / self->low) / log(self->high / self->low);
  }
  return (value - self->low) / (self->high - self->low);
}

static double x_of(const axis *self, double value) {
  return LEFT + share(self, value) * (WIDTH - LEFT - RIGHT);
}
static double y_of(const axis *self, double value) {
  return HEIGHT - BOTTOM - share(self, value) * (HEIGHT - TOP - BOTTOM);
}

/* 1, 2 or 5 times a power of ten, so that at most `most` of them fill the range. */
static double step_of(double range, int most) {
  double power = pow(10, floor(log10(range / most)));
  double need = range / most / power;
  return power * (need <= 1 ? 1 : need <= 2 ? 2 : need <= 5 ? 5 : 10);
}

static void grid_line(const axis *y, double value, FILE *out) {
  double at = y_of(y, value);
  fprintf(out, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" class=\"grid\"/>", LEFT,
          WIDTH - RIGHT, at, at);
  fprintf(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", LEFT - 6, at + 4,
          value);
}

static void grid(const axis *y, FILE *out) {
  if (y->logarithmic) {
    for (double power = pow(10, floor(log10(y->low))); power <= y->high; power *= 10) {
      for (int i = 0; i < 3; i++) {
        double value = power * (i == 0 ? 1 : i == 1 ? 2 : 5);
        if (value >= y->low && value <= y->high) {
          grid_line(y, value, out);
        }
      }
    }
    return;
  }
  double step = step_of(y->high - y->low, 6);
  for (int i = 0; i < TICKS_MAX && y->low + i * step <= y->high; i++) {
    grid_line(y, y->low + i * step, out);
  }
}

static void x_tick(double at, const char *words, FILE *out) {
  fprintf(out, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\" class=\"grid\"/>", at, at, TOP,
          HEIGHT - BOTTOM);
  fprintf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", at,
          HEIGHT - BOTTOM + 16, words);
}

static void begin_plot(const char *title, const char *x_label, FILE *out) {
  fprintf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", WIDTH, HEIGHT,
          title);
  fprintf(out, "<text x=\"%d\" y=\"16\" class=\"title\">%s</text>\n", LEFT, title);
  fprintf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
          (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_label);
}

static void key(int position, const char *colour, const char *words, FILE *out) {
  int x = WIDTH - RIGHT - 150 * position;
  fprintf(out, "<text x=\"%d\" y=\"16\" text-anchor=\"end\" fill=\"%s\">&#9632; %s</text>\n", x,
          colour, words);
}

/* --- latency by percentile -------------------------------------------------------------------- */

static void percentile_curve(const histogram *times, const axis *x, const axis *y,
                             const char *colour, FILE *out) {
  fprintf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", colour);
  for (int i = 0; i <= PATH_POINTS; i++) {
    double tail = exp(log(x->high) * i / PATH_POINTS); /* 1 / (1 - share) */
    fprintf(out, "%.1f,%.1f ", x_of(x, tail),
            y_of(y, histogram_percentile(times, 100 * (1 - 1 / tail))));
  }
  fprintf(out, "\"/>\n");
}

static void plot_percentiles(const stats *figures, FILE *out) {
  static const struct {
    double tail;
    const char *words;
  } ticks[] = {{1, "0"},           {2, "50"},           {4, "75"},      {10, "90"},
               {20, "95"},         {100, "99"},         {1000, "99.9"}, {10000, "99.99"},
               {100000, "99.999"}, {1000000, "99.9999"}};
  double n = (double)histogram_count(figures->latency);
  double low = histogram_min(figures->service), high = histogram_max(figures->latency);
  low = low < 0.001 ? 0.001 : low;
  const axis x = {1, n < 10 ? 10 : n, true}, y = {low / 1.2, (high > low ? high : low) * 1.2, true};
  begin_plot("Latency by percentile, ms", "percentile", out);
  key(1, "#2559a8", "from sending", out);
  key(0, "#c1272d", "from intended start", out);
  grid(&y, out);
  for (size_t i = 0; i < sizeof ticks / sizeof *ticks && ticks[i].tail <= x.high; i++) {
    x_tick(x_of(&x, ticks[i].tail), ticks[i].words, out);
  }
  percentile_curve(figures->service, &x, &y, "#2559a8", out);
  percentile_curve(figures->latency, &x, &y, "#c1272d", out);
  if (figures->deadline > 0) {
    double at = y_of(&y, (double)figures->deadline / 1e6);
    if (at >= TOP && at <= HEIGHT - BOTTOM) {
      fprintf(out,
              "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#555\" "
              "stroke-dasharray=\"6 3\"/>"
              "<text x=\"%d\" y=\"%.1f\">deadline</text>\n",
              LEFT, WIDTH - RIGHT, at, at, LEFT + 4, at - 4);
    }
  }
  fputs("</svg>\n", out);
}

/* --- throughput over time --------------------------------------------------------------------- */

enum { OFFERED, ANSWERED, FAILED };

static double rate_of(const stats *figures, size_t at, int column) {
  const stats_bucket *bucket = &figures->buckets[at];
  uint32_t count = column == OFFERED    ? bucket->offered
                   : column == ANSWERED ? bucket->right
                                        : bucket->failed;
  return (double)count / ((double)figures->bucket_ns / 1e9);
}

static void rate_curve(const stats *figures, int column, const axis *x, const axis *y,
                       const char *colour, FILE *out) {
  double width = (double)figures->bucket_ns / 1e9;
  fprintf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" points=\"", colour);
  for (size_t i = 0; i < figures->n_buckets; i++) {
    double height = y_of(y, rate_of(figures, i, column));
    fprintf(out, "%.1f,%.1f %.1f,%.1f ", x_of(x, (double)i * width), height,
            x_of(x, (double)(i + 1) * width), height);
  }
  fprintf(out, "\"/>\n");
}

static void plot_throughput(const stats *figures, FILE *out) {
  double width = (double)figures->bucket_ns / 1e9, most = 1;
  for (size_t i = 0; i < figures->n_buckets; i++) {
    for (int column = OFFERED; column <= FAILED; column++) {
      most = fmax(most, rate_of(figures, i, column));
    }
  }
  const axis x = {0, width * (double)(figures->n_buckets > 0 ? figures->n_buckets : 1), false},
             y = {0, most * 1.1, false};
  begin_plot("Requests a second over time", "seconds", out);
  key(2, "#888888", "offered", out);
  key(1, "#1b7f4b", "right answers", out);
  key(0, "#c1272d", "failed, dropped", out);
  grid(&y, out);
  double step = step_of(x.high, 10);
  for (int i = 0; i < TICKS_MAX && i * step <= x.high; i++) {
    char words[32];
    (void)snprintf(words, sizeof words, "%g", i * step);
    x_tick(x_of(&x, i * step), words, out);
  }
  rate_curve(figures, OFFERED, &x, &y, "#888888", out);
  rate_curve(figures, ANSWERED, &x, &y, "#1b7f4b", out);
  rate_curve(figures, FAILED, &x, &y, "#c1272d", out);
  fputs("</svg>\n", out);
}

/* --- the page --------------------------------------------------------------------------------- */

static const char style[] =
    "body{font:15px/1.45 sans-serif;color:#222;background:#fff;max-width:820px;margin:24px "
    "auto;padding:0 16px}"
    "h1{font-size:22px;margin-bottom:4px}p{margin:4px 0}table{border-collapse:collapse;margin:16px "
    "0}"
    "td,th{padding:3px 12px 3px 0;text-align:right;border-bottom:1px solid "
    "#e2e2e2;font-variant-numeric:tabular-nums}"
    "td:first-child,th:first-child{text-align:left}.wrap{overflow-x:auto}"
    "svg{width:100%;height:auto;margin:8px "
    "0;font-size:12px}.grid{stroke:#e2e2e2}.title{font-weight:bold}"
    ".bad{color:#c1272d}";

static void row_of_times(const char *name, const histogram *times, FILE *out) {
  fprintf(out, "<tr><td>%s</td>", name);
  for (size_t i = 0; i < REPORT_PERCENTILES; i++) {
    fprintf(out, "<td>%.2f</td>", histogram_percentile(times, report_percentiles[i]));
  }
  fprintf(out, "<td>%.2f</td><td>%.2f</td></tr>\n", histogram_max(times), histogram_mean(times));
}

static void table_of_times(const stats *figures, FILE *out) {
  fputs("<div class=\"wrap\"><table><tr><th>ms</th>", out);
  for (size_t i = 0; i < REPORT_PERCENTILES; i++) {
    fprintf(out, "<th>p%g</th>", report_percentiles[i]);
  }
  fputs("<th>max</th><th>mean</th></tr>\n", out);
  row_of_times("latency, from the intended start", figures->latency, out);
  row_of_times("service, from sending", figures->service, out);
  row_of_times("start lag", figures->lag, out);
  fputs("</table></div>\n", out);
}

static void table_of_counts(const report *self, FILE *out) {
  const stats *figures = self->figures;
  const stats_summary *summary = &self->summary;
  fputs("<table><tr><th></th><th>requests</th><th>a second</th></tr>\n", out);
  fprintf(out, "<tr><td>offered</td><td>%" PRIu64 "</td><td>%.2f</td></tr>\n", figures->offered,
          summary->offered_rate);
  fprintf(out, "<tr><td>right answers</td><td>%" PRIu64 "</td><td>%.2f</td></tr>\n", figures->right,
          summary->right_rate);
  if (figures->deadline > 0) {
    fprintf(out,
            "<tr><td>right within %zu ms (goodput)</td><td>%" PRIu64 "</td><td>%.2f</td></tr>\n",
            self->settings->deadline_ms, figures->good, summary->goodput);
  }
  for (size_t i = 0; i < self->n_failures; i++) {
    fputs("<tr class=\"bad\"><td>failed: ", out);
    text_of(self->failures[i].name, out);
    fprintf(out, "</td><td>%" PRIu64 "</td><td></td></tr>\n", self->failures[i].count);
  }
  if (figures->dropped > 0) {
    fprintf(out,
            "<tr class=\"bad\"><td>dropped: too many in flight</td><td>%" PRIu64
            "</td><td></td></tr>\n",
            figures->dropped);
  }
  if (figures->cancelled > 0) {
    fprintf(out, "<tr><td>cancelled</td><td>%" PRIu64 "</td><td></td></tr>\n", figures->cancelled);
  }
  fputs("</table>\n", out);
}

void report_html(const report *self, FILE *out) {
  fputs("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<meta name=\"viewport\" content=\"width=device-width\"><title>",
        out);
  text_of(self->settings->label, out);
  fprintf(out, "</title><style>%s</style></head><body>\n<h1>", style);
  text_of(self->settings->label, out);
  fputs("</h1>\n<p>", out);
  text_of(self->settings->dialect_name, out);
  fputs(", ", out);
  text_of(self->load, out);
  fputs("; ", out);
  text_of(self->mix, out);
  fprintf(out, "; %.2f s%s</p>\n", self->summary.seconds,
          self->result->interrupted ? ", interrupted" : "");
  table_of_counts(self, out);
  table_of_times(self->figures, out);
  plot_percentiles(self->figures, out);
  plot_throughput(self->figures, out);
  fputs("</body></html>\n", out);
}
