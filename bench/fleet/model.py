"""The fleet: replicas that work as rerankd does, behind balancers, on a simulated clock. Seeded: one seed, one result.

A request is so many tokens that cost so many seconds of one core. A replica's idle worker cuts the next micro-batch, as
server/sched/batcher.c does: of the request with the smallest key (tokens handed out when it came, plus its own), an even share
of what waits, twice over, within bounds. Refusals are server/sched/admission.c's, by predicted wait and by deadline with the margin
that adapts; speeds are known exactly. With a deadline what would end after it is not begun, and its request is late.
Left out: micro-batches of several requests, partial answers, threads that wait for each other.
"""

import heapq
import math
import random
from dataclasses import dataclass, field

import balance

REFUSED, LOST, LATE = -1.0, -2.0, -3.0  # in place of a latency
NO_BOUND = 1e8                          # seconds: a wait that is never predicted


@dataclass
class Settings:
    replicas: int = 1
    workers: int = 2
    policy: str = "leastconn"
    balancers: int = 1
    order: str = "rerankd"          # or "fifo"
    min_tokens: float = 128         # of a micro-batch; inf: a request is one micro-batch
    max_tokens: float = 1024
    max_wait: float = 30.0          # seconds, predicted; more is refused
    deadline: float = 0.0           # seconds from arrival; 0: none
    redispatch: int = 0             # so many further replicas are tried when one refuses or dies
    warmup: float = 0.0             # seconds; requests that came before are in no figure
    delay: float = 0.0              # seconds for the way there and back, added to every latency
    seed: int = 1


class Job:
    __slots__ = ("arrived", "tokens", "left", "cost", "rate", "running", "balancer", "replica", "query", "tries", "hit",
                 "begun", "predicted")

    def __init__(self, arrived, tokens, cost, query):
        self.arrived, self.tokens, self.cost, self.query = arrived, tokens, cost, query
        self.left, self.rate = tokens, cost / tokens
        self.running = self.tries = 0
        self.balancer = self.replica = None
        self.hit = False
        self.begun = self.predicted = 0.0  # when it came to the replica, and how long it was to take there


class Replica:
    __slots__ = ("number", "idle", "queue", "handed", "waiting", "ends", "running", "epoch", "busy", "frozen", "up", "held",
                 "cache", "margin")

    def __init__(self, number, workers):
        self.number, self.idle = number, workers
        self.queue = []        # (key, tie, job)
        self.handed = 0.0      # tokens
        self.waiting = 0.0     # tokens
        self.ends = 0.0        # sum of the ends of the micro-batches under way
        self.running = 0
        self.epoch = 0         # counts its deaths
        self.busy = 0.0        # seconds of cores
        self.frozen = False
        self.up = True
        self.held = []         # micro-batches that ended while it was frozen
        self.cache = None
        self.margin = 1.1      # what predictions are multiplied by, as server/sched/estimate.c adapts it


@dataclass
class Result:
    offered: int = 0
    done: int = 0
    refused: int = 0
    lost: int = 0
    late: int = 0
    unfinished: int = 0
    hits: int = 0
    latencies: list = field(default_factory=list, repr=False)  # ascending, of those that were done
    series: list = field(default_factory=list, repr=False)     # (arrived, latency or one of the above), where asked for
    utilisation: float = 0.0
    seconds: float = 0.0
    mean: float = math.nan
    in_system: float = 0.0  # time average of requests in the fleet, the warm-up included

    def quantile(self, share):
        if not self.latencies:
            return math.inf
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


