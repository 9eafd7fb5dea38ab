"""One run of an experiment: what its parts share. A process of the pool makes each kind's requests once."""

import itertools
import random

import load
import model

MIX = ((10, 0.7), (30, 0.2), (100, 0.1))  # candidates and their share: bench/sweep's
CORES = 8

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
