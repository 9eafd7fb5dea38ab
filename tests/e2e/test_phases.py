#!/usr/bin/env python3
"""Why was this slow: phases in Server-Timing, in metrics and in the log of slow requests."""

import contextlib
import json
import re
import sys
import time

import harness
from redis_server import RedisServer, always, right
from harness import SLOW, Server, case, eventually, heavy_body, in_parallel, shared

GOOD = {"query": "what", "texts": ["this", "that"]}
PHASES = ["read", "pool", "parse", "tokenize", "queue", "compute", "encode", "write"]
ASKING = PHASES[:3] + ["share", "resume"] + PHASES[3:]  # where there is a shared cache
NAME = "rerankd_request_phase_seconds"
ENOUGH = {"query": "what", "texts": [f"{number} words " * 50 for number in range(10 if SLOW else 50)]}
MANY = 30 if SLOW else 300  # texts of a request that takes long


def timing_of(response):
    """The phases a Server-Timing header tells, in ms; its form is checked."""
    entries = response.headers["server-timing"].split(", ")
    for entry in entries:
        assert re.fullmatch(r"[a-z]+;dur=\d+\.\d{3}", entry), response
    return {name: float(ms) for name, _, ms in (entry.partition(";dur=") for entry in entries)}


@case
def every_reply_tells_its_phases_in_a_server_timing_header():
    response = shared().rerank(ENOUGH)
    told = timing_of(response)
    order = ["read", "pool", "parse", "tokenize", "queue", "compute", "encode", "total"]
    assert list(told) == order, response
    assert told["compute"] > 0 and told["tokenize"] > 0, response
    parts = sum(told.values()) - told["total"]
    assert parts <= told["total"] + 0.001 * len(order), response  # each is cut to whole microseconds
    assert int(response.headers["x-inference-time"]) == int(told["compute"]), response
    malformed = shared().request("POST", "/rerank", b"{", {"Content-Type": "application/json"})
    assert list(timing_of(malformed)) == ["read", "pool", "parse", "total"], malformed
    for method, path, status in (("GET", "/health", 200), ("HEAD", "/info", 200), ("GET", "/nothing", 404),
                                 ("DELETE", "/rerank", 405), ("POST", "/rerank", 415)):
        response = shared().request(method, path)
        assert response.status == status and list(timing_of(response)) == ["read", "total"], response


def counts(server):
    """How many requests were in each phase."""
    samples = server.metrics()
    assert set(ASKING + ["between"]) == {name.split('"')[1] for name in samples if name.startswith(f"{NAME}_count")}
    return {phase: samples[f'{NAME}_count{{phase="{phase}"}}'] for phase in ASKING + ["between"]}


def settled(server, requests):
    """The phases of a request are counted once its reply is sent, which the client may see first."""
    return eventually(lambda: (lambda now: now if now["between"] == requests else None)(counts(server)), "the count")


@case
def each_phase_a_request_was_in_is_counted_once():
    with Server() as server:
        assert server.rerank(ENOUGH).status == 200
        once = {**dict.fromkeys(PHASES + ["between"], 1), "share": 0, "resume": 0}
        assert settled(server, 1) == once, counts(server)
        assert server.request("POST", "/rerank", b"{", {"Content-Type": "application/json"}).status == 400
        after = settled(server, 2)
        for phase in PHASES + ["between"]:
            expected = 1 if phase in ("tokenize", "queue", "compute", "encode") else 2
            assert after[phase] == expected, (phase, after)
        assert server.request("GET", "/info").status == 200  # not for scores
        assert settled(server, 2) == after


@case
def the_phases_of_a_request_make_up_its_time():
    with Server() as server:
        requests = 5 if SLOW else 20
        for _ in range(requests):
            assert server.rerank(ENOUGH).status == 200
        settled(server, requests)
        samples = server.metrics()
        told = {phase: samples[f'{NAME}_sum{{phase="{phase}"}}'] for phase in PHASES + ["between"]}
        assert all(seconds > 0 for seconds in told.values()), told
        # Up to the reply: all but what is written afterwards, and what lies between is small beside the rest.
        whole = samples["te_request_duration_sum"]
        assert sum(told.values()) >= whole, (told, whole)
        assert sum(told.values()) - told["write"] - told["between"] <= whole, (told, whole)
        assert abs(told["compute"] - samples["te_request_inference_duration_sum"]) < 1e-6, told
        assert abs(told["queue"] - samples["te_request_queue_duration_sum"]) < 1e-6, told
        assert samples["rerankd_worker_busy_seconds_total"] >= told["compute"] / samples["rerankd_workers"], told
        assert samples["rerankd_pool_busy_seconds_total"] >= told["parse"] + told["tokenize"] - 1e-6, told


