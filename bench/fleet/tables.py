"""The experiments behind deploy/SCALING.md. Each is a list of runs that know nothing of each other; rows go to a CSV each."""

import csv
import multiprocessing
import os
import random
import sys
import time

import caches
import events
import load
import picture
import sizing
from runs import CORES, ms, pool_of, prepare, simulate, state

CURVE_SIZES = (1, 2, 4, 8, 16, 64, 256)
CURVE_UTILISATIONS = (0.05, 0.3, 0.5, 0.6, 0.7, 0.8, 0.87, 0.93, 0.97)
SHAPES = [(cores, candidates, warm) for cores, warms in ((2, (0.0,)), (8, (0.0, 0.5, 0.9))) for candidates in (10, 30, 100)
          for warm in warms]
CURVE_DTYPE = "int8"
RATES = (10, 100, 1000, 10000, 100000)
BOUNDS = (0.2, 0.5)
DTYPES = ("float32", "bfloat16", "int8")

# --- curves: latency against utilisation and size ------------------------------------------------


def curve_runs(_arguments):
    for cores, candidates, warm in SHAPES:
        for replicas in CURVE_SIZES:
            for utilisation in CURVE_UTILISATIONS:
                yield cores, candidates, warm, replicas, utilisation


def curve(cores, candidates, warm, replicas, utilisation):
    requests = max(16000 if utilisation >= 0.5 else 6000, 80 * replicas)
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
        for utilisation in (0.6, 0.85):
            for policy in ("leastconn", "two", "roundrobin", "random"):
                for balancers in (1, 4, 16) if policy in ("leastconn", "two", "roundrobin") else (1,):
                    yield replicas, utilisation, policy, balancers


def balanced(replicas, utilisation, policy, balancers):
    result, _, rate = simulate("bfloat16", utilisation, 60000, replicas=replicas, policy=policy, balancers=balancers)
    return {"replicas": replicas, "utilisation": utilisation, "policy": policy, "balancers": balancers, "rate": f"{rate:.1f}",
            "p50_ms": ms(result.quantile(0.5)), "p99_ms": ms(result.quantile(0.99))}


# --- bursts ---------------------------------------------------------------------------------------


def burst_runs(_arguments):
    for replicas in (16,):
        for burst in (1.0, 1.5, 2.0, 3.0):
            for utilisation in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7):
                yield replicas, burst, utilisation


def bursts(replicas, burst, utilisation):
    result, _, rate = simulate("bfloat16", utilisation, 40000, burst=burst, replicas=replicas)
    return {"replicas": replicas, "burst": burst, "utilisation": utilisation, "at_the_peak": f"{burst * utilisation:.2f}",
            "rate": f"{rate:.1f}", "p50_ms": ms(result.quantile(0.5)), "p99_ms": ms(result.quantile(0.99))}


# --- caches ---------------------------------------------------------------------------------------

QUERIES, ZIPF, REQUEST_PAIRS = 200000, 0.9, 30
KEPT, SHARED = 4000, 32000  # queries that a replica's own cache keeps, and a shared one
LOOK_UP = 100e-6  # seconds of CPU time that asking the shared cache takes a replica: assumed


def cache_runs(_arguments):
    for replicas in (1, 4, 16):
        for where in ("none", "each", "shared", "hash", "hash-bounded"):
            yield replicas, where


def cached(replicas, where):
    """30 candidates a query, queries by Zipf. A replica's own cache keeps 4,000 queries (7.2 MB of --cache-bytes), a shared one
    beside it eight times as many. The rate is the same for all: 0.8 of what the fleet does without a cache. Caches are full when it
    begins: queries were sent through them before, to replicas as the policy would."""
    kind = load.Kind(REQUEST_PAIRS, "bfloat16")
    cost = state["costs"].dtype("bfloat16")
    hit_cost = cost["request"] + REQUEST_PAIRS * cost["candidate"]
    zipf = state.setdefault("zipf", None) or load.Zipf(QUERIES, ZIPF)
    state["zipf"] = zipf
    common = caches.Lru(SHARED)

    def answer(replica, job):
        job.hit = replica.cache.ask(job.query)
        further = 0.0
        if where == "shared" and not job.hit:
            job.hit, further = common.ask(job.query), LOOK_UP
        if job.hit:
            job.tokens = job.left = 1.0
            job.rate = job.cost = hit_cost + further

    def setup(fleet, _rate):
        for replica in fleet.replicas:
            replica.cache = caches.Lru(KEPT)
        if where == "none":
            return
        fleet.on_start = answer
        rng = random.Random(state["seed"])
        for _ in range(max(400000, 20 * KEPT * replicas)):
            query = zipf.draw(rng.random)
            number = fleet.balancers[0].pick(query) if where.startswith("hash") else int(rng.random() * replicas)
            fleet.replicas[number].cache.ask(query)
            common.ask(query)
    policy = where if where.startswith("hash") else "leastconn"
    result, _, rate = simulate(kind, 0.8, 30000, setup=setup, zipf=zipf, policy=policy, replicas=replicas)
    return {"replicas": replicas, "cache": where, "rate": f"{rate:.0f}", "hits": f"{result.hits / max(1, result.done):.3f}",
            "utilisation": f"{result.utilisation:.3f}", "p50_ms": ms(result.quantile(0.5)), "p99_ms": ms(result.quantile(0.99))}


# --- measured: one replica beside a real one under load --------------------------------------------


def measured_runs(arguments):
    with open(arguments.sweep, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["server"].startswith("rerankd") and row["phase"] == "search" and row["kept"] == "True":
                dtype = "int8" if "int8" in row["settings"] else "bfloat16"
                yield dtype, float(row["rate"]), float(row["right_rate"]), float(row["p50_ms"]), float(row["p99_ms"])


def as_measured(dtype, wanted, rate, p50, p99):
    """rate: what came in those few seconds, which is what is simulated, for longer."""
    result, cost, _ = simulate(dtype, 0, 60000, rate=rate, workers=2, replicas=1)
    return {"dtype": dtype, "wanted": wanted, "rate": rate, "utilisation": f"{rate * cost / 2:.3f}", "measured_p50_ms": p50,
            "simulated_p50_ms": ms(result.quantile(0.5)), "measured_p99_ms": p99, "simulated_p99_ms": ms(result.quantile(0.99))}


SECTIONS = {"curves": (curve_runs, curve), "sizes": (size_runs, size), "check": (check_runs, check),
            "balance": (balance_runs, balanced), "bursts": (burst_runs, bursts), "caches": (cache_runs, cached),
            "failures": (events.failure_runs, events.failing), "overload": (events.overload_runs, events.overloaded),
            "step": (events.step_runs, events.stepped),
            "measured": (measured_runs, as_measured)}


def curves_path(arguments):
    return f"{arguments.out}-fleet-curves.csv"


def call(job):
    function, parameters = job
    return SECTIONS[function][1](*parameters)


def run(arguments, costs):
    with multiprocessing.Pool(arguments.jobs, prepare, (arguments.costs, arguments.data, arguments.seed)) as workers:
        for name in arguments.sections.split(","):
            if name == "picture":
                picture.write(arguments.out, costs.all["machine"]["cpu"])
                continue
            if name not in SECTIONS:
                raise ValueError(f"--sections: {', '.join(SECTIONS)}, picture")
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
