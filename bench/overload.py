"""The overload experiment of bench/sweep: each server is offered multiples of what it can serve, and what counts is how
many answers a second come within a deadline. A server that takes everything and answers in order answers nobody in
time once it is behind; one that refuses, or gives up what is late anyway, keeps serving as many as it can."""

import math

import chart
import serving

FACTORS = (0.5, 1, 1.5, 2, 3)
REFUSALS = ("status 429", "status 503")
COLUMNS = ("factor", "capacity", "good_share", "refused", "rss_before_mb", "rss_after_mb")


def capacity_of(server, servers, arguments):
    """Right answers a second with several requests always there."""
    def run():
        return server.load(arguments, "--connections", str(arguments.connections), "--duration", f"{arguments.seconds:g}",
                           "--warmup", f"{arguments.warmup:g}")

    with arguments.lock:
        report, _ = serving.undisturbed(arguments, servers, run)
    rate = report["rates"]["right_rate"]
    if rate <= 0:
        raise serving.ServingError(f"{server.name}: no right answer in {arguments.seconds:g} s: {report['failures']}")
    serving.say(f"capacity {server.name}: {rate:.2f}/s")
    return rate


def drain(server, arguments):
    """One request after the other, until one is answered: then whatever others gave up is done with."""
    for _ in range(10):
        if server.load(arguments, "--connections", "1", "--requests", "1")["counts"]["right"] == 1:
            return
        server.expect_running()
    raise serving.ServingError(f"{server.name}: answers nothing after the overload")


def measure(server, servers, arguments, capacity, factor):
    rate = capacity * factor
    seconds = max(arguments.seconds, arguments.least_requests / rate)
    deadline = math.ceil(arguments.deadline_ms)
    options = [option.replace("{deadline}", str(deadline)) for option in server.overload_options]

    def run():
        before = server.resident_mb()
        report = server.load(arguments, "--rate", f"{rate:.6f}", "--duration", f"{seconds:.3f}", "--warmup",
                             f"{arguments.warmup:g}", "--deadline-ms", str(deadline), *options)
        after = server.resident_mb()
        drain(server, arguments)
        return before, report, after

    with arguments.lock:
        (before, report, after), others = serving.undisturbed(arguments, servers, run)
    row = serving.row_of("overload", server.name, rate, [report])
    row.update(factor=factor, capacity=capacity, good_share=report["rates"]["good_share"],
               refused=sum(report["failures"].get(kind, 0) for kind in REFUSALS),
               rss_before_mb=before, rss_after_mb=after, other_cores=others)
    serving.say(f"overload {server.name}: {factor:g} x {capacity:.2f}/s, {row['goodput']:.2f}/s within {deadline} ms, "
                f"{row['refused']} refused" + (f" ({row['failures']})" if row["failures"] else ""))
    return row


def run(servers, arguments, rows):
    """Adds a row for each server and factor; servers take turns."""
    capacities = {server.name: capacity_of(server, servers, arguments) for server in servers}
    for number, factor in enumerate(arguments.factors):
        first = number % len(servers)
        for server in servers[first:] + servers[:first]:
            rows.append(measure(server, servers, arguments, capacities[server.name], factor))


def report(rows, deadline_ms):
    """The table, as text; '' without rows of this experiment."""
    rows = sorted((row for row in rows if row["phase"] == "overload"), key=lambda row: (row["server"], row["factor"]))
    if not rows:
        return ""
    lines = [f"{'overload':16} {'offered/s':>10} {'of its own':>10} {'in time/s':>10} {'of offered':>10} {'p99 ms':>9} "
             f"{'refused':>8} {'MB':>12}   within {deadline_ms:g} ms"]
    for row in rows:
        p99 = "none" if row["p99_ms"] is None else f"{row['p99_ms']:.0f}"
        memory = "" if row["rss_before_mb"] is None else f"{row['rss_before_mb']:.0f} - {row['rss_after_mb']:.0f}"
        lines.append(f"{row['server']:16} {row['rate']:10.2f} {row['factor']:9g}x {row['goodput']:10.2f} "
                     f"{100 * row['good_share']:9.0f}% {p99:>9} {row['refused']:8} {memory:>12}")
    return "\n".join(lines)


# --- the picture ---------------------------------------------------------------------------------


class Panel(chart.Panel):
    """y from 0, not logarithmic: nothing in time is a figure too."""

    def __init__(self, left, lines, x_label, y_label, x_linear):
        points = sorted({x for line in lines.values() for x, _ in line})
        super().__init__(left, lines, x_label, points, y_label)
        self.x_linear = x_linear
        if x_linear:
            self.x_range = (0, max(points) * 1.05)
        else:
            self.x_points = chart.ticks(*self.x_range)
        self.y_range = (0, max(y for line in lines.values() for _, y in line) * 1.1 or 1)

    def x(self, value):
        if not self.x_linear:
            return super().x(value)
        low, high = self.x_range
        return self.left + chart.LEFT + (value - low) / (high - low) * (chart.WIDTH - chart.LEFT - chart.RIGHT)

    def y(self, value):
        return chart.HEIGHT - chart.BOTTOM - value / self.y_range[1] * (chart.HEIGHT - chart.TOP - chart.BOTTOM)

    def y_ticks(self):
        step = 10 ** math.floor(math.log10(self.y_range[1]))
        while self.y_range[1] / step < 4:
            step /= 2
        return [i * step for i in range(math.floor(self.y_range[1] / step) + 1)]


def lines_of(rows, x, y):
    lines = {}
    for row in rows:
        if row["phase"] == "overload" and not serving.is_disturbed(row):
            lines.setdefault(row["server"], []).append((x(row), y(row)))
    return {name: sorted(points) for name, points in lines.items()}


def picture(rows, deadline_ms):
    """The SVG's text; None without rows of this experiment. Left in requests, right in parts of each one's capacity."""
    absolute = lines_of(rows, lambda row: row["rate"], lambda row: row["goodput"])
    if not absolute:
        return None
    own = lines_of(rows, lambda row: row["factor"], lambda row: row["goodput"] / row["capacity"])
    body = [*Panel(0, absolute, "requests a second offered", "answers in time, a second", False).draw(),
            *Panel(chart.WIDTH, own, "offered, as a multiple of the server's capacity",
                   "answers in time, of its capacity", True).draw()]
    return chart.page(2 * chart.WIDTH, f"Overload: answers within {deadline_ms:g} ms of the request", body)