@case
def an_answer_that_is_all_known_was_with_no_worker():
    with Server("--cache-bytes", "1000000") as server:
        first = timing_of(server.rerank(ENOUGH))
        before = server.metrics()
        again = timing_of(server.rerank(ENOUGH))
        assert "compute" in first and list(again) == ["read", "pool", "parse", "tokenize", "encode", "total"], again
        after = server.metrics()
        known, computed = (f'rerankd_tokens_total{{source="{source}"}}' for source in ("known", "computed"))
        assert before[known] == 0 and after[computed] == before[computed], after
        assert after[known] == int(server.rerank(ENOUGH).headers["x-compute-tokens"]), after


@case
def asking_a_shared_cache_is_a_phase_and_the_wait_thereafter_another():
    def slow(redis, keys):
        time.sleep(0.05)
        return right(redis, keys)

    bound = ("--cache-bytes", "1000000", "--shared-cache-timeout-ms", "300", "--slow-request-ms", "1", "--json-output")
    with RedisServer(slow) as redis, Server(*bound, "--shared-cache", redis.url) as server:
        eventually(lambda: server.metrics()["te_shared_cache_up"] == 1, "the shared cache")
        busy = server.metrics()["rerankd_pool_busy_seconds_total"]
        told = timing_of(server.rerank(ENOUGH, {"x-request-id": "slow-one"}))
        assert list(told) == [phase for phase in ASKING if phase != "write"] + ["total"], told
        assert told["share"] >= 50, told
        assert sum(told.values()) - told["total"] <= told["total"] + 0.001 * len(told), told
        assert settled(server, 1) == dict.fromkeys(ASKING + ["between"], 1), counts(server)
        samples = server.metrics()
        spent = samples["rerankd_pool_busy_seconds_total"] - busy  # in neither is the wait
        assert (told["parse"] + told["tokenize"] - 0.002) / 1000 <= spent <= (told["total"] - 50) / 1000, (told, spent)
        assert samples["te_request_tokenization_duration_sum"] * 1000 <= told["tokenize"] + 0.002, told
        assert samples['rerankd_memory_bytes{kind="arenas"}'] == 0, samples
        (line,) = server.wait_for_log(lambda line: "slow-one" in line)
        entry = json.loads(line)
        assert list(entry["phases_ms"]) == ASKING + ["between"], entry
        assert abs(sum(entry["phases_ms"].values()) - entry["total_ms"]) < 0.02, entry
        # What is still being written would answer in the place of the look-up.
        eventually(lambda: server.metrics()["te_shared_cache_stores_total"] == len(ENOUGH["texts"]), "the scores to be written")
        redis.mget = always(None)
        body = {**GOOD, "timeout_ms": 100}  # before the bound
        late = server.rerank(body)
        told = timing_of(late)
        assert late.status == 504 and list(told) == ["read", "pool", "parse", "share", "total"], late
        assert 90 <= told["share"] <= told["total"], told
        told = timing_of(server.rerank(GOOD))
        assert told["share"] >= 300 and "resume" in told and "compute" in told, told
        asked = settled(server, 3)
        assert asked["share"] == 3 and asked["resume"] == 2 and asked["queue"] == 2, asked


@case
def a_request_that_is_too_late_tells_how_far_it_came():
    with Server("--threads", "1") as server:
        late = server.rerank({**heavy_body(texts=300), "timeout_ms": 3, "on_timeout": "error"})
        told = timing_of(late)
        assert late.status in (504, 429), late
        assert told["total"] >= 3 or late.status == 429, told
        assert list(told) == [phase for phase in PHASES + ["total"] if phase in told] and "pool" in told, told
        after = settled(server, 1)
        assert after["write"] == 1 and after["encode"] == 0, after


@case
def pages_of_an_allowed_origin_may_see_the_timing():
    with Server("--cors-allow-origin", "https://good.example") as server:
        for origin, allowed in (("https://good.example", True), ("https://bad.example", False)):
            reply = server.rerank(GOOD, {"Origin": origin})
            assert ("timing-allow-origin" in reply.headers) == allowed, reply
            assert not allowed or reply.headers["timing-allow-origin"] == origin, reply
            assert not allowed or "server-timing" in reply.headers["access-control-expose-headers"], reply
    with Server("--cors-allow-origin", "*") as server:
        assert server.rerank(GOOD, {"Origin": "https://any.example"}).headers["timing-allow-origin"] == "*"
    assert "timing-allow-origin" not in shared().rerank(GOOD, {"Origin": "https://any.example"}).headers


