"""How a balancer picks a replica: it knows how many requests it has at each, and nothing of other balancers."""

import bisect
import hashlib


class Balancer:
    """Keeps its own counts. pick() returns a replica's number, or None where none takes requests."""

    def __init__(self, replicas, random):
        self.random = random
        self.count = [0] * replicas
        self.members = list(range(replicas))
        self.place = list(range(replicas))  # index into members; -1: not a member

    def grow(self, replicas):
        for number in range(len(self.count), replicas):
            self.count.append(0)
            self.place.append(-1)
            self.add(number)

    def add(self, number):
        if self.place[number] < 0:
            self.place[number] = len(self.members)
            self.members.append(number)

    def remove(self, number):
        at = self.place[number]
        if at >= 0:
            last = self.members.pop()
            if last != number:
                self.members[at] = last
                self.place[last] = at
            self.place[number] = -1

    def pick_other(self, query, number):
        """As pick, but another than this one where there is one: what did not work there is tried elsewhere."""
        if self.place[number] < 0 or len(self.members) < 2:
            return self.pick(query)
        self.remove(number)
        other = self.pick(query)
        self.add(number)
        return other

    def sent(self, number):
        self.count[number] += 1

    def ended(self, number):
        self.count[number] -= 1


class Random(Balancer):
    def pick(self, _query):
        return self.members[int(self.random() * len(self.members))] if self.members else None


class RoundRobin(Balancer):
    def __init__(self, replicas, random):
        super().__init__(replicas, random)
        self.turn = int(random() * replicas)  # several balancers begin at different places

    def pick(self, _query):
        if not self.members:
            return None
        self.turn += 1
        return self.members[self.turn % len(self.members)]


class TwoChoices(Balancer):
    """Two different ones at random, of which the one with fewer requests."""

    def pick(self, _query):
        n = len(self.members)
        if n < 2:
            return self.members[0] if n else None
        i = int(self.random() * n)
        j = int(self.random() * (n - 1))
        a, b = self.members[i], self.members[j + (j >= i)]
        return a if self.count[a] <= self.count[b] else b


class LeastConnections(Balancer):
    """Of those with the fewest requests one at random. Levels: the members by count, so that a pick is O(1)."""

    def __init__(self, replicas, random):
        super().__init__(replicas, random)
        self.levels = [list(self.members)]
        self.slot = list(range(replicas))
        self.low = 0

    def _put(self, number):
        level = self.count[number]
        while len(self.levels) <= level:
            self.levels.append([])
        self.slot[number] = len(self.levels[level])
        self.levels[level].append(number)
        self.low = min(self.low, level)

    def _take(self, number, level):
        of = self.levels[level]
        last = of.pop()
        if last != number:
            of[self.slot[number]] = last
            self.slot[last] = self.slot[number]

    def grow(self, replicas):
        self.slot += [0] * (replicas - len(self.slot))
        super().grow(replicas)

    def add(self, number):
        if self.place[number] < 0:
            super().add(number)
            self._put(number)

    def remove(self, number):
        if self.place[number] >= 0:
            super().remove(number)
            self._take(number, self.count[number])

    def sent(self, number):
        self.count[number] += 1
        if self.place[number] >= 0:
            self._take(number, self.count[number] - 1)
            self._put(number)

    def ended(self, number):
        self.count[number] -= 1
        if self.place[number] >= 0:
            self._take(number, self.count[number] + 1)
            self._put(number)

    def pick(self, _query):
        if not self.members:
            return None
        while not self.levels[self.low]:
            self.low += 1
        level = self.levels[self.low]
        return level[int(self.random() * len(level))]


class Hashed(Balancer):
    """Consistent hashing of the query. `most`: beyond so many times the mean (and 1) the next on the ring is taken."""

    POINTS = 64  # on the ring, of each replica
    most = None

    def __init__(self, replicas, random):
        super().__init__(replicas, random)
        self.ring = []
        self.total = 0
        for number in range(replicas):
            self._insert(number)

    def _insert(self, number):
        for point in range(self.POINTS):
            digest = hashlib.blake2b(b"%d %d" % (number, point), digest_size=8).digest()
            bisect.insort(self.ring, (int.from_bytes(digest, "big"), number))

    def add(self, number):
        if self.place[number] < 0:
            super().add(number)
            self._insert(number)

    def remove(self, number):
        if self.place[number] >= 0:
            super().remove(number)
            self.ring = [entry for entry in self.ring if entry[1] != number]

    def sent(self, number):
        self.total += 1
        super().sent(number)

    def ended(self, number):
        self.total -= 1
        super().ended(number)

    def pick(self, query):
        if not self.ring:
            return None
        digest = hashlib.blake2b(b"%d" % query, digest_size=8).digest()
        at = bisect.bisect(self.ring, (int.from_bytes(digest, "big"), -1))
        if self.most is None:
            return self.ring[at % len(self.ring)][1]
        bound = 1 + self.most * self.total / len(self.members)
        for step in range(len(self.ring)):
            number = self.ring[(at + step) % len(self.ring)][1]
            if self.count[number] < bound:
                return number
        return self.ring[at % len(self.ring)][1]


class HashedBounded(Hashed):
    most = 1.25


POLICIES = {"leastconn": LeastConnections, "two": TwoChoices, "roundrobin": RoundRobin, "random": Random,
            "hash": Hashed, "hash-bounded": HashedBounded}
