#!/usr/bin/env python3
"""Deadlines, refusals and priorities, as each family of clients sees them. Requests are slow by their size alone, on one
thread; no case depends on how slow."""

import json
import os
import sys
import tempfile
import threading

import harness
from harness import ROOT, Server, case, eventually, heavy_body

BIG = heavy_body(texts=30, words=120) if harness.SLOW else heavy_body()
DOCUMENTS = {"query": BIG["query"], "documents": BIG["texts"]}
N = len(BIG["texts"])
server = None

# name: path, body, the list of results, the score's name, the shape of errors
DIALECTS = {
    "tei": ("/rerank", BIG, None, "score", "terse"),
    "tei root": ("/", {**BIG, "raw_scores": True}, None, "score", "terse"),
    "cohere v1": ("/v1/rerank", {**DOCUMENTS, "max_chunks_per_doc": 1}, "results", "relevance_score", "full"),
    "cohere v2": ("/v2/rerank", DOCUMENTS, "results", "relevance_score", "full"),
    "jina": ("/v1/rerank", DOCUMENTS, "results", "relevance_score", "full"),
    "vllm": ("/v1/rerank", {**DOCUMENTS, "use_activation": False}, "results", "relevance_score", "full"),
    "infinity": ("/rerank", DOCUMENTS, "results", "relevance_score", "full"),
    "llamacpp": ("/reranking", DOCUMENTS, "results", "relevance_score", "full"),
    "llamacpp texts": ("/reranking", BIG, None, "score", "full"),
    "voyage": ("/v1/rerank", {**DOCUMENTS, "truncation": True}, "data", "relevance_score", "full"),
    "score": ("/score", {"text_1": BIG["query"], "text_2": BIG["texts"]}, "data", "score", "full"),
}


def shared():
    global server
    if server is None:
        server = harness.shared_server = Server("--threads", "1")
    return server


def post(to, path, body, headers=None):
    return to.request("POST", path, json.dumps(body).encode(), headers)


def expect_failure(response, status, shape):
    assert response.status == status, response
    answer = response.json()
    if shape == "terse":
        assert set(answer) == {"error", "error_type"} and answer["error_type"] == "Overloaded", response
    else:
        assert set(answer) == {"message", "detail", "error"} and answer["error"]["code"] == status, response
        kind = {429: "rate_limit_error", 504: "timeout_error"}[status]
        assert answer["error"]["type"] == kind, response


def cut_short(path, body, results):
    """A degraded answer: the time is moved until it ends between the first score and the last."""
    whole = post(shared(), path, body)
    assert whole.status == 200 and "x-rerank-degraded" not in whole.headers, whole
    if results is not None:
        assert "unscored" not in whole.json() and "unscored" not in whole.json()[results][0], whole
    total = int(whole.headers["x-total-time"])
    early, late = 1, 2 * total + 2
    for _ in range(40):
        middle = (early + late) // 2
        response = post(shared(), path, {**body, "timeout_ms": middle})
        if response.status == 200 and "x-rerank-degraded" in response.headers:
            return response
        if response.status == 200:
            late = middle + 1  # never closes: how long it takes varies
        else:
            assert response.status == 504, response
            early = max(1, middle - 1)
        if late - early < 3:
            early, late = 1, 2 * late + 2
    raise AssertionError("no time was found that ends in the middle")


@case
def every_dialect_has_its_rows_here():
    folder = os.path.join(ROOT, "proto", "dialects")
    spoken = {name[:-2] for name in os.listdir(folder) if name.endswith(".c")} - {"documents"}  # which ranks nothing
    assert spoken <= {name.split()[0] for name in DIALECTS}, spoken - {name.split()[0] for name in DIALECTS}


@case
def what_is_scored_by_the_deadline_is_answered_in_every_dialect():
    for name, (path, body, results, score, _) in DIALECTS.items():
        if harness.SLOW and name not in ("tei", "cohere v2", "score"):
            continue
        response = cut_short(path, body, results)
        missing = int(response.headers["x-rerank-degraded"])
        answer = response.json()
        listed = answer if results is None else answer[results]
        assert 0 < missing < N and len(listed) == N, (name, missing)
        if name == "score":  # in the order of the texts: those without a score say so
            assert [entry["index"] for entry in listed] == list(range(N)), name
            assert sum(entry.get("unscored", False) for entry in listed) == missing, name
            listed = sorted(listed, key=lambda entry: (entry.get("unscored", False), -entry[score]))
        scored, rest = listed[:N - missing], listed[N - missing:]
        values = [entry[score] for entry in listed]
        assert values == sorted(values, reverse=True), (name, values)
        assert {entry[score] for entry in rest} == {min(0, values[N - missing - 1])}, name
        indices = [entry["index"] for entry in rest]
        assert indices == sorted(indices), name
        assert sorted(indices + [entry["index"] for entry in scored]) == list(range(N)), name
        if results is not None:
            assert answer["unscored"] == missing, name
            assert all(entry["unscored"] is True for entry in rest), name
            assert not any("unscored" in entry for entry in scored), name
        assert int(response.headers["x-compute-tokens"]) > 0, name
    assert shared().metrics()["te_request_degraded"] >= (3 if harness.SLOW else len(DIALECTS))


