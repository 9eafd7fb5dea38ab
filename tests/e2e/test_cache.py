#!/usr/bin/env python3
"""The score cache: with it, cold, warm or half full, every reply is the same to the byte; it counts, and it
stays within its bound."""

import glob
import json
import math
import os
import shutil
import struct
import sys
import tempfile

import harness
from harness import SLOW, Server, case, golden_model, in_parallel, run_binary
from kinds import QUERY, TEXTS, ask, compare, requests, some_texts

WIRE = os.path.join(os.environ.get("RR_GOLDEN", ""), "wire")
ON = ("--cache-bytes", "4000000")


def wire_requests():
    """Those of every dialect that are kept as files."""
    for path in sorted(glob.glob(os.path.join(WIRE, "*", "*.request.json"))):
        with open(path, encoding="utf-8") as file:
            request = json.load(file)
        if "body" in request and request["method"] == "POST":
            yield request["path"], request["body"]


def counters(server):
    metrics = server.metrics()
    return metrics["te_cache_hits"], metrics["te_cache_misses"], metrics["te_cache_entries"]


def last_request(server, request_id):
    line = server.wait_for_log(lambda text: f'"{request_id}"' in text and '"texts"' in text)[-1]
    return json.loads(line)


@case
def replies_of_a_cross_encoder_are_the_same_to_the_byte():
    with Server() as plain, Server(*ON) as cached:
        reference = compare(plain, cached, requests())
        statuses = [status for status, *_ in reference]
        assert statuses.count(200) > 30 and 422 in statuses, statuses
        hits, misses, entries = counters(cached)
        assert hits > misses > 30 and entries > 30, (hits, misses, entries)


@case
def replies_of_a_bi_encoder_are_the_same_to_the_byte():
    model = golden_model("bi-encoder")
    with Server(model=model) as plain, Server(*ON, model=model) as cached:
        reference = compare(plain, cached, requests())
        assert [status for status, *_ in reference].count(200) > 30, reference
        hits, misses, _ = counters(cached)
        assert hits > misses > 30, (hits, misses)


@case
def replies_in_every_dialect_are_the_same_to_the_byte():
    with Server() as plain, Server(*ON) as cached:
        reference = compare(plain, cached, wire_requests())
        assert [status for status, *_ in reference].count(200) > 20, reference


@case
def mixed_hits_and_misses_are_the_same_to_the_bit_in_every_format():
    texts = some_texts(60 if SLOW else 200)
    for dtype in ("float32", "bfloat16", "int8"):
        for kind in ("cross-encoder", "bi-encoder"):
            model = golden_model(kind)
            options = ("--dtype", dtype)
            with Server(*options, model=model) as plain, Server(*options, *ON, model=model) as cached:
                for step in (7, 3, 2, 1):  # ever more of them
                    body = {"query": QUERY, "texts": texts[::step], "raw_scores": True}
                    got, wanted = ask(cached, "/rerank", body), ask(plain, "/rerank", body)
                    assert got == wanted and wanted[0] == 200, (dtype, kind, step)
                hits, misses, _ = counters(cached)
                assert misses == len(texts) and hits > len(texts) / 2, (hits, misses)


@case
def hits_are_counted_and_logged_and_computed_by_nobody():
    with Server(*ON, "--json-output") as server:
        first = {"query": QUERY, "texts": ["one", "two", "three", "two"]}
        server.rerank(first, {"x-request-id": "cold"})
        assert counters(server) == (0, 3, 3)
        computed = server.metrics()["te_batch_next_size_sum"]
        response = server.rerank(first, {"x-request-id": "warm"})
        assert response.status == 200, response
        assert (response.headers["x-inference-time"], response.headers["x-queue-time"]) == ("0", "0"), response
        server.rerank({"query": QUERY, "texts": ["two", "four", "two"]}, {"x-request-id": "half"})
        metrics = server.metrics()
        assert metrics["te_batch_next_size_sum"] == computed + 1, metrics  # "four"
        assert counters(server) == (4, 4, 4), metrics
        assert metrics["te_cache_hit_ratio"] == 0.5, metrics
        assert metrics["te_cache_insertions"] == 4, metrics
        assert metrics["te_cache_evictions"] == metrics["te_cache_rejections"] == 0, metrics
        assert 0 < metrics["te_cache_capacity"] and 3900000 < metrics["te_cache_bytes"] <= 4000000, metrics
        # A request that met no worker waited for none.
        assert metrics["te_request_queue_duration_count"] == 2, metrics
        assert metrics["te_request_duration_count"] == 3, metrics
        for request_id, texts, cached in (("cold", 4, 0), ("warm", 4, 4), ("half", 3, 2)):
            line = last_request(server, request_id)
            assert (line["texts"], line["cached"]) == (texts, cached), line
        assert server.request("GET", "/info").json()["cache_bytes"] == 4000000


