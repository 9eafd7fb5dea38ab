#!/usr/bin/env python3
"""bench/fleet's simulation against what queueing theory knows in closed form, and its bookkeeping. Seeded: what passes once
passes always. Bounds are four standard errors or so of the run, taken from batches of it."""

import json
import math
import os
import random
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
FLEET = os.path.join(ROOT, "bench", "fleet")
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "e2e"), FLEET]

import balance  # noqa: E402
import caches  # noqa: E402
import harness  # noqa: E402
import load  # noqa: E402
import model  # noqa: E402
from harness import case  # noqa: E402

REQUESTS = 60000
WARMUP = 2000.0  # seconds; services take a second on average


def whole(**changes):
    """A replica whose requests are one micro-batch each, in their order: a textbook's station."""
    values = {"workers": 1, "order": "fifo", "min_tokens": math.inf, "max_wait": math.inf, "warmup": WARMUP}
    return model.Settings(**{**values, **changes})


def arrivals(rate, draw, count=REQUESTS, seed=5):
    rng = random.Random(seed)
    now = 0.0
    for number in range(count):
        now += rng.expovariate(rate)
        yield now, 1.0, draw(rng), number


def exponential(rng):
    return rng.expovariate(1.0)


def constant(_rng):
    return 1.0


def simulate(settings, rate, draw, count=REQUESTS):
    """The result, and the standard error of its mean latency, by 20 batches in the order of arrival."""
    fleet = model.Fleet(settings)
    fleet.keep_series = True
    result = fleet.run(arrivals(rate, draw, count))
    values = [latency for arrived, latency in sorted(result.series) if arrived >= settings.warmup and latency >= 0]
    size = len(values) // 20
    means = [sum(values[i * size:(i + 1) * size]) / size for i in range(20)]
    middle = sum(means) / 20
    return result, math.sqrt(sum((mean - middle) ** 2 for mean in means) / 19 / 20)


def expect_mean(result, error, wanted):
    assert error < 0.06 * wanted, f"too noisy to tell: {wanted} +- {error}"
    assert abs(result.mean - wanted) < 4 * error, f"mean latency {result.mean}, expected {wanted} +- {error}"


def erlang_c(servers, offered):
    """The share of requests that wait in M/M/c."""
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = offered * blocked / (n + offered * blocked)
    utilisation = offered / servers
    return blocked / (1 - utilisation + utilisation * blocked)


@case
def one_exponential_server_is_an_m_m_1():
    result, error = simulate(whole(), 0.7, exponential)
    expect_mean(result, error, 1 / (1 - 0.7))
    assert abs(result.utilisation - 0.7) < 0.02, result.utilisation
    # Its latencies are exponential: the median and the 99th percentile follow from the mean.
    for share in (0.5, 0.99):
        wanted = -math.log(1 - share) / 0.3
        assert abs(result.quantile(share) - wanted) < 0.1 * wanted, (share, result.quantile(share), wanted)


@case
def one_constant_server_is_an_m_d_1():
    result, error = simulate(whole(), 0.8, constant)
    expect_mean(result, error, 1 + 0.8 / (2 * (1 - 0.8)))


@case
def workers_of_a_replica_are_an_m_m_c():
    for workers, utilisation in ((2, 0.8), (8, 0.85)):
        rate = workers * utilisation
        result, error = simulate(whole(workers=workers), rate, exponential)
        expect_mean(result, error, 1 + erlang_c(workers, rate) / (workers - rate))


@case
def general_service_follows_pollaczek_and_khinchine():
    # Nine of ten requests take 0.5, one takes 5.5: mean 1, mean square 3.25.
    result, error = simulate(whole(), 0.6, lambda rng: 5.5 if rng.random() < 0.1 else 0.5)
    expect_mean(result, error, 1 + 0.6 * 3.25 / (2 * (1 - 0.6)))


@case
def small_micro_batches_make_one_fast_server_of_four_workers():
    # 400 micro-batches a request over four workers: M/D/1 with a service of a quarter.
    settings = whole(workers=4, min_tokens=1.0, max_tokens=1.0)
    rng = random.Random(3)
    now, made = 0.0, []
    for _ in range(4000):
        now += rng.expovariate(3.0)
        made.append((now, 200.0, 1.0, 0))
    result = model.Fleet(model.Settings(**{**settings.__dict__, "warmup": 50.0})).run(made)
    wanted = 0.25 * (1 + 0.75 / (2 * (1 - 0.75)))
    assert abs(result.mean - wanted) < 0.1 * wanted, (result.mean, wanted)


