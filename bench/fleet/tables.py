"""The experiments behind deploy/SCALING.md. Each is a list of runs that know nothing of each other; rows go to a CSV each."""

import csv
import itertools
import multiprocessing
import os
import random
import sys
import time

import caches
import load
import model
import sizing

MIX = ((10, 0.7), (30, 0.2), (100, 0.1))  # candidates and their share: bench/sweep's
CORES = 8
CURVE_SIZES = (1, 2, 4, 8, 16, 64, 256)
CURVE_UTILISATIONS = (0.05, 0.3, 0.5, 0.6, 0.7, 0.8, 0.87, 0.93, 0.97)
SHAPES = [(cores, candidates, warm) for cores in (2, 8) for candidates in (10, 30, 100) for warm in (0.0, 0.5, 0.9)]
CURVE_DTYPE = "int8"
RATES = (10, 100, 1000, 10000, 100000)
BOUNDS = (0.2, 0.5)
DTYPES = ("float32", "bfloat16", "int8")

state = {}  # of a process of the pool: what all runs share


def prepare(costs_path, data, seed):
    costs = load.Costs(costs_path)
    state.update(costs=costs, data=data, seed=seed, pools={})


def pool_of(kind):
    """A kind's, or the mix's of a dtype."""
    if kind not in state["pools"]:
        if isinstance(kind, str):
            parts = [load.pool_of(load.Kind(count, kind), state["costs"], state["seed"], state["data"],
                                  round(load.POOL * share)) for count, share in MIX]
            pool = list(itertools.chain(*parts))
            random.Random(state["seed"]).shuffle(pool)
        else:
            pool = load.pool_of(kind, state["costs"], state["seed"], state["data"])
        state["pools"][kind] = pool
    return state["pools"][kind]


def simulate(kind, utilisation, requests, burst=1.0, setup=None, series=False, zipf=None, rate=None, **changes):
    """A run at a utilisation of the fleet it begins with; the first tenth counts for nothing."""
    pool = pool_of(kind)
    cost = load.mean_cost(pool)
    settings = model.Settings(**{"workers": CORES, "seed": state["seed"], **changes})
    rate = rate or utilisation * settings.replicas * settings.workers / cost
    settings.warmup = settings.warmup or 0.1 * requests / rate
    fleet = model.Fleet(settings)
    fleet.keep_series = series
    if setup:
        setup(fleet, rate)
    result = fleet.run(load.requests(load.Rate(rate, burst), pool, state["seed"] + 1, requests, zipf))
    return result, cost, rate


def ms(seconds):
    return f"{1000 * seconds:.2f}"


# --- curves: latency against utilisation and size ------------------------------------------------


def curve_runs(_arguments):
    for cores, candidates, warm in SHAPES:
        for replicas in CURVE_SIZES:
            for utilisation in CURVE_UTILISATIONS:
                yield cores, candidates, warm, replicas, utilisation


def curve(cores, candidates, warm, replicas, utilisation):
    requests = max(12000 if candidates > 30 else 16000, 100 * replicas)
    result, cost, _ = simulate(load.Kind(candidates, CURVE_DTYPE, warm), utilisation, requests, workers=cores, replicas=replicas)
    unit = cost / cores
    return {"workers": cores, "candidates": candidates, "warm": warm, "replicas": replicas, "utilisation": utilisation,
            "requests": requests, "p50": f"{result.quantile(0.5) / unit:.4f}", "p99": f"{result.quantile(0.99) / unit:.4f}",
            "seed": state["seed"]}


# --- sizes: replicas for rates, from the curves --------------------------------------------------


def size_runs(arguments):
    for shape in SHAPES:
        for dtype in DTYPES:
            yield (curves_path(arguments), *shape, dtype)


def size(path, cores, candidates, warm, dtype):
    if "curves" not in state:
        state["curves"] = sizing.Curves.read(path)
    curves = state["curves"]
    kind = load.Kind(candidates, dtype, warm)
    cost = load.mean_cost(pool_of(kind))
    rows = []
    for bound in BOUNDS:
        for rate in RATES:
            found = curves.replicas(kind, cores, cost, rate, bound)
            rows.append({"workers": cores, "candidates": candidates, "dtype": dtype, "warm": warm, "cpu_ms": f"{1000 * cost:.3f}",
                         "p99_bound_ms": round(1000 * bound), "rate": rate, "replicas": found or "",
                         "with_zone": sizing.with_zone(found) if found else "",
                         "utilisation": f"{rate * cost / (found * cores):.3f}" if found else ""})
    return rows


