"""What comes: arrivals, and the work of requests."""

import bisect
import itertools
import json
import math
import random
from dataclasses import dataclass

POOL = 4096  # requests that are drawn from: their work is made once


@dataclass
class Rate:
    """Requests a second over time. burst > 1: for a fifth of the time, in stretches of 2 s on average, the rate is so many
    times the mean, and lower in between. swing: a day's share up and down, of period `period` seconds."""

    mean: float
    burst: float = 1.0
    swing: float = 0.0
    period: float = 600.0

    share, stay = 0.2, 2.0

    def times(self, rng):
        """Ascending times of arrivals, for ever: a Poisson process whose rate changes, by thinning."""
        low = (1 - self.share * self.burst) / (1 - self.share)
        if low < 0:
            raise ValueError(f"burst: at most {1 / self.share:g}")
        most = self.mean * self.burst * (1 + self.swing)
        now = switch = 0.0
        high = False
        expovariate, uniform = rng.expovariate, rng.random
        plain = self.burst == 1 and self.swing == 0
        while True:
            now += expovariate(most)
            if plain:
                yield now
                continue
            while now >= switch:
                high = uniform() < self.share if switch == 0 else not high
                switch += expovariate(1 / (self.stay if high else self.stay * (1 - self.share) / self.share))
            rate = self.mean * (self.burst if high else low)
            if self.swing:
                rate *= 1 + self.swing * math.sin(2 * math.pi * now / self.period)
            if uniform() * most < rate:
                yield now


class Zipf:
    """Numbers 0 to n - 1, the k-th with probability proportional to (k + 1) ** -s."""

    def __init__(self, n, s):
        weights = [(k + 1) ** -s for k in range(n)]
        self.sums = list(itertools.accumulate(weights))
        self.total = self.sums[-1]
        self.weights = weights

    def draw(self, uniform):
        return bisect.bisect(self.sums, uniform() * self.total)


class Costs:
    """Measured seconds of CPU time: see the file's own `meaning`, and bench/fleet/measure."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.all = json.load(file)
        self.lengths = self.all["pair_tokens"]["quantiles"]

    def dtype(self, name):
        return self.all["dtypes"][name]

    def lists(self, data=None):
        """Functions that draw a request's lengths: of a file's own candidate lists, or of the measured quantiles."""
        if data is None:
            top = len(self.lengths) - 1

            def independent(rng, count):
                drawn = []
                for _ in range(count):
                    at = rng.random() * top
                    i = int(at)
                    drawn.append(self.lengths[i] + (at - i) * (self.lengths[min(i + 1, top)] - self.lengths[i]))
                return drawn
            return independent
        rows = read_lists(data, self.all["pair_tokens"]["tokens_per_character"])

        def own(rng, count):
            row = rows[int(rng.random() * len(rows))]
            return [row[i % len(row)] for i in range(count)] if len(row) < count else row[:count]
        return own


def read_lists(path, tokens_per_character):
    """Lengths in tokens, estimated from characters, of each query's candidates."""
    rows = []
    with open(path, encoding="utf-8") as file:
        for line in filter(str.strip, file):
            entry = json.loads(line)
            query = entry.get("query", "")
            texts = entry.get("candidates") or entry.get("documents") or entry.get("texts") or entry.get("passages")
            texts = [text if isinstance(text, str) else text.get("text", "") for text in texts]
            rows.append([min(512, max(4, (len(query) + len(text)) * tokens_per_character)) for text in texts])
    if not rows:
        raise ValueError(f"{path}: no candidates")
    return rows


@dataclass(frozen=True)
class Kind:
    """What a request asks for. warm: share of its documents that are kept; each document by itself."""

    candidates: int
    dtype: str
    warm: float = 0.0

    def __str__(self):
        return f"{self.candidates} {self.dtype}" + (f" warm {self.warm:g}" if self.warm else "")


def pool_of(kind, costs, seed, data=None, size=POOL):
    """[(tokens, seconds of one core)], so many requests of the kind. Tokens are those computed: what warm documents and the
    request itself cost is spread over them."""
    rng = random.Random(seed * 7919 + 17)
    lengths_of = costs.lists(data)
    cost = costs.dtype(kind.dtype)
    made = []
    for _ in range(size):
        lengths = lengths_of(rng, kind.candidates)
        cold = [length for length in lengths if rng.random() >= kind.warm] if kind.warm else lengths
        tokens = sum(cold)
        prefix = "warm_" if kind.warm else ""  # the query computed once, and the look-up of each document, included
        seconds = cost[prefix + "request"] + kind.candidates * cost[prefix + "candidate"] + tokens * cost["token"]
        made.append((max(tokens, costs.all["pair_tokens"]["query"]), seconds))
    return made


def mean_cost(pool):
    return math.fsum(seconds for _, seconds in pool) / len(pool)


def requests(rate, pool, seed, count, zipf=None):
    """`count` arrivals as model.Fleet takes them. With a Zipf, a query's work is always the same."""
    rng = random.Random(seed)
    size, uniform = len(pool), rng.random
    for _, now in zip(range(count), rate.times(rng)):
        if zipf is None:
            tokens, cost = pool[int(uniform() * size)]
            yield now, tokens, cost, 0
        else:
            query = zipf.draw(uniform)
            tokens, cost = pool[query * 2654435761 % size]
            yield now, tokens, cost, query
