#!/usr/bin/env python3
"""bench/sweep finds the rate it should, on a made-up load generator whose servers break where we say, and runs on
real ones; no figure of theirs that is a time is looked at."""

import csv
import importlib.machinery
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

import harness
import standin
from harness import PATIENCE, case
from load_support import candidates, program
from standin import StandIn

BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench")
SWEEP = os.path.join(BENCH, "sweep")

# Answers like bench/load: a server named http://CAPACITY has a latency that grows towards its capacity.
MADE_UP = '''#!{python}
import json, sys
arguments = sys.argv[1:]
option = lambda name: arguments[arguments.index(name) + 1]
capacity = float(option("--url").split("//")[1])
rate = float(option("--rate")) if "--rate" in arguments else 0
good = rate < capacity or "--drops" not in arguments
p99 = 100 / (1 - rate / capacity) if rate < capacity else 1e6
with open(option("--json"), "w") as out:
    json.dump({{"counts": {{"right": 10 if rate else 1, "dropped": 0 if good else 5}}, "failures": {{}} if good else {{"reset": 2}},
               "latency_ms": {{"p50": p99 / 3, "p99": p99, "max": p99 * 2}},
               "rates": {{"right_rate": min(rate, capacity), "goodput": 1, "error_share": 0 if good else 0.5}}}}, out)
print(option("--label"), rate, file=open({log!r}, "a"))
'''


def sweep_module():
    sys.path.insert(0, BENCH)
    loader = importlib.machinery.SourceFileLoader("sweep", SWEEP)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("sweep", loader))
    loader.exec_module(module)
    return module


def sought(limit, low, high, precision):
    """(what the search finds where rates up to the limit are kept, the rates it tried)"""
    steps, tried = sweep_module().search(low, high, precision), []
    try:
        rate = next(steps)
        while True:
            tried.append(rate)
            rate = steps.send(rate <= limit)
    except StopIteration as end:
        return end.value, tried


@case
def the_search_comes_as_near_as_was_asked():
    for limit in (1, 1.9, 2, 137, 999):
        for precision in (0.5, 0.1, 0.01):
            found, tried = sought(limit, 1, 1000, precision)
            assert found <= limit < found * (1 + precision) * (1 + 1e-9), (limit, precision, found)
            assert len(tried) < 25, tried


@case
def the_search_knows_its_ends():
    assert sought(0.5, 1, 1000, 0.1) == (None, [1])
    assert sought(5000, 1, 10, 0.1) == (10, [1, 2, 4, 8, 10])
    assert sought(5000, 3, 3, 0.1) == (3, [3])


def sweep(*arguments, status=0):
    result = subprocess.run([sys.executable, SWEEP, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, timeout=8 * PATIENCE, text=True, env=harness.clean_environment())
    assert result.returncode == status, result
    return result


def made_up(folder):
    path, log = os.path.join(folder, "load"), os.path.join(folder, "log")
    with open(path, "w", encoding="utf-8") as file:
        file.write(MADE_UP.format(python=sys.executable, log=log))
    os.chmod(path, 0o755)
    return path, log


@case
def servers_take_turns_and_the_better_one_wins():
    with tempfile.TemporaryDirectory() as folder:
        path, log = made_up(folder)
        svg, table = os.path.join(folder, "curve.svg"), os.path.join(folder, "points.csv")
        # Under 500 ms up to 4/5 of the capacity: 80 and 320.
        result = sweep("--load", path, "--candidates", "none", "--server", "small=http://100", "--server",
                       "large=http://400", "--p99-ms", "500", "--precision", "0.05", "--svg", svg, "--csv", table,
                       "--points", "4")
        with open(log, encoding="utf-8") as file:
            calls = [line.split()[0] for line in file]
        with open(table, encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        with open(svg, encoding="utf-8") as file:
            picture = file.read()
    found = {line.split()[0]: float(line.split()[1]) for line in result.stdout.splitlines()[1:]}
    assert 80 / 1.05 <= found["small"] <= 80 and 320 / 1.05 <= found["large"] <= 320, result.stdout
    assert calls[2:12] == ["small", "large"] * 5, calls  # after one request to see that they are there
    assert all((float(row["p99_ms"]) <= 500) == (row["kept"] == "True") for row in rows), rows
    curve = [(row["server"], row["rate"]) for row in rows if row["phase"] == "curve"]
    assert len(curve) == 8 and len({rate for _, rate in curve}) == 4, curve
    xml.etree.ElementTree.fromstring(picture)
    assert picture.count("<polyline") == 4 and "small p99" in picture and "large p50" in picture, picture


@case
def failures_break_a_rate_as_latency_does():
    with tempfile.TemporaryDirectory() as folder:
        path, _ = made_up(folder)
        result = sweep("--load", path, "--candidates", "none", "--server", "a=http://50", "--p99-ms", "1e9", "--points", "0",
                       "--load-option", "a:--drops", "--precision", "0.01")
        assert re.search(r"^a +49\.\d\d", result.stdout, re.M), result.stdout
        assert "reset: 2" in result.stderr and "5 dropped" in result.stderr, result.stderr
        result = sweep("--load", path, "--candidates", "none", "--server", "a=http://0.5", "--p99-ms", "500", "--points", "3",
                       status=1)
        assert re.search(r"^a +none", result.stdout, re.M), result.stdout


@case
def nonsense_is_refused():
    with tempfile.TemporaryDirectory() as folder:
        path, _ = made_up(folder)
        common = ("--load", path, "--candidates", "none", "--p99-ms", "500")
        assert "comes twice" in sweep(*common, "--server", "a=1", "--server", "a=2", status=2).stderr
        assert "wants NAME=" in sweep(*common, "--server", "a", status=2).stderr
        assert "no server 'b'" in sweep(*common, "--server", "a=1", "--command", "b=x", status=2).stderr
        assert "--lowest" in sweep(*common, "--server", "a=1", "--lowest", "0", status=2).stderr


@case
def real_servers_are_started_and_stopped():
    port = harness.free_port()
    run = f"{harness.binary()} --model-id {harness.small_model()} --hostname 127.0.0.1 --port {port} --dtype float32"
    with tempfile.TemporaryDirectory() as folder, StandIn([standin.good]) as other:
        table = os.path.join(folder, "points.csv")
        result = sweep("--load", program(), "--candidates", candidates(folder), "--server", f"real=http://127.0.0.1:{port}",
                       "--command", f"real={run}", "--load-option", "real:--dialect=cohere", "--server", f"other={other.url}",
                       "--p99-ms", "100000", "--lowest", "5", "--highest", "10", "--seconds", "0.5", "--warmup", "0",
                       "--least-requests", "10", "--points", "2", "--csv", table, "--", "--sizes=2")
        with open(table, encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    assert re.search(r"^real +10.00 .* or more$", result.stdout, re.M), result
    assert re.search(r"^other +10.00 .* or more$", result.stdout, re.M), result
    assert len(rows) == 8 and all(row["kept"] == "True" and not row["failures"] for row in rows), rows
    try:
        harness.socket.create_connection(("127.0.0.1", port), timeout=1).close()
        raise AssertionError("the server was not stopped")
    except ConnectionRefusedError:
        pass


@case
def a_command_that_fails_ends_the_sweep():
    with tempfile.TemporaryDirectory() as folder:
        result = sweep("--load", program(), "--candidates", candidates(folder), "--server",
                       f"a=http://127.0.0.1:{harness.free_port()}", "--command", "a=false", "--p99-ms", "5", status=1)
    assert "ended with status 1" in result.stderr, result


if __name__ == "__main__":
    sys.exit(harness.main())