# --- check: the rules against direct simulation --------------------------------------------------


def check_runs(arguments):
    cases = ((8, 30, "bfloat16", 0.0, 1000, 0.2), (8, 30, "int8", 0.0, 10000, 0.2), (8, 10, "float32", 0.0, 1000, 0.2),
             (8, 100, "int8", 0.0, 1000, 0.2), (8, 100, "bfloat16", 0.5, 1000, 0.2), (8, 100, "float32", 0.9, 1000, 0.5),
             (2, 30, "bfloat16", 0.0, 100, 0.2), (2, 100, "int8", 0.0, 1000, 0.5), (8, 30, "int8", 0.0, 100000, 0.2),
             (8, 100, "float32", 0.0, 10000, 0.5), (8, 10, "bfloat16", 0.9, 100000, 0.2))
    for case in cases:
        yield (curves_path(arguments), *case)


def check(path, cores, candidates, dtype, warm, rate, bound):
    curves = state.setdefault("curves", sizing.Curves.read(path))
    kind = load.Kind(candidates, dtype, warm)
    cost = load.mean_cost(pool_of(kind))
    replicas = curves.replicas(kind, cores, cost, rate, bound)
    rows = []
    for share in (1.0, 0.9):
        n = max(1, round(share * replicas))
        requests = min(max(40000, 60 * n), 300000)
        result, _, _ = simulate(kind, 0, requests, rate=rate, workers=cores, replicas=n)
        rows.append({"workers": cores, "candidates": candidates, "dtype": dtype, "warm": warm, "rate": rate,
                     "p99_bound_ms": round(1000 * bound), "replicas_by_rule": replicas, "replicas_simulated": n, "requests": requests,
                     "utilisation": f"{rate * cost / (n * cores):.3f}", "p50_ms": ms(result.quantile(0.5)),
                     "p99_ms": ms(result.quantile(0.99))})
    return rows


# --- balance: policies, and balancers that do not know each other ---------------------------------


def balance_runs(_arguments):
    for replicas in (16, 128):
        for utilisation in (0.6, 0.8, 0.9):
            for policy in ("leastconn", "two", "roundrobin", "random"):
                for balancers in (1, 2, 4, 16) if policy in ("leastconn", "two", "roundrobin") else (1,):
                    yield replicas, utilisation, policy, balancers


def balanced(replicas, utilisation, policy, balancers):
    result, _, rate = simulate("bfloat16", utilisation, 60000, replicas=replicas, policy=policy, balancers=balancers)
    return {"replicas": replicas, "utilisation": utilisation, "policy": policy, "balancers": balancers, "rate": f"{rate:.1f}",
            "p50_ms": ms(result.quantile(0.5)), "p99_ms": ms(result.quantile(0.99))}


# --- bursts ---------------------------------------------------------------------------------------


def burst_runs(_arguments):
    for replicas in (4, 16, 64):
        for burst in (1.0, 1.5, 2.0, 3.0):
            for utilisation in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
                yield replicas, burst, utilisation


def bursts(replicas, burst, utilisation):
    result, _, rate = simulate("bfloat16", utilisation, 60000 if replicas < 64 else 200000, burst=burst, replicas=replicas)
    return {"replicas": replicas, "burst": burst, "utilisation": utilisation, "at_the_peak": f"{burst * utilisation:.2f}",
            "rate": f"{rate:.1f}", "p50_ms": ms(result.quantile(0.5)), "p99_ms": ms(result.quantile(0.99))}


# --- caches ---------------------------------------------------------------------------------------

QUERIES, ZIPF, REQUEST_PAIRS, PAIRS = 1000000, 0.9, 30, 559240  # pairs that --cache-bytes 33554432 holds


def cache_runs(_arguments):
    for replicas in (1, 4, 16, 64):
        for where in ("none", "each", "shared", "hash", "hash-bounded"):
            yield replicas, where


