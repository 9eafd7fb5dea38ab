#!/usr/bin/env python3
"""bench/accuracy, bench/startup, bench/versions, bench/scaling, bench/cached and bench/scoring do what they say, on a small model; no
figure of theirs that is a time is looked at."""

import json
import os
import subprocess
import sys
import tempfile

import harness
from redis_server import RedisServer
from harness import PATIENCE, case, golden_model, small_model

BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench")
WORDS = "river bread oven stone water house light baker field winter".split()


def bench(name, *arguments, model=None):
    """Its result; fails if it does not end well."""
    result = subprocess.run([sys.executable, os.path.join(BENCH, name), "--server", harness.binary(),
                             "--model", model or small_model(), *arguments], stdin=subprocess.DEVNULL,
                            env=harness.clean_environment(None), stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, timeout=4 * PATIENCE, text=True)
    assert result.returncode == 0, result
    return result


def table(result):
    """The rows by their cells, without the machine's line."""
    return [line.split() for line in result.stdout.splitlines()[1:]]


def candidates(folder, queries, texts):
    path = os.path.join(folder, "candidates.jsonl")
    with open(path, "w", encoding="utf-8") as file:
        for q in range(queries):
            listed = [{"docid": f"d{i}", "text": f"{WORDS[i % 10]} {WORDS[(i + q) % 10]} {q} {i}"}
                      for i in range(texts)]
            file.write(json.dumps({"qid": f"q{q}", "query": WORDS[q % 10], "candidates": listed}) + "\n")
    return path


@case
def accuracy_holds_each_dtype_against_float32():
    with tempfile.TemporaryDirectory() as folder:
        path = candidates(folder, queries=3, texts=12)
        qrels = os.path.join(folder, "qrels")
        with open(qrels, "w", encoding="utf-8") as file:
            file.write("q0 0 d1 3\nq0 0 d2 1\nq2 0 d7 2\n")
        rows = table(bench("accuracy", "--candidates", path, "--qrels", qrels,
                           "--dtypes", "int8,float32"))
    cells = [row[:4] for row in rows[1:]]  # model, dtype, computes in, judged of all
    assert cells == [["cross-encoder", "float32", "float32", "2/3"],
                     ["cross-encoder", "int8", "int8", "2/3"]], rows
    exact, coarse = rows[1], rows[2]
    assert 0 < float(exact[4]) <= 1, exact
    assert exact[5:10] == ["+0.0000", "1.0000", "1.0000", "0.00e+00", "10.00"], exact
    assert 0 < float(coarse[8]) < 1 and float(coarse[7]) <= float(coarse[6]) <= 1, coarse


@case
def a_dtype_that_is_refused_is_left_out():
    result = bench("startup", "--runs", "1", "--dtypes", "float8,float32")
    assert "rerankd float8 is left out" in result.stderr, result
    assert [row[0] for row in table(result)[1:]] == ["float32"], result


@case
def startup_times_each_dtype():
    rows = table(bench("startup", "--runs", "2", "--dtypes", "float32,int8"))
    assert [row[:2] for row in rows[1:]] == [["float32", "2"], ["int8", "2"]], rows
    assert all(float(cell) > 0 for row in rows[1:] for cell in row[2:]), rows


@case
def versions_are_compared_dtype_by_dtype():
    rows = table(bench("versions", "--before", harness.binary(), "--rounds", "2", "--starts", "2",
                       "--dtypes", "float32,int8"))[2:]
    told = [(row[0], " ".join(row[1:-6])) for row in rows]
    whats = ["100 texts, ms", "10 texts, ms", "memory, MB", "start, ms"]
    assert told == [(dtype, what) for dtype in ("float32", "int8") for what in whats], rows
    for *_, before, after, ratio in rows:
        assert abs(float(after) / float(before) - float(ratio)) < 0.01 * float(ratio), rows