@case
def a_slow_request_is_one_warning_with_its_phases():
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"x-request-id": "slow-one", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    with Server("--json-output", "--slow-request-ms", "1", "--log-level", "warn") as server:
        body = heavy_body(texts=MANY)
        assert server.rerank(body, headers).status == 200
        lines = server.wait_for_log(lambda line: "slow-one" in line)
        entry = json.loads(lines[0])
        assert len(lines) == 1 and entry["level"] == "warn" and entry["message"] == "slow request", lines
        assert entry["trace_id"] == trace and entry["dialect"] == "tei", entry
        assert entry["texts"] == MANY and entry["tokens"] > MANY and entry["slow_untold"] == 0, entry
        assert list(entry["phases_ms"]) == PHASES + ["between"], entry
        assert entry["phases_ms"]["compute"] > 0, entry
        assert abs(sum(entry["phases_ms"].values()) - entry["total_ms"]) < 0.02, entry  # each is cut to 1 us
        assert server.metrics()["rerankd_slow_requests_total"] == 1
    with Server("--slow-request-ms", "60000") as server:
        assert server.rerank(GOOD, {"x-request-id": "quick"}).status == 200
        assert "WARN" not in server.wait_for_log(lambda line: "id=quick" in line)[0]
        assert server.metrics()["rerankd_slow_requests_total"] == 0


@case
def many_slow_requests_do_not_flood_the_log():
    with Server("--slow-request-ms", "1", "--log-level", "warn", "--threads", "1", "--max-queue-ms", "600000") as server:
        bodies = 40
        begin = time.monotonic()
        replies = in_parallel([lambda: server.rerank(heavy_body(texts=1 if SLOW else 10))] * bodies)
        assert all(reply.status == 200 for reply in replies), replies
        settled(server, bodies)
        slow = server.metrics()["rerankd_slow_requests_total"]
        assert slow > 20, slow
        lines = eventually(lambda: [line for line in server.log().splitlines() if " SLOW " in line][9:], "ten lines")
        assert len(lines) <= 2 + (time.monotonic() - begin), (len(lines), slow)  # beyond the first nine


@case
def what_the_server_is_and_holds_is_told():
    with Server("--threads", "2", "--max-queue-ms", "1500") as server:
        assert server.rerank(ENOUGH).status == 200
        samples = server.metrics()
        info = server.request("GET", "/info").json()
        facts = [name for name in samples if name.startswith("rerankd_build_info{")]
        assert len(facts) == 1 and samples[facts[0]] == 1, facts
        assert f'version="{info["version"]}"' in facts[0] and 'dtype="float32"' in facts[0], facts
        assert 'model="cross-encoder"' in facts[0], facts  # not where it lies
        assert samples["rerankd_ready"] == 1 and samples["rerankd_workers"] == 2, samples
        assert samples["rerankd_queue_limit_seconds"] == 1.5, samples
        assert samples['rerankd_memory_bytes{kind="weights"}'] > 100000, samples
        assert samples['rerankd_memory_bytes{kind="workspaces"}'] > 100000, samples
        assert samples['rerankd_memory_bytes{kind="arenas"}'] == 0, samples
        assert samples["process_resident_memory_bytes"] > samples['rerankd_memory_bytes{kind="weights"}'], samples
        assert 3 < samples["process_open_fds"] < samples["process_max_fds"], samples
        assert samples["rerankd_event_loop_turn_seconds_count"] > 0, samples
        with contextlib.ExitStack() as opened:  # more than connections of before that may still be closing
            for _ in range(20):
                opened.enter_context(server.connect())
            eventually(lambda: server.metrics()["process_open_fds"] >= samples["process_open_fds"] + 10, "descriptors")


@case
def what_requests_hold_is_told_while_they_are_here():
    with Server("--threads", "1") as server, server.connect() as connection:
        connection.send_request("POST", "/rerank", json.dumps(heavy_body(texts=100 if SLOW else 1000)).encode(),
                                {"Content-Type": "application/json"})
        eventually(lambda: server.metrics()['rerankd_memory_bytes{kind="arenas"}'] > 0, "the arena")
        assert connection.response().status == 200
        eventually(lambda: server.metrics()['rerankd_memory_bytes{kind="arenas"}'] == 0, "its end")
        assert server.metrics()['rerankd_memory_bytes{kind="bodies"}'] == 0


if __name__ == "__main__":
    sys.exit(harness.main())