@case
def scores_that_the_cache_knows_are_part_of_the_answer():
    known = range(N - 5, N)
    with Server("--threads", "1", "--cache-bytes", "1000000") as caching:
        warm = post(caching, "/rerank", {**BIG, "texts": [BIG["texts"][i] for i in known]}).json()
        for milliseconds in range(1, 10000):
            response = post(caching, "/rerank", {**BIG, "timeout_ms": milliseconds})
            if response.status == 200 and "x-rerank-degraded" in response.headers:
                break
            assert response.status in (429, 504), response
        missing = int(response.headers["x-rerank-degraded"])
        scored = {entry["index"]: entry["score"] for entry in response.json()[:N - missing]}
        for entry in warm:
            assert scored.get(known[entry["index"]]) == entry["score"], (missing, entry)
        # What a cut request left in the cache is right.
        assert post(caching, "/rerank", BIG).json() == post(shared(), "/rerank", BIG).json()


@case
def the_texts_that_come_first_are_scored_first():
    response = cut_short("/rerank", BIG, None)
    missing = int(response.headers["x-rerank-degraded"])
    rest = [entry["index"] for entry in response.json()[N - missing:]]
    assert rest == list(range(N - missing, N)), rest


@case
def scores_of_a_part_are_those_of_the_whole():
    for path, body, results, score, _ in (DIALECTS["tei"], DIALECTS["vllm"]):
        pick = (lambda answer: answer) if results is None else (lambda answer: answer[results])
        whole = {entry["index"]: entry[score] for entry in pick(post(shared(), path, body).json())}
        response = cut_short(path, body, results)
        missing = int(response.headers["x-rerank-degraded"])
        for entry in pick(response.json())[:N - missing]:
            assert abs(entry[score] - whole[entry["index"]]) < 1e-5, entry


