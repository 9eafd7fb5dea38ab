"""Experiments in which something happens: a replica dies, more comes than fits, the fleet grows."""

import math
import random

import load
import model
from runs import CORES, ms, pool_of, simulate, state

# --- failures -------------------------------------------------------------------------------------


def failure_runs(_arguments):
    for replicas in (3, 12):
        for utilisation in (0.5, 0.6, 0.7):
            for what in ("nothing", "one killed", "one frozen", "a zone", "rolling"):
                yield replicas, utilisation, what


def failing(replicas, utilisation, what):
    """From 15 s on, of 45 s. A killed one is taken out by the next check (1 s) and retried from elsewhere meanwhile; a frozen one
    after 4 s, and what it had then is sent again; a zone is a third; rolling: one after the other is drained for 2 s
    and away for 3 s."""
    cost = load.mean_cost(pool_of("bfloat16"))
    rate = utilisation * replicas * CORES / cost
    seconds, begin = 45.0, 15.0

    def setup(fleet, _rate):
        later = fleet.later
        if what == "one killed":
            later(begin, fleet.kill, 0)
            later(begin + 1, fleet.take_out, 0)
        elif what == "one frozen":
            later(begin, fleet.freeze, 0)
            later(begin + 4, fleet.take_out, 0)
            later(begin + 4, fleet.kill, 0)
        elif what == "a zone":
            for number in range(replicas // 3):
                later(begin, fleet.kill, number)
                later(begin + 1, fleet.take_out, number)
        elif what == "rolling":
            for number in range(replicas):
                at = begin + number * min(5.0, 24.0 / replicas)
                later(at, fleet.take_out, number)
                later(at + 2, fleet.kill, number)
                later(at + 5, fleet.revive, number)
    requests = int(rate * seconds)
    result, _, _ = simulate("bfloat16", utilisation, requests, setup=setup, series=True, replicas=replicas, redispatch=2,
                            warmup=10.0, max_wait=2.0)
    after = sorted(latency for arrived, latency in result.series if arrived >= begin - 1 and latency >= 0)
    late = sorted(latency for arrived, latency in result.series if arrived >= begin + 5 and latency >= 0)
    return {"replicas": replicas, "utilisation": utilisation, "what": what, "rate": f"{rate:.0f}", "requests": requests,
            "p99_ms": ms(after[int(0.99 * len(after))]), "p99_from_5_s_on_ms": ms(late[int(0.99 * len(late))]),
            "longest_ms": ms(after[-1]), "lost": result.lost, "refused": result.refused}


# --- overload -------------------------------------------------------------------------------------


def overload_runs(_arguments):
    for factor in (0.8, 1.0, 1.5, 2.0, 3.0):
        for how in ("bounded", "deadline", "unbounded"):
            yield factor, how


def overloaded(factor, how):
    """Eight replicas; an answer counts within 500 ms. bounded: --max-queue-ms 200; deadline: told to the server, 500 ms."""
    limits = {"bounded": {"max_wait": 0.2}, "deadline": {"deadline": 0.5}, "unbounded": {"max_wait": model.NO_BOUND}}[how]
    result, _, rate = simulate("bfloat16", factor, 60000, replicas=8, series=True, **limits)
    good = sum(0 <= latency <= 0.5 for arrived, latency in result.series if arrived >= 0.1 * 60000 / rate)
    return {"factor": factor, "how": how, "replicas": 8, "rate": f"{rate:.0f}", "within_500_ms": f"{good / result.offered:.3f}",
            "refused": f"{result.refused / result.offered:.3f}", "late": f"{result.late / result.offered:.3f}",
            "p50_ms": ms(result.quantile(0.5)), "p99_ms": ms(result.quantile(0.99)), "utilisation": f"{result.utilisation:.3f}"}


# --- step: autoscaling -----------------------------------------------------------------------------


def step_runs(_arguments):
    for begin in (0.4, 0.6):
        for factor in (2.0, 3.0):
            for rule, start in (("none", 0.0), ("queue", 10.0), ("cpu", 10.0), ("both", 10.0), ("both", 30.0), ("both, doubling", 10.0),
                                ("both, doubling", 30.0)):
                yield begin, factor, rule, start


class Autoscaler:
    """Kubernetes' rule: every 15 s, replicas x metric / target, rounded up, not when within a tenth. queue: mean predicted wait
    of a new request over the last 15 s, target 100 ms; cpu: mean utilisation, target 0.7; both: what wants more, as
    deploy/kubernetes/autoscaler.yaml. At most half as many again, or two, in 30 s; doubling: twice as many in 15 s. A
    pod takes requests `start` seconds after it was wanted. Nothing is taken away: that begins after five minutes."""

    EVERY, SAMPLE, TOLERANCE = 15.0, 1.0, 0.1

    def __init__(self, fleet, rule, start, most):
        self.fleet, self.start, self.most = fleet, start, most
        self.rule, _, self.fast = rule.partition(", ")
        self.samples, self.busy = [], 0.0
        self.log = [(-1e9, len(fleet.replicas))]  # (when wanted, how many)
        fleet.later(self.SAMPLE, self.sample)
        fleet.later(self.EVERY, self.decide)

    def sample(self):
        fleet = self.fleet
        self.samples.append(sum(map(fleet.queued_seconds, fleet.replicas)) / len(fleet.replicas))
        fleet.later(fleet.now + self.SAMPLE, self.sample)

    def limit(self):
        if self.fast:
            return 2 * self.log[-1][1]
        before = [count for at, count in self.log if at <= self.fleet.now - 30][-1]
        return max(math.ceil(1.5 * before), before + 2)

    def decide(self):
        fleet = self.fleet
        now, busy = len(fleet.replicas), sum(replica.busy for replica in fleet.replicas)
        queue = sum(self.samples) / len(self.samples) / 0.1
        cpu = (busy - self.busy) / (self.EVERY * now * CORES) / 0.7
        ratio = {"queue": queue, "cpu": cpu, "both": max(queue, cpu)}[self.rule]
        self.samples, self.busy = [], busy
        wanted = min(self.most, self.limit(), math.ceil(now * ratio))
        if ratio > 1 + self.TOLERANCE and wanted > self.log[-1][1]:
            fleet.later(fleet.now + self.start, fleet.grow, wanted)
            self.log.append((fleet.now, wanted))
        fleet.later(fleet.now + self.EVERY, self.decide)


def stepped(begin, factor, rule, start):
    """Eight replicas at a utilisation; after 35 s the rate is `factor` times that. In how many seconds p99 is above 500 ms, and
    what was refused (--max-queue-ms 1000)."""
    pool = pool_of("bfloat16")
    cost = load.mean_cost(pool)
    fleet = model.Fleet(model.Settings(replicas=8, workers=CORES, max_wait=1.0, seed=state["seed"]))
    fleet.keep_series = True
    scaler = None if rule == "none" else Autoscaler(fleet, rule, start, 64)
    rate = begin * 8 * CORES / cost
    step, end = 35.0, 155.0
    rng = random.Random(state["seed"])

    def arrivals():
        now = 0.0
        while now < end:
            now += rng.expovariate(rate * (factor if now >= step else 1))
            tokens, seconds = pool[int(rng.random() * len(pool))]
            yield now, tokens, seconds, 0
    result = fleet.run(arrivals(), until=end + 20)
    seconds = [[] for _ in range(int(end) + 2)]
    for arrived, latency in result.series:
        seconds[int(arrived)].append(latency if latency >= 0 else math.inf)
    bad = [i for i in range(int(step), int(end)) if seconds[i] and sorted(seconds[i])[int(0.99 * len(seconds[i]))] > 0.5]
    return {"utilisation_before": begin, "factor": factor, "rule": rule, "pod_start_s": start,
            "seconds_above_500_ms": len(bad), "good_again_after_s": max(bad) + 1 - int(step) if bad else 0,
            "refused": f"{result.refused / result.offered:.4f}", "replicas_at_the_end": len(fleet.replicas),
            "steps": " ".join(f"{at - step:.0f}s:{count}" for at, count in scaler.log[1:]) if scaler else ""}