@case
def random_balancing_leaves_each_replica_an_m_m_1():
    result, error = simulate(whole(replicas=10, policy="random", warmup=200.0), 7.0, exponential, 100000)
    expect_mean(result, error, 1 / (1 - 0.7))


@case
def two_choices_follow_the_mean_field():
    # The share of replicas with i or more requests tends to rho ** (2 ** i - 1); Little's law gives the latency.
    rho, replicas = 0.8, 200
    result, _ = simulate(whole(replicas=replicas, policy="two", warmup=100.0), rho * replicas, exponential, 100000)
    wanted = sum(rho ** (2 ** i - 1) for i in range(1, 12)) / rho
    assert abs(result.mean - wanted) < 0.03 * wanted, (result.mean, wanted)


@case
def least_connections_lie_between_one_queue_for_all_and_two_choices():
    means = {}
    for policy in ("leastconn", "two", "roundrobin", "random"):
        means[policy] = simulate(whole(replicas=20, policy=policy, warmup=100.0), 17.0, exponential, 60000)[0].mean
    pooled = 1 + erlang_c(20, 17.0) / (20 - 17.0)
    assert pooled < means["leastconn"] < means["two"] < means["roundrobin"] < means["random"], (pooled, means)


@case
def balancers_that_do_not_know_each_other_do_worse():
    means = []
    for balancers in (1, 4, 64):
        settings = whole(replicas=16, policy="leastconn", balancers=balancers, warmup=100.0)
        means.append(simulate(settings, 13.6, exponential, 60000)[0].mean)
    assert means[0] < means[1] < means[2], means


@case
def littles_law_holds():
    settings = whole(replicas=5, policy="two", warmup=0.0)
    result, _ = simulate(settings, 4.0, exponential)
    wanted = result.in_system * result.seconds / result.done  # time average over arrivals a second
    assert abs(result.mean - wanted) < 0.01 * wanted, (result.mean, wanted)


def counted(result):
    return result.done + result.refused + result.lost + result.late + result.unfinished


@case
def every_request_is_counted_once_whatever_happens():
    for redispatch in (0, 2):
        settings = whole(replicas=6, workers=2, max_wait=1.0, redispatch=redispatch, warmup=0.0)
        fleet = model.Fleet(settings)
        fleet.keep_series = True
        fleet.later(50.0, fleet.kill, 0)
        fleet.later(60.0, fleet.take_out, 0)
        fleet.later(90.0, fleet.revive, 0)
        fleet.later(100.0, fleet.freeze, 1)
        fleet.later(130.0, fleet.thaw, 1)
        fleet.later(140.0, fleet.freeze, 2)
        fleet.later(150.0, fleet.kill, 2)
        fleet.later(160.0, fleet.grow, 9)
        result = fleet.run(arrivals(14.0, exponential, 4000))
        assert counted(result) == result.offered == 4000 and result.unfinished == 0, result
        assert len(result.series) == 4000
        assert result.refused > 0 and (redispatch or result.lost > 0), (result.refused, result.lost)
        assert all(r.waiting < 1e-6 and r.running == 0 and not r.queue for r in fleet.replicas)
        assert all(count == 0 for b in fleet.balancers for count in b.count), "a balancer's count is not 0 at the end"


@case
def deadlines_refuse_or_drop_and_answers_come_in_time():
    fleet = model.Fleet(model.Settings(replicas=2, workers=2, min_tokens=0.1, max_tokens=0.2, deadline=4.0, max_wait=math.inf))
    result = fleet.run(arrivals(12.0, exponential, 8000))
    assert counted(result) == result.offered == 8000 and result.unfinished == 0, result
    assert result.refused > 2000 and result.done > 2000, result
    assert result.latencies[-1] <= 4.0 + 0.2 * 12, result.latencies[-1]  # and a micro-batch of the largest request
    assert result.quantile(0.99) <= 4.0, result.quantile(0.99)
    assert all(count == 0 for b in fleet.balancers for count in b.count)