@case
def confinement_compares_with_the_filter_and_without():
    with harness.Server() as server:
        if "system calls are not filtered" in server.log():
            raise harness.Skip("no filter here")
    rows = table(bench("confinement", "--runs", "2", "--requests", "5"))
    assert [row[0] for row in rows[1:]] == ["on", "off"], rows
    assert all(float(cell) > 0 for row in rows[1:] for cell in row[1:]), rows


@case
def scaling_compares_one_thread_and_more():
    if len(os.sched_getaffinity(0)) < 2:
        raise harness.Skip("one core only")
    with tempfile.TemporaryDirectory() as folder:
        rows = table(bench("scaling", "--candidates", candidates(folder, 4, 8), "--count", "4",
                           "--clients", "5", "--burst-count", "2", "--rounds", "1", "--dtypes", "float32",
                           "--threads", "2"))
    assert [row[:2] for row in rows[2:]] == [["float32", "one"], ["float32", "burst"]], rows
    assert all(len(row) == 10 and float(cell) > 0 for row in rows[2:] for cell in row[2:]), rows


@case
def cached_asks_with_and_without_a_cache():
    with tempfile.TemporaryDirectory() as folder:
        result = bench("cached", "--candidates", candidates(folder, 1, 30), "--rounds", "2", "--count", "20",
                       "--dtypes", "float32,int8")
    rows = table(result)
    assert rows[0] == ["20", "passages"], rows
    assert [row[:2] for row in rows[2:]] == [[dtype, load] for dtype in ("float32", "int8")
                                             for load in ("off", "cold", "warm")], rows
    assert all(float(cell) > 0 for row in rows[2:] for cell in row[2:]), rows
    with tempfile.TemporaryDirectory() as folder, RedisServer() as redis:
        rows = table(bench("cached", "--candidates", candidates(folder, 1, 30), "--rounds", "2", "--count", "20",
                           "--dtypes", "float32", "--shared-cache", redis.url))
        assert [row[1] for row in rows[2:]] == ["off", "cold", "warm", "asked", "shared"], rows
        assert redis.lookups >= 4 and redis.stores >= 20, (redis.lookups, redis.stores)


@case
def documents_asks_for_more_and_more_that_is_known():
    with tempfile.TemporaryDirectory() as folder:
        table_file, picture = (os.path.join(folder, name) for name in ("t.csv", "t.svg"))
        rows = table(bench("documents", "--candidates", candidates(folder, 1, 30), "--rounds", "2", "--count", "20",
                           "--dtypes", "float32,int8", "--csv", table_file, "--svg", picture,
                           model=golden_model("bi-encoder")))
        loads = ["off", "0%", "25%", "50%", "75%", "90%", "100%"]
        assert [row[:3] for row in rows[2:]] == [[dtype, scoring, load] for scoring in ("maxsim", "cosine")
                                                 for dtype in ("float32", "int8") for load in loads], rows
        for row in rows[2:]:  # the server has counted what was to be known
            assert float(row[3]) == (0 if row[2] == "off" else int(row[2][:-1]) / 100), row
        with open(table_file, encoding="utf-8") as file:
            assert len(file.readlines()) == 1 + len(rows[2:])
        with open(picture, encoding="utf-8") as file:
            assert file.read().count("<polyline") == 4


@case
def scoring_asks_each_way_and_judges_it():
    with tempfile.TemporaryDirectory() as folder:
        path = candidates(folder, queries=3, texts=12)
        qrels = os.path.join(folder, "qrels")
        with open(qrels, "w", encoding="utf-8") as file:
            file.write("q0 0 d1 3\nq2 0 d7 2\n")
        rows = table(bench("scoring", "--candidates", path, "--qrels", qrels, "--rounds", "2", "--dtypes",
                           "float32,int8", model=golden_model("bi-encoder")))
    assert [row[:2] for row in rows[2:]] == [[dtype, way] for dtype in ("float32", "int8")
                                             for way in ("cosine", "maxsim", "hybrid")], rows
    assert all(0 <= float(row[2]) <= 1 and float(row[3]) > 0 for row in rows[2:]), rows


if __name__ == "__main__":
    sys.exit(harness.main())