def cached(replicas, where):
    """30 candidates a query, of a million queries by Zipf; a cache holds as many whole queries as its pairs allow. The rate is
    the same for all: 0.8 of what the fleet does without any cache. `shared`: one cache of ten million queries, beside an
    own one, whose hits cost half a millisecond more."""
    kind = load.Kind(REQUEST_PAIRS, "bfloat16")
    cost = state["costs"].dtype("bfloat16")
    hit_cost = cost["request"] + REQUEST_PAIRS * cost["candidate"]
    size = PAIRS // REQUEST_PAIRS
    common = caches.Lru(10 * QUERIES)
    requests = 200000 + 2000 * replicas

    def setup(fleet, _rate):
        for replica in fleet.replicas:
            replica.cache = caches.Lru(size)

        def on_start(replica, job):
            job.hit = where != "none" and replica.cache.ask(job.query)
            further = 0.0
            if where == "shared" and not job.hit:
                job.hit = common.ask(job.query)
                further = 100e-6  # of CPU time: the look-up
            if job.hit:
                job.tokens = job.left = 1.0
                job.rate = hit_cost + further
                job.cost = job.rate
        fleet.on_start = on_start
    policy = where if where.startswith("hash") else "leastconn"
    if "zipf" not in state:
        state["zipf"] = load.Zipf(QUERIES, ZIPF)
    pool = pool_of(kind)
    rate = 0.8 * replicas * CORES / load.mean_cost(pool)
    result, _, _ = simulate(kind, 0.8, requests, setup=setup, zipf=state["zipf"], policy=policy, replicas=replicas,
                            warmup=0.5 * requests / rate)
    return {"replicas": replicas, "cache": where, "requests": requests, "rate": f"{rate:.0f}",
            "hits": f"{result.hits / max(1, result.done):.3f}", "utilisation": f"{result.utilisation:.3f}",
            "p50_ms": ms(result.quantile(0.5)), "p99_ms": ms(result.quantile(0.99))}


# --- failures -------------------------------------------------------------------------------------


def failure_runs(_arguments):
    for replicas in (3, 12, 48):
        for utilisation in (0.5, 0.6, 0.7, 0.8):
            for what in ("nothing", "one killed", "one frozen", "a zone", "rolling"):
                yield replicas, utilisation, what


def failing(replicas, utilisation, what):
    """In the middle of 60 s. A killed one is taken out by the next check (1 s) and retried from elsewhere meanwhile; a frozen one
    after 4 s, and what it had then is sent again; a zone is a third; rolling: one after the other is drained for 2 s
    and away for 3 s."""
    cost = load.mean_cost(pool_of("bfloat16"))
    rate = utilisation * replicas * CORES / cost
    seconds, begin = 60.0, 20.0

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
                at = begin + number * min(5.0, 36.0 / replicas)
                later(at, fleet.take_out, number)
                later(at + 2, fleet.kill, number)
                later(at + 5, fleet.revive, number)
    requests = int(rate * seconds)
    result, _, _ = simulate("bfloat16", utilisation, requests, setup=setup, series=True, replicas=replicas, redispatch=2,
                            warmup=10.0, max_wait=2.0)
    after = sorted(latency for arrived, latency in result.series if arrived >= begin and latency >= 0)
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
    for begin in (0.4, 0.6, 0.75):
        for factor in (1.5, 2.0, 3.0):
            for metric in ("none", "queue", "cpu"):
                for start in (5.0, 30.0) if metric != "none" else (0.0,):
                    yield begin, factor, metric, start