@case
def a_bi_encoders_query_is_computed_first():
    with Server("--threads", "1", "--document-cache-bytes", "0", model=harness.golden_model("bi-encoder")) as other:
        total = int(post(other, "/rerank", BIG).headers["x-total-time"])
        for tenths in list(range(2, 20)) * 2:
            response = post(other, "/rerank", {**BIG, "timeout_ms": max(1, total * tenths // 10)})
            if "x-rerank-degraded" in response.headers:
                break
        missing = int(response.headers["x-rerank-degraded"])
        assert 0 < missing < N, response
        values = [entry["score"] for entry in response.json()]
        assert values == sorted(values, reverse=True), values


@case
def who_wants_all_or_nothing_gets_an_error_in_every_dialect():
    for name, (path, body, _, _, shape) in DIALECTS.items():
        expect_failure(post(shared(), path, {**body, "timeout_ms": 1, "on_timeout": "error"}), 504, shape)
        headers = {"x-request-timeout-ms": "1", "x-request-on-timeout": "error"}
        expect_failure(post(shared(), path, body, headers), 504, shape)
    # Its answer has no room to tell which scores are missing.
    inputs = [[BIG["query"], text] for text in BIG["texts"]]
    expect_failure(post(shared(), "/predict", {"inputs": inputs, "timeout_ms": 1, "on_timeout": "partial"}), 504, "terse")


@case
def nothing_scored_is_an_error_too():
    missed = shared().metrics()["te_request_deadline_missed"]
    response = post(shared(), "/rerank", {**BIG, "timeout_ms": 1})
    expect_failure(response, 504, "terse")
    assert "retry-after" not in response.headers and "1 ms" in response.json()["error"], response
    assert shared().metrics()["te_request_deadline_missed"] == missed + 1


@case
def what_is_not_a_time_a_wish_or_a_priority_is_refused_by_name():
    small = {"query": "q", "texts": ["a"]}
    for member, values in {"timeout_ms": (0, -1, 1.5, "5", 86400001, True), "on_timeout": ("maybe", 1, ""),
                           "priority": ("high", 1.5, 2**60)}.items():
        for value in values:
            harness.expect_error(post(shared(), "/rerank", {**small, member: value}), 422, "Validation", member)
            response = post(shared(), "/v2/rerank", {"query": "q", "documents": ["a"], member: value})
            assert response.status == 422 and response.json()["error"]["param"] == member, response
    for header, values in {"x-request-timeout-ms": ("0", "-1", "x", "", "1.5", "86400001", "9" * 30),
                           "x-request-on-timeout": ("maybe",), "x-request-priority": ("x", "9" * 30)}.items():
        for value in values:
            harness.expect_error(post(shared(), "/rerank", small, {header: value}), 422, "Validation", header)
    for member in ("timeout_ms", "on_timeout", "priority"):
        assert post(shared(), "/rerank", {**small, member: None}).status == 200
    assert post(shared(), "/rerank", {**small, "timeout_ms": 86400000, "on_timeout": "partial", "priority": -7}).status == 200


@case
def the_shorter_time_counts_and_the_servers_own_is_for_who_gives_none():
    with Server("--threads", "1", "--default-timeout-ms", "1") as other:
        expect_failure(post(other, "/rerank", BIG), 504, "terse")
        long_time = {"x-request-timeout-ms": "3600000"}
        assert post(other, "/rerank", BIG, long_time).status == 200
        assert post(other, "/rerank", {**BIG, "timeout_ms": 3600000}).status == 200
        expect_failure(post(other, "/rerank", {**BIG, "timeout_ms": 1}, long_time), 504, "terse")


class Busy:
    """Requests of a kind at work on a server until the block ends."""

    def __init__(self, server, *bodies):
        self.server, self.bodies, self.replies, self.connections = server, bodies, [], []

    def __enter__(self):
        for body in self.bodies:
            connection = self.server.connect()
            connection.send_request("POST", "/rerank", json.dumps(body).encode())
            self.connections.append(connection)
        eventually(lambda: self.server.metrics()["te_queue_tokens"] > 0, "work in the queue")
        return self

    def __exit__(self, kind, *_):
        for connection in self.connections:
            if kind is None:
                self.replies.append(connection.response())
            connection.close()


LONG = heavy_body(texts=40 if harness.SLOW else 1000, words=500)


@case
def a_full_queue_is_429_in_every_shape_with_a_time_to_come_again():
    with Server("--threads", "1", "--max-queue-tokens", "1000") as other:
        with Busy(other, LONG, LONG) as busy:
            for path, body, _, _, shape in (DIALECTS["tei"], DIALECTS["cohere v2"], DIALECTS["infinity"], DIALECTS["voyage"]):
                response = post(other, path, body)
                expect_failure(response, 429, shape)
                assert int(response.headers["retry-after"]) >= 1, response
        assert sorted(reply.status for reply in busy.replies)[0] == 200, busy.replies
        assert other.metrics()['te_request_refused{reason="tokens"}'] >= 4
        other.check_alive()


@case
def a_queue_that_is_too_slow_is_429_but_a_small_request_passes():
    with Server("--threads", "1") as probe, Busy(probe, LONG):
        predicted = probe.metrics()["te_queue_predicted_duration"]  # of what is left of it, on this machine now
    with Server("--threads", "1", "--max-queue-ms", str(int(1000 * predicted / 4) + 1)) as other:
        with Busy(other, LONG):
            response = post(other, "/rerank", LONG)
            expect_failure(response, 429, "terse")
            # It goes first, behind no more than the micro-batch under way.
            eventually(lambda: post(other, "/rerank", {"query": "q", "texts": ["a"]}).status == 200, "a small answer")
            assert other.metrics()["te_queue_tokens"] > 0, "the large request was done before"
        assert other.metrics()['te_request_refused{reason="wait"}'] >= 1


@case
def who_would_be_too_late_is_told_at_once():
    with Server("--threads", "1") as other:
        with Busy(other, LONG):
            for header, wish in (("partial", 429), ("error", 504)):
                # Its own work alone takes longer than its time: a part of it could be done, were it the only one.
                response = post(other, "/rerank", LONG, {"x-request-timeout-ms": "60", "x-request-on-timeout": header})
                assert response.status in (wish, 504), response
                expect_failure(response, response.status, "terse")
            response = post(other, "/rerank", {"query": "q", "texts": ["a"]}, {"x-request-timeout-ms": "30000"})
            assert response.status == 200, response
            assert other.metrics()["te_queue_tokens"] > 0, "the large request was done before"


@case
def a_lower_priority_number_goes_first():
    middle = heavy_body(texts=8 if harness.SLOW else 60)
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
        keys.write("usual\nbatch priority=900\n")
        keys.flush()
        with Server("--threads", "1", "--api-key-file", keys.name, "--max-queue-ms", "600000") as other:
            for later, sooner in (({"priority": 900}, {}), ({"header": "900"}, {"priority": -5}),
                                  ({"key": "batch"}, {}), ({"key": "batch", "priority": -999}, {"priority": 100})):
                done = []
                threads = []

                def ask(name, body, wish):
                    headers = {"Authorization": "Bearer " + wish.get("key", "usual"), "x-request-priority": wish.get("header")}
                    body = {**body, **({"priority": wish["priority"]} if "priority" in wish else {})}
                    assert post(other, "/rerank", body, headers).status == 200
                    done.append(name)

                def queued(name, body, wish, number):
                    threads.append(threading.Thread(target=ask, args=(name, body, wish)))
                    threads[-1].start()
                    eventually(lambda: other.metrics()["te_request_active"] >= number
                               and other.metrics()["te_queue_requests"] >= number, "the request in the queue")

                queued("first", LONG, {"priority": -999}, 1)
                queued("later", middle, later, 2)
                queued("sooner", middle, sooner, 3)
                for thread in threads:
                    thread.join()
                assert done.index("sooner") < done.index("later"), (later, sooner, done)


@case
def what_is_predicted_is_told():
    with Server("--threads", "1") as other:
        assert other.metrics()["te_estimated_tokens_per_second"] > 0  # the warm-up has been seen
        assert other.metrics()["te_queue_predicted_duration"] == 0
        with Busy(other, LONG):
            assert other.metrics()["te_queue_predicted_duration"] > 0


if __name__ == "__main__":
    sys.exit(harness.main())