class Fleet:
    def __init__(self, settings):
        self.settings = settings
        self.random = random.Random(settings.seed)
        self.replicas = [Replica(i, settings.workers) for i in range(settings.replicas)]
        kind = balance.POLICIES[settings.policy]
        self.balancers = [kind(settings.replicas, self.random.random) for _ in range(settings.balancers)]
        self.events = []  # (time, tie, function, arguments)
        self.tie = 0
        self.now = 0.0
        self.result = Result()
        self.inside = 0
        self.area = 0.0
        self.at = 0.0
        self.keep_series = False
        self.on_start = None  # called with (replica, job) before a job is queued: caches change its cost

    # --- events

    def later(self, time, function, *arguments):
        self.tie += 1
        heapq.heappush(self.events, (time, self.tie, function, arguments))

    def run(self, arrivals, until=math.inf):
        """arrivals: ascending (time, tokens, cost, query). Ends when all are answered, or at `until`."""
        events, pop = self.events, heapq.heappop
        for time, tokens, cost, query in arrivals:
            if time > until:
                break
            while events and events[0][0] <= time:
                self.now, _, function, arguments = pop(events)
                function(*arguments)
            self.now = time
            self.count(+1)
            if time >= self.settings.warmup:
                self.result.offered += 1
            self.send(Job(time, tokens, cost, query))
        last = self.now
        while events and events[0][0] <= until and self.inside > 0:
            self.now, _, function, arguments = pop(events)
            function(*arguments)
        return self.finish(last)

    def count(self, change):
        self.area += self.inside * (self.now - self.at)
        self.at = self.now
        self.inside += change

    def finish(self, last):
        result = self.result
        result.latencies.sort()
        result.unfinished = result.offered - result.done - result.refused - result.lost - result.late
        result.seconds = last - self.settings.warmup
        if result.latencies:
            result.mean = math.fsum(result.latencies) / len(result.latencies)
        cores = self.settings.workers * len(self.replicas)
        if self.now > 0:
            result.utilisation = sum(replica.busy for replica in self.replicas) / (cores * self.now)
            result.in_system = self.area / self.now
        return result

    # --- the way of a request

    def send(self, job):
        number = int(self.random.random() * len(self.balancers)) if len(self.balancers) > 1 else 0
        job.balancer = self.balancers[number]
        self.route(job)

    def route(self, job):
        tried = job.replica
        number = job.balancer.pick(job.query) if tried is None else job.balancer.pick_other(job.query, tried.number)
        if number is None:
            self.end(job, LOST)
            return
        replica = self.replicas[number]
        job.replica = replica
        job.balancer.sent(number)
        if not replica.up:  # the connection is refused at once
            self.again(job, LOST)
            return
        if self.on_start:
            self.on_start(replica, job)
        key = (replica.handed + job.tokens if self.settings.order == "rerankd" else 0.0)
        if not self.admitted(replica, job, key):
            self.again(job, REFUSED)
            return
        self.tie += 1
        replica.waiting += job.tokens
        heapq.heappush(replica.queue, (key, self.tie, job))
        if replica.idle and not replica.frozen:
            self.cut(replica)

    def admitted(self, replica, job, key):
        settings = self.settings
        if settings.max_wait >= NO_BOUND and not settings.deadline:
            return True
        idle = replica.idle == settings.workers
        wait = replica.ends - replica.running * self.now
        for at, _, other in replica.queue:
            if at <= key:
                wait += other.left * other.rate
        wait /= settings.workers
        job.begun, job.predicted = self.now, wait + job.cost / settings.workers
        if idle or replica.frozen:
            return True
        if wait > settings.max_wait:
            return False
        left = job.arrived + settings.deadline - self.now
        return not settings.deadline or job.predicted * replica.margin <= left

    def learn(self, replica, job):
        """estimate_check: nine of ten ends shall not be later than predicted."""
        late = self.now - job.begun > replica.margin * job.predicted
        replica.margin = min(1.5, max(1.0, replica.margin + (0.009 if late else -0.001)))

    def again(self, job, why):
        job.balancer.ended(job.replica.number)
        job.tries += 1
        if job.tries <= self.settings.redispatch:
            job.left, job.running = job.tokens, 0
            self.route(job)
        else:
            self.end(job, why)

    def end(self, job, latency):
        self.count(-1)
        if self.keep_series:
            self.result.series.append((job.arrived, latency))
        if job.arrived < self.settings.warmup:
            return
        if latency == REFUSED:
            self.result.refused += 1
        elif latency == LOST:
            self.result.lost += 1
        elif latency == LATE:
            self.result.late += 1
        else:
            self.result.done += 1
            self.result.hits += job.hit
            self.result.latencies.append(latency)

    # --- a replica's workers

    def cut(self, replica):
        settings, queue = self.settings, replica.queue
        deadline = settings.deadline
        while replica.idle and queue:
            job = queue[0][2]
            take = job.left
            if deadline and self.now + min(take, settings.min_tokens) * job.rate > job.arrived + deadline:
                self.drop(replica, job)
                continue
            if take > settings.min_tokens:
                share = replica.waiting / (2 * settings.workers)
                share = min(max(share, settings.min_tokens), settings.max_tokens)
                take = share if share < take else take
            job.left -= take
            replica.waiting -= take
            replica.handed += take
            if job.left <= 1e-9:
                job.left = 0
                heapq.heappop(queue)
            job.running += 1
            replica.idle -= 1
            replica.running += 1
            seconds = take * job.rate
            replica.busy += seconds
            end = self.now + seconds
            replica.ends += end
            self.tie += 1
            heapq.heappush(self.events, (end, self.tie, self.ended, (replica, job, end, replica.epoch)))

    def ended(self, replica, job, end, epoch):
        if epoch != replica.epoch:
            return
        if replica.frozen:
            replica.held.append((replica, job, end, epoch))
            return
        replica.idle += 1
        replica.running -= 1
        replica.ends -= end
        job.running -= 1
        if job.running == 0 and job.left == 0:
            job.balancer.ended(replica.number)
            if self.settings.deadline:
                self.learn(replica, job)
            self.end(job, self.now - job.arrived + self.settings.delay)
        elif job.running == 0 and job.left < 0:
            job.balancer.ended(replica.number)
            self.end(job, LATE)
        if replica.queue:
            self.cut(replica)

    def drop(self, replica, job):
        """The first in the queue: its deadline comes before its next micro-batch would end."""
        heapq.heappop(replica.queue)
        replica.waiting -= job.left
        job.left = -1.0
        if job.running == 0:
            job.balancer.ended(replica.number)
            self.end(job, LATE)

    # --- what happens to replicas

    def jobs_of(self, replica):
        """Those that a death takes along."""
        found = {id(job): job for _, _, job in replica.queue}
        for _, _, function, arguments in self.events:
            if function == self.ended and arguments[0] is replica and arguments[3] == replica.epoch:
                found[id(arguments[1])] = arguments[1]
        for _, job, _, _ in replica.held:
            found[id(job)] = job
        return list(found.values())

    def kill(self, number):
        """It answers no more and its connections break; balancers still send, as long as nobody takes it out."""
        replica = self.replicas[number]
        if not replica.up:
            return
        jobs = self.jobs_of(replica)
        replica.epoch += 1
        replica.up = False
        replica.frozen = False
        replica.queue, replica.held = [], []
        replica.idle, replica.running, replica.waiting, replica.ends = self.settings.workers, 0, 0.0, 0.0
        if replica.cache is not None:
            replica.cache.clear()
        for job in jobs:
            self.again(job, LOST)

    def revive(self, number):
        self.replicas[number].up = True
        self.take_in(number)

    def freeze(self, number):
        self.replicas[number].frozen = True

    def thaw(self, number):
        replica = self.replicas[number]
        replica.frozen = False
        held, replica.held = replica.held, []
        for arguments in held:
            self.ended(*arguments)
        if replica.idle and replica.queue:
            self.cut(replica)

    def take_out(self, number):
        """The balancers send nothing more there; what is under way goes on."""
        for balancer in self.balancers:
            balancer.remove(number)

    def take_in(self, number):
        for balancer in self.balancers:
            balancer.add(number)

    def grow(self, replicas):
        for number in range(len(self.replicas), replicas):
            self.replicas.append(Replica(number, self.settings.workers))
        for balancer in self.balancers:
            balancer.grow(replicas)

    def queued_seconds(self, replica):
        """What its clients would wait: predicted seconds of the work that is not done."""
        left = sum(job.left * job.rate for _, _, job in replica.queue)
        return (left + replica.ends - replica.running * self.now) / self.settings.workers