class Autoscaler:
    """Kubernetes' rule: every 15 s, replicas x metric / target, rounded up, at most twice as many (or 4 more); not when within
    a tenth. queue: mean predicted wait of a new request, over the last 15 s, target 50 ms; cpu: mean utilisation, target 0.6.
    A pod takes requests `start` seconds after it was wanted."""

    EVERY, SAMPLE, TOLERANCE = 15.0, 1.0, 0.1

    def __init__(self, fleet, metric, start, most, log):
        self.fleet, self.metric, self.start, self.most, self.log = fleet, metric, start, most, log
        self.samples, self.busy, self.wanted = [], 0.0, len(fleet.replicas)
        fleet.later(self.SAMPLE, self.sample)
        fleet.later(self.EVERY, self.decide)

    def sample(self):
        fleet = self.fleet
        self.samples.append(sum(map(fleet.queued_seconds, fleet.replicas)) / len(fleet.replicas))
        fleet.later(fleet.now + self.SAMPLE, self.sample)

    def decide(self):
        fleet = self.fleet
        now, busy = len(fleet.replicas), sum(replica.busy for replica in fleet.replicas)
        if self.metric == "queue":
            ratio = sum(self.samples) / len(self.samples) / 0.05
        else:
            ratio = (busy - self.busy) / (self.EVERY * now * CORES) / 0.6
        self.samples, self.busy = [], busy
        if ratio > 1 + self.TOLERANCE and self.wanted <= now:
            self.wanted = min(self.most, max(2 * now, now + 4), -int(-now * ratio // 1))
            fleet.later(fleet.now + self.start, fleet.grow, self.wanted)
            self.log.append((fleet.now, self.wanted))
        fleet.later(fleet.now + self.EVERY, self.decide)


def stepped(begin, factor, metric, start):
    """Eight replicas at a utilisation; after 30 s the rate is `factor` times that. How long p99 of each second is above 500 ms,
    and what was refused (--max-queue-ms 1000)."""
    pool = pool_of("bfloat16")
    cost = load.mean_cost(pool)
    settings = model.Settings(replicas=8, workers=CORES, max_wait=1.0, seed=state["seed"])
    fleet = model.Fleet(settings)
    fleet.keep_series = True
    log = []
    if metric != "none":
        Autoscaler(fleet, metric, start, 64, log)
    rate = begin * 8 * CORES / cost
    step, end = 30.0, 150.0
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
        seconds[int(arrived)].append(latency if latency >= 0 else float("inf"))
    bad = [i for i in range(int(step), int(end)) if seconds[i] and sorted(seconds[i])[int(0.99 * len(seconds[i]))] > 0.5]
    return {"utilisation_before": begin, "factor": factor, "metric": metric, "pod_start_s": start,
            "seconds_above_500_ms": len(bad), "good_again_after_s": max(bad) + 1 - int(step) if bad else 0,
            "refused": f"{result.refused / result.offered:.4f}", "replicas_at_the_end": len(fleet.replicas),
            "steps": " ".join(f"{at - step:.0f}s:{count}" for at, count in log)}


# --- measured: one replica beside bench/sweep's figures --------------------------------------------


def measured_runs(arguments):
    if arguments.sweep:
        with open(arguments.sweep, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["server"].startswith("rerankd") and row["phase"] in ("search", "curve") and not float(row["error_share"]):
                    yield (row["server"], "int8" if "int8" in row["settings"] else "bfloat16", float(row["rate"]),
                           float(row["p50_ms"]), float(row["p99_ms"]))


def as_measured(server, dtype, rate, p50, p99):
    result, cost, _ = simulate(dtype, 0, 30000, rate=rate, workers=2, replicas=1)
    return {"server": server, "dtype": dtype, "rate": rate, "utilisation": f"{rate * cost / 2:.3f}", "measured_p50_ms": p50,
            "simulated_p50_ms": ms(result.quantile(0.5)), "measured_p99_ms": p99, "simulated_p99_ms": ms(result.quantile(0.99))}


SECTIONS = {"curves": (curve_runs, curve), "sizes": (size_runs, size), "check": (check_runs, check),
            "balance": (balance_runs, balanced), "bursts": (burst_runs, bursts), "caches": (cache_runs, cached),
            "failures": (failure_runs, failing), "overload": (overload_runs, overloaded), "step": (step_runs, stepped),
            "measured": (measured_runs, as_measured)}


def curves_path(arguments):
    return f"{arguments.out}-fleet-curves.csv"


def call(job):
    function, parameters = job
    return SECTIONS[function][1](*parameters)


def run(arguments, costs):
    with multiprocessing.Pool(arguments.jobs, prepare, (arguments.costs, arguments.data, arguments.seed)) as workers:
        for name in arguments.sections.split(","):
            if name not in SECTIONS:
                raise ValueError(f"--sections: {', '.join(SECTIONS)}")
            begin = time.monotonic()
            rows = []
            for found in workers.imap(call, [(name, parameters) for parameters in SECTIONS[name][0](arguments)]):
                rows += found if isinstance(found, list) else [found]
            if rows:
                path = f"{arguments.out}-fleet-{name}.csv"
                with open(path + ".part", "w", encoding="utf-8", newline="") as file:
                    writer = csv.DictWriter(file, list(rows[0]))
                    writer.writeheader()
                    writer.writerows(rows)
                os.replace(path + ".part", path)
            print(f"{name}: {len(rows)} rows, {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
