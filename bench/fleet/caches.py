"""Caches as far as hit rates go: LRU, and what theory says of it."""

import math


class Lru:
    def __init__(self, size):
        self.size = size
        self.kept = {}

    def __len__(self):
        return len(self.kept)

    def ask(self, key):
        """Whether it was there; from now on it is."""
        kept = self.kept
        if key in kept:
            del kept[key]  # to the end of the order
            kept[key] = None
            return True
        kept[key] = None
        if len(kept) > self.size:
            del kept[next(iter(kept))]
        return False

    def clear(self):
        self.kept.clear()


def che(zipf, size):
    """The hit rate of an LRU cache under independent requests of that popularity (Che's approximation)."""
    if size >= len(zipf.weights):
        return 1.0
    shares = [weight / zipf.total for weight in zipf.weights]
    low, high = 0.0, 1.0

    def filled(time):
        return math.fsum(-math.expm1(-share * time) for share in shares)
    while filled(high) < size:
        high *= 2
    for _ in range(50):
        time = (low + high) / 2
        low, high = (time, high) if filled(time) < size else (low, time)
    return math.fsum(-share * math.expm1(-share * time) for share in shares)
