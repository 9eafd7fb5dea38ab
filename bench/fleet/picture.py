"""The picture of deploy/SCALING.md: what a fleet's size does to p99, and how many replicas a rate wants."""

import csv
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import chart  # noqa: E402

CORES, CANDIDATES, BOUND_MS = 8, 30, 200
MOST = 20  # times the mean service time: above, curves are cut


class UtilisationPanel(chart.Panel):
    """Utilisation from left to right, not logarithmic."""

    def x(self, value):
        return self.left + chart.LEFT + value / 100 * (chart.WIDTH - chart.LEFT - chart.RIGHT)


def rows_of(prefix, name):
    with open(f"{prefix}-fleet-{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(prefix, cpu):
    left, right = {}, {}
    for row in rows_of(prefix, "curves"):
        if (int(row["workers"]), int(row["candidates"]), float(row["warm"])) == (CORES, CANDIDATES, 0):
            point = 100 * float(row["utilisation"]), float(row["p99"])
            if point[1] <= MOST:
                left.setdefault(f"{row['replicas']} replica" + "s" * (row["replicas"] != "1"), []).append(point)
    for row in rows_of(prefix, "sizes"):
        if int(row["workers"]) == CORES and float(row["warm"]) == 0 and int(row["p99_bound_ms"]) == BOUND_MS and row["replicas"]:
            right.setdefault(f"{row['candidates']} {row['dtype']}", []).append((float(row["rate"]), float(row["replicas"])))
    body = UtilisationPanel(0, left, f"utilisation, percent ({CANDIDATES} candidates, {CORES} cores a replica)",
                            (10, 30, 50, 60, 70, 80, 90, 100), "p99, in mean service times").draw()
    rates = sorted({rate for points in right.values() for rate, _ in points})
    body += chart.Panel(chart.WIDTH, right, "requests a second (candidates, number format)", rates,
                        f"replicas of {CORES} cores, p99 within {BOUND_MS} ms, none to spare").draw()
    path = f"{prefix}-fleet.svg"
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(chart.page(2 * chart.WIDTH, f"simulated, with costs measured on {cpu}", body))
    os.replace(path + ".part", path)