@case
def a_bi_encoder_s_query_is_not_computed_for_hits():
    with Server(*ON, model=golden_model("bi-encoder")) as server:
        body = {"query": QUERY, "texts": ["one", "two"]}
        server.rerank(body)
        computed = server.metrics()["te_batch_next_size_sum"]
        server.rerank(body)
        assert server.metrics()["te_batch_next_size_sum"] == computed
        server.rerank({"query": QUERY, "texts": ["one", "three"]})
        assert server.metrics()["te_batch_next_size_sum"] == computed + 2  # the query, "three"


@case
def without_the_option_there_is_none():
    with Server() as server:
        for _ in range(2):
            server.rerank({"query": QUERY, "texts": TEXTS})
        assert counters(server) == (0, 0, 0)
        assert server.metrics()["te_cache_bytes"] == 0
        assert server.request("GET", "/info").json()["cache_bytes"] == 0


@case
def too_small_a_cache_is_refused():
    result = run_binary("--model-id", harness.small_model(), "--cache-bytes", "1000")
    assert result.returncode == 2 and "--cache-bytes" in result.stderr and "65536" in result.stderr, result
    result = run_binary("--model-id", harness.small_model(), environment={"CACHE_BYTES": "64X"})
    assert result.returncode == 2 and "CACHE_BYTES" in result.stderr, result


@case
def many_different_texts_stay_within_the_bound():
    """And the popular ones stay, whatever passes by."""
    with Server("--cache-bytes", "65536") as server:
        hot = {"query": QUERY, "texts": [f"popular {i}" for i in range(50)]}
        wanted = [ask(server, "/rerank", hot) for _ in range(4)]
        capacity = server.metrics()["te_cache_capacity"]
        assert 0 < capacity * 48 < 65536, capacity
        for start in range(0, 4 * int(capacity), 500):
            server.rerank({"query": QUERY, "texts": [f"passing {start + i}" for i in range(500)]})
            metrics = server.metrics()
            assert metrics["te_cache_entries"] <= capacity, metrics
        assert metrics["te_cache_entries"] == capacity, metrics
        assert metrics["te_cache_evictions"] + metrics["te_cache_rejections"] > 3 * capacity - 50, metrics
        hits = metrics["te_cache_hits"]
        assert ask(server, "/rerank", hot) == wanted[0] == wanted[-1]
        assert server.metrics()["te_cache_hits"] - hits > 45, server.metrics()


@case
def many_clients_at_once_get_what_one_gets():
    texts = some_texts(120)
    bodies = [{"query": f"{QUERY} {i % 3}", "texts": texts[i % 40:i % 40 + 60]}
              for i in range(24 if SLOW else 96)]
    with Server("--threads", "2") as plain, Server("--threads", "2", "--cache-bytes", "65536") as cached:
        wanted = [ask(plain, "/rerank", body) for body in bodies]
        for _ in range(2):
            got = in_parallel([lambda body=body: ask(cached, "/rerank", body) for body in bodies])
            assert got == wanted
        assert counters(cached)[0] > 0


def poisoned_model(folder, word):
    """The golden cross-encoder, for which one word is not a number."""
    model = os.path.join(folder, "model")
    shutil.copytree(harness.small_model(), model)
    with open(os.path.join(model, "vocab.txt"), encoding="utf-8") as file:
        row = file.read().split("\n").index(word)
    with open(os.path.join(model, "model.safetensors"), "r+b") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        tensors = json.loads(file.read(size))
        about = tensors[next(name for name in tensors if name.endswith("word_embeddings.weight"))]
        assert about["dtype"] == "F32", about
        width = about["shape"][1]
        file.seek(8 + size + about["data_offsets"][0] + 4 * row * width)
        file.write(struct.pack(f"<{width}f", *[math.nan] * width))
    return model


@case
def what_is_not_a_number_is_an_error_each_time_and_not_kept():
    with tempfile.TemporaryDirectory() as folder:
        model = poisoned_model(folder, "winter")
        bodies = [("/rerank", {"query": QUERY, "texts": texts}) for texts in
                  (["bread", "water"], ["bread", "stone", "winter", "water"], ["stone", "winter", "bread"],
                   ["winter"])]
        with Server(model=model) as plain, Server(*ON, model=model) as cached:
            reference = compare(plain, cached, bodies)
            assert [status for status, *_ in reference] == [200, 424, 424, 424], reference
            assert b"text 2" in reference[1][1], reference
            assert counters(cached)[2] == 2  # "bread" and "water", of the one request that had an answer


if __name__ == "__main__":
    sys.exit(harness.main())
