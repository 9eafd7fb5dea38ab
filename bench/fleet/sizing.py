"""From a rate to a number of replicas, by curves that were simulated once.

A curve is of a kind's shape: candidates, share of warm documents, cores of a replica. Its latencies are in units of the mean
service time (CPU time over cores), as another dtype stretches the same curve. Between simulated points it is interpolated,
over the logarithm of the number of replicas and over utilisation; beyond the largest fleet it is the largest's."""

import bisect
import csv
import math

MOST = 0.85  # utilisation: this bears a tenth more load, or fewer replicas (section `check`); near 1 nothing is left


class Curves:
    def __init__(self, rows):
        self.shapes = {}  # (workers, candidates, warm): {replicas: [(utilisation, p50, p99)]}
        for row in rows:
            shape = int(row["workers"]), int(row["candidates"]), float(row["warm"])
            of = self.shapes.setdefault(shape, {}).setdefault(int(row["replicas"]), [])
            of.append((float(row["utilisation"]), float(row["p50"]), float(row["p99"])))
        for shape in self.shapes.values():
            for points in shape.values():
                points.sort()

    @classmethod
    def read(cls, path):
        with open(path, encoding="utf-8", newline="") as file:
            return cls(csv.DictReader(file))

    def shape(self, workers, candidates, warm):
        found = self.shapes.get((workers, candidates, warm))
        if found is None:
            known = ", ".join(f"{w} cores, {c} candidates, {s:g} warm" for w, c, s in sorted(self.shapes))
            raise ValueError(f"no curve for {workers} cores, {candidates} candidates, {warm:g} warm; there are: {known}")
        return found

    @staticmethod
    def _at(points, utilisation, column):
        """p50 or p99 there; beyond the last simulated utilisation: no bound."""
        if utilisation > points[-1][0]:
            return math.inf
        i = bisect.bisect_left(points, (utilisation,))
        if i == 0:
            return points[0][column]
        (u0, *low), (u1, *high) = points[i - 1], points[i]
        share = (utilisation - u0) / (u1 - u0)
        a, b = low[column - 1], high[column - 1]
        return a * (b / a) ** share  # straight on a logarithmic axis

    def latency(self, shape, replicas, utilisation, column=2):
        """In units of the mean service time; column 1: p50, 2: p99."""
        sizes = sorted(shape)
        if replicas >= sizes[-1]:
            return self._at(shape[sizes[-1]], utilisation, column)
        i = bisect.bisect_right(sizes, replicas) - 1
        a = self._at(shape[sizes[i]], utilisation, column)
        b = self._at(shape[sizes[i + 1]], utilisation, column)
        if math.isinf(a) or math.isinf(b):
            return math.inf
        share = math.log(replicas / sizes[i]) / math.log(sizes[i + 1] / sizes[i])
        return a * (b / a) ** share

    def target(self, shape, replicas, bound):
        """The highest utilisation, up to MOST, that keeps p99 within the bound (in units of the mean service time); 0: none."""
        low, high = 0.0, MOST
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if self.latency(shape, replicas, middle) <= bound else (low, middle)
        return MOST if low > 0.999 * MOST else low

    def replicas(self, kind, workers, cost, rate, bound):
        """The fewest that keep p99 within `bound` seconds; None: not even an idle replica does."""
        shape = self.shape(workers, kind.candidates, kind.warm)
        unit = cost / workers

        def enough(n):
            utilisation = rate * cost / (workers * n)
            return utilisation <= MOST and self.latency(shape, n, utilisation) * unit <= bound
        high = 1
        while not enough(high):
            if rate * cost / (workers * high) < 0.01 and high >= max(shape):
                return None
            high *= 2
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return high


def with_zone(replicas, zones=3):
    """Evenly over the zones, so that what is left without one is enough."""
    return zones * math.ceil(replicas / (zones - 1)) if zones > 1 else replicas