@case
def what_a_dead_replica_had_is_done_elsewhere():
    for policy in ("leastconn", "two", "roundrobin", "hash"):
        fleet = model.Fleet(whole(replicas=4, policy=policy, redispatch=2, warmup=0.0))
        fleet.later(100.0, fleet.kill, 0)  # balancers notice 5 s later; until then it is the one with the fewest requests
        fleet.later(105.0, fleet.take_out, 0)
        result = fleet.run(arrivals(2.0, exponential, 1000))
        assert (result.done, result.lost) == (1000, 0), (policy, result)


@case
def work_is_conserved():
    made = list(arrivals(2.5, exponential, 5000))
    fleet = model.Fleet(model.Settings(replicas=2, workers=2, min_tokens=0.2, max_tokens=0.5))
    fleet.run(made)
    busy, brought = sum(r.busy for r in fleet.replicas), sum(cost for _, _, cost, _ in made)
    assert abs(busy - brought) < 1e-6 * brought, (busy, brought)


@case
def small_requests_pass_large_ones_and_none_waits_for_ever():
    made = [(0.0, 10000.0, 10.0, 0)] + [(0.1 + 0.01 * i, 100.0, 0.1, i) for i in range(1, 500)]
    fleet = model.Fleet(model.Settings(workers=1))
    fleet.keep_series = True
    result = fleet.run(made)
    latency = {round(arrived, 6): value for arrived, value in result.series}
    assert latency[0.11] < 2, latency[0.11]           # it does not wait for the large one's ten seconds
    assert 10 < latency[0.0] < 0.9 * 60, latency[0.0]  # which is done before the last small one


@case
def predicted_waits_are_bounded():
    bound = 0.5
    settings = whole(workers=1, max_wait=bound, warmup=0.0)
    result, _ = simulate(settings, 3.0, constant, 5000)
    assert result.refused > 0.5 * result.offered
    assert result.latencies[-1] <= 1 + bound + 1e-9, result.latencies[-1]  # its own second and the wait
    assert result.utilisation > 0.7, result.utilisation


@case
def lru_hit_rates_follow_che():
    zipf = load.Zipf(20000, 0.9)
    rng = random.Random(2)
    for size in (100, 2000):
        cache, hits, asked = caches.Lru(size), 0, 0
        for number in range(150000):
            hit = cache.ask(zipf.draw(rng.random))
            if number >= 50000:
                hits, asked = hits + hit, asked + 1
        wanted = caches.che(zipf, size)
        assert abs(hits / asked - wanted) < 0.015, (size, hits / asked, wanted)


@case
def hashing_sends_a_query_to_one_replica_and_moves_few_when_one_goes():
    hashed = balance.Hashed(10, random.Random(1).random)
    before = [hashed.pick(query) for query in range(5000)]
    assert before == [hashed.pick(query) for query in range(5000)] and len(set(before)) == 10
    hashed.remove(3)
    after = [hashed.pick(query) for query in range(5000)]
    assert all(new == old for new, old in zip(after, before) if old != 3) and 3 not in after


@case
def bursts_and_days_keep_the_mean_rate():
    for rate in (load.Rate(50.0), load.Rate(50.0, burst=3.0), load.Rate(50.0, swing=0.8, period=100.0)):
        last = 0.0
        for _, last in zip(range(200000), rate.times(random.Random(4))):
            pass
        assert abs(200000 / last - 50.0) < 2.5, (rate, 200000 / last)


def command(*arguments):
    result = subprocess.run([sys.executable, os.path.join(FLEET, "simulate"), *arguments], capture_output=True, text=True,
                            timeout=harness.PATIENCE)
    assert result.returncode == 0, result.stderr
    return result.stdout


@case
def one_seed_gives_one_result_and_another_another():
    arguments = ("one", "--replicas", "4", "--rate", "60", "--candidates", "30", "--dtype", "int8", "--requests", "3000")
    first = command(*arguments, "--seed", "1")
    assert first == command(*arguments, "--seed", "1")
    assert first != command(*arguments, "--seed", "2")


@case
def candidate_lists_of_a_file_are_used():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "lists.jsonl")
        work = []
        for words in (5, 50):
            with open(path, "w", encoding="utf-8") as file:
                file.write(json.dumps({"query": "what", "candidates": [{"text": "word " * words}] * 10}) + "\n")
            out = command("one", "--replicas", "1", "--rate", "1", "--requests", "200", "--data", path, "--json")
            work.append(json.loads(out)["cpu_ms"])
        assert 3 < work[1] / work[0] < 12, work


sys.exit(harness.main())
