#!/usr/bin/env python3
"""The shared cache: replicas answer from each other's scores, the same to the byte; and whatever the cache server does, no
reply changes, and none waits for longer than its bound. The redis here is a stand-in; tests/deploy has a real one."""

import os
import subprocess
import sys
import time

import harness
from redis_server import RedisServer, always, changed, is_up, outcomes, right, wait_until_up
from harness import SLOW, Server, case, eventually, golden_model, in_parallel, run_binary
from kinds import QUERY, TEXTS, ask, compare, requests, some_texts

BODY = {"query": QUERY, "texts": TEXTS}
PATIENT = ("--shared-cache-timeout-ms", "1000")  # where lateness is not what is tested


def sharing(url, *options):
    return ("--cache-bytes", "4000000", "--shared-cache", url, *options)


def stored(server, count):
    eventually(lambda: server.metrics()["te_shared_cache_stores_total"] >= count, f"{count} scores to be written")


@case
def a_second_replica_answers_from_the_first_one_s_scores():
    with RedisServer() as redis, Server(*sharing(redis.url, *PATIENT)) as first, \
            Server(*sharing(redis.url, *PATIENT)) as second, Server() as plain:
        wait_until_up(first, second)
        texts = [*TEXTS, TEXTS[0]]
        wanted = ask(plain, "/rerank", {"query": QUERY, "texts": texts})
        assert ask(first, "/rerank", {"query": QUERY, "texts": texts}) == wanted
        stored(first, len(TEXTS))
        computed = second.metrics()["te_batch_next_size_sum"]
        assert ask(second, "/rerank", {"query": QUERY, "texts": texts}) == wanted
        metrics = second.metrics()
        assert metrics["te_batch_next_size_sum"] == computed, "something was computed"
        assert metrics["te_shared_cache_hits_total"] == len(TEXTS) and metrics["te_shared_cache_misses_total"] == 0, metrics
        assert ask(second, "/rerank", {"query": QUERY, "texts": texts}) == wanted
        assert redis.lookups == 2, "what was found once is asked again"
        assert redis.options == {b"EX 86400"} and all(key.startswith(b"rerankd:") for key in redis.data)
        more = {"query": QUERY, "texts": ["new here", *TEXTS[:2], "new too"]}
        assert ask(second, "/rerank", more) == ask(plain, "/rerank", more)
        assert second.metrics()["te_shared_cache_misses_total"] == 2 and first.metrics()["te_shared_cache_misses_total"] == len(TEXTS)


@case
def replies_of_every_kind_are_the_same_to_the_byte():
    for model in (golden_model("cross-encoder"), golden_model("bi-encoder")):
        with RedisServer() as redis, Server(model=model) as plain, \
                Server(*sharing(redis.url, *PATIENT), model=model) as first:
            wait_until_up(first)
            wanted = list(requests())
            reference = compare(plain, first, wanted)
            computed = first.metrics()["te_cache_insertions"]
            stored(first, computed)
            with Server(*sharing(redis.url, *PATIENT), model=model) as second:
                wait_until_up(second)
                warmed_up = second.metrics()["te_batch_next_size_sum"]
                assert [ask(second, *request) for request in wanted] == reference
                metrics = second.metrics()
                assert metrics["te_batch_next_size_sum"] == warmed_up, "something was computed"
                assert metrics["te_shared_cache_hits_total"] == computed > 30 and is_up(second), metrics


@case
def other_numbers_or_secrets_share_nothing():
    """What may change a bit of a score is in the key."""
    def misses(*options, model=None, environment=None):
        with Server(*sharing(redis.url, *PATIENT), *options, model=model, environment=environment) as server:
            wait_until_up(server)
            before = len(redis.data)
            assert server.rerank(BODY).status == 200
            stored(server, len(TEXTS))
            assert server.metrics()["te_shared_cache_hits_total"] == 0
            assert len(redis.data) == before + len(TEXTS)

    with RedisServer() as redis:
        misses()
        misses("--isa", "portable")
        misses("--dtype", "bfloat16")
        misses(environment={"RERANKD_SHARED_CACHE_SECRET": "a secret"})
        misses("--shared-cache-prefix", "other:")
        for model in ("bi-encoder-mean", "bi-encoder"):
            path = os.path.join(os.environ["RR_GOLDEN"], "score", model)
            if os.path.isdir(path):
                misses(model=path)


def flipped(_, value):
    return value[:5] + bytes([value[5] ^ 1]) + value[6:]


def swapped(redis, keys):
    """Each key gets another one's value."""
    values = [redis.data[key] for key in keys]
    return b"*%d\r\n" % len(keys) + b"".join(b"$%d\r\n%s\r\n" % (len(value), value) for value in values[1:] + values[:1])


def half(redis, keys):
    reply = right(redis, keys)
    return reply[:len(reply) // 2]


# What is there, but is no score: a miss, and nothing worse.
MISSES = {
    "a bit that is not right": changed(flipped),
    "cut values": changed(lambda _, value: value[:-1]),
    "longer values": changed(lambda _, value: value + b"\0"),
    "empty values": changed(lambda *_: b""),
    "large values": changed(lambda *_: b"x" * 4000),
    "another version": changed(lambda _, value: b"\2" + value[1:]),
    "values of other keys": swapped,
    "numbers": lambda redis, keys: b"*%d\r\n" % len(keys) + b":7\r\n" * len(keys),
    "statuses": lambda redis, keys: b"*%d\r\n" % len(keys) + b"+012345678901234567890123456789abcdef\r\n" * len(keys),
    "errors": lambda redis, keys: b"*%d\r\n" % len(keys) + b"-ERR no\r\n" * len(keys),
}

# What is no answer.
FAILURES = {
    "an error": always(b"-LOADING the dataset in memory\r\n"),
    "a status": always(b"+OK\r\n"),
    "nothing": always(b"$-1\r\n"),
    "too few values": always(b"*1\r\n$-1\r\n"),
    "too many values": lambda redis, keys: b"*%d\r\n" % (len(keys) + 1) + b"$-1\r\n" * (len(keys) + 1),
    "very many values": always(b"*2147483647\r\n" + b"$-1\r\n" * 100),
    "endless values": always(b"*6\r\n$2147483647\r\n" + b"x" * 1000000),
    "a length that is none": always(b"*6\r\n$-99999999999999999999\r\n"),
    "arrays in arrays": always(b"*6\r\n" + b"*6\r\n" * 100),
    "an endless line": always(b"+" + b"x" * 100000),
    "another protocol": always(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "no protocol": always(bytes(range(256)) * 100),
    "two answers": lambda redis, keys: 2 * right(redis, keys),
    "an end": always((b"", "close")),
    "a reset": always((b"", "reset")),
    "half of it and an end": lambda redis, keys: (half(redis, keys), "close"),
    "half of it": half,
    "silence": always(None),
    "a drip": lambda redis, keys: (right(redis, keys), "drip"),
}


def filled():
    """What a server has written, by key."""
    with RedisServer() as redis, Server(*sharing(redis.url, *PATIENT)) as server:
        wait_until_up(server)
        server.rerank(BODY)
        stored(server, len(TEXTS))
        return dict(redis.data)


@case
def what_is_no_score_is_a_miss():
    data = filled()
    with Server() as plain:
        wanted = ask(plain, "/rerank", BODY)
        for name, mget in MISSES.items():
            with RedisServer(mget, data=dict(data)) as redis, Server(*sharing(redis.url, *PATIENT)) as server:
                wait_until_up(server)
                assert ask(server, "/rerank", BODY) == wanted, name
                metrics = server.metrics()
                assert metrics["te_shared_cache_damaged_total"] == metrics["te_shared_cache_misses_total"] == len(TEXTS), (name, metrics)
                assert metrics["te_shared_cache_hits_total"] == 0 and is_up(server), (name, metrics)
                assert outcomes(server)["answered"] == 1, name
                stored(server, len(TEXTS))  # and replaced by what is right
                assert redis.data == data, name


@case
def what_is_no_answer_changes_no_reply():
    data = filled()
    bodies = [{"query": f"{QUERY} {number}" if number > 0 else QUERY, "texts": TEXTS} for number in range(6)]
    with Server() as plain:
        wanted = [ask(plain, "/rerank", body) for body in bodies]
        for name, mget in FAILURES.items():
            with RedisServer(mget, data=dict(data)) as redis, Server(*sharing(redis.url)) as server:
                wait_until_up(server)
                assert [ask(server, "/rerank", body) for body in bodies] == wanted, name
                ends = outcomes(server)
                assert ends["answered"] <= (1 if name == "two answers" else 0), (name, ends)
                assert sum(ends.values()) >= 1, (name, ends)
                redis.mget = right
                eventually(lambda: is_up(server), f"the shared cache after {name}")
                server.check_alive()


@case
def a_silent_cache_server_costs_a_few_requests_their_bound_and_then_none():
    with RedisServer(always(None)) as redis, Server(*sharing(redis.url)) as server, Server() as plain:
        wait_until_up(server)
        bodies = [{"query": QUERY, "texts": [f"{number} bottles"]} for number in range(40)]
        wanted = [ask(plain, "/rerank", body) for body in bodies]
        got = []
        for body in bodies:
            got.append(ask(server, "/rerank", body))
            if not is_up(server):
                break
        assert outcomes(server)["late"] == len(got) == 5, outcomes(server)
        # Nobody waits while it is not asked, nor for the tries that come to nothing.
        redis.mget, redis.plain = right, lambda words: None
        for body in bodies[len(got):]:
            got.append(ask(server, "/rerank", body))
            time.sleep(0.02)
        ends, metrics = outcomes(server), server.metrics()
        assert got == wanted
        assert ends["late"] == sum(ends.values()) == 5, ends
        # Five times 2 ms, and whatever a busy machine takes to wake the server up; without a bound it were for ever.
        assert metrics["te_shared_cache_wait_duration_count"] == 5, metrics
        assert 0.01 <= metrics["te_shared_cache_wait_duration_sum"] < 5 * 0.002 + 1, metrics
        lines = [line for line in server.log().splitlines() if "shared cache" in line]
        assert len(lines) == 2 and "is asked" in lines[0] and "too late" in lines[1], lines


@case
def a_deadline_or_a_client_s_leaving_ends_the_wait():
    with RedisServer(always(None)) as redis, Server(*sharing(redis.url, *PATIENT)) as server:
        wait_until_up(server)
        response = server.rerank({**BODY, "timeout_ms": 100})
        assert response.status == 504, response
        assert outcomes(server)["cancelled"] == 1, outcomes(server)
        response = server.request("POST", "/v1/rerank", b'{"query":"q","documents":["a"],"timeout_ms":100}')
        assert response.status == 504 and "message" in response.json(), response
        with server.connect() as connection:
            connection.send_request("POST", "/rerank", b'{"query":"left","texts":["alone"]}')
            eventually(lambda: redis.lookups == 3, "the question")
            connection.reset()
        eventually(lambda: outcomes(server)["cancelled"] == 3, "the end of the wait")
        assert server.metrics()["te_request_dropped"] == 1
        assert server.metrics()["te_request_active"] == 0


@case
def many_clients_at_once_get_what_one_gets():
    def slow(redis, keys):
        time.sleep(0.001)
        return right(redis, keys)

    texts = some_texts(120)
    bodies = [{"query": f"{QUERY} {i % 3}", "texts": texts[i % 40:i % 40 + 60]} for i in range(24 if SLOW else 96)]
    with RedisServer(slow) as redis, Server() as plain, Server(*sharing(redis.url, *PATIENT), "--threads", "2") as first, \
            Server(*sharing(redis.url), "--threads", "2") as second:
        wait_until_up(first, second)
        wanted = [ask(plain, "/rerank", body) for body in bodies]
        for server in (first, second):
            got = in_parallel([lambda body=body: ask(server, "/rerank", body) for body in bodies])
            assert got == wanted
        redis.drop()
        assert in_parallel([lambda body=body: ask(first, "/rerank", body) for body in bodies]) == wanted
        wait_until_up(first, second)


@case
def a_large_request_is_asked_as_one_and_written_in_steps():
    texts = [f"text {i}" for i in range(1000)]
    with RedisServer() as redis, Server(*sharing(redis.url, *PATIENT)) as first, Server(*sharing(redis.url, *PATIENT)) as second:
        wait_until_up(first, second)
        wanted = ask(first, "/rerank", {"query": QUERY, "texts": texts})
        stored(first, 1000)
        assert ask(second, "/rerank", {"query": QUERY, "texts": texts}) == wanted
        assert second.metrics()["te_shared_cache_hits_total"] == 1000 and redis.lookups == 2
        assert first.metrics()["te_shared_cache_pending_bytes"] == 0


@case
def the_password_opens_and_is_told_to_nobody():
    secret = "p@ss word"
    with RedisServer(user=b"app", password=secret.encode()) as redis:
        url = redis.url.replace("//", "//app:p%40ss%20word@") + "/3"
        with Server(*sharing(url)) as server:
            wait_until_up(server)
            assert redis.commands == [[b"AUTH", b"app", b"p@ss word"], [b"SELECT", b"3"], [b"PING"]], redis.commands
            told = server.log() + server.request("GET", "/info").body.decode() + repr(server.metrics())
            assert "ss word" not in told and "ss%20word" not in told, told
        redis.user = None
        with Server(*sharing(redis.url), environment={"RERANKD_SHARED_CACHE_PASSWORD": secret}) as server:
            wait_until_up(server)
        with Server(*sharing(redis.url), environment={"RERANKD_SHARED_CACHE_PASSWORD": "wrong"}) as server:
            server.wait_for_log(lambda line: "WRONGPASS" in line)
            assert server.rerank(BODY).status == 200 and not is_up(server)
            assert "wrong" not in server.log(), server.log()


@case
def a_socket_and_a_name_will_do():
    folder = harness.temporary_folder()
    os.chmod(folder, 0o755)
    with RedisServer(path=os.path.join(folder, "redis.sock")) as redis, Server(*sharing(redis.url)) as server:
        wait_until_up(server)
    with RedisServer() as redis, Server(*sharing(redis.url.replace("127.0.0.1", "localhost"))) as server:
        wait_until_up(server)
    with Server(*sharing("redis://no.such.host.invalid")) as server:
        server.wait_for_log(lambda line: "the shared cache is not asked" in line)
        assert server.rerank(BODY).status == 200


@case
def the_end_waits_for_no_look_up_of_a_name():
    if SLOW:
        raise harness.Skip("a preloaded library does not go with sanitizers")
    shim = os.path.join(harness.temporary_folder(), "names.so")
    os.chmod(os.path.dirname(shim), 0o755)
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "slow_names.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, source], check=True)
    server = Server(*sharing("redis://slow.invalid"), environment={"LD_PRELOAD": shim})
    try:
        server.wait_for_log(lambda line: "looking up slow.invalid" in line)
        assert server.rerank(BODY).status == 200
        begin = time.monotonic()
        server.stop()
        assert time.monotonic() - begin < 30  # of the minute that the look-up takes
    finally:
        server.kill()


@case
def without_the_option_nothing_is_asked():
    with Server("--cache-bytes", "4000000") as server:
        server.rerank(BODY)
        assert sum(outcomes(server).values()) == 0 and server.metrics()["te_shared_cache_connects_total"] == 0


@case
def wrong_options_are_refused():
    for url, words in (("rediss://:hidden@cache", "TLS"), ("http://:hidden@cache", "redis or valkey"),
                       ("redis://:hidden@cache/x", "database"), ("hidden", "redis://")):
        result = run_binary("--model-id", harness.small_model(), *sharing(url))
        assert result.returncode == 2 and "--shared-cache" in result.stderr and words in result.stderr, result
        assert "hidden" not in result.stderr, result
    result = run_binary("--model-id", harness.small_model(), "--shared-cache", "redis://cache")
    assert result.returncode == 2 and "--cache-bytes" in result.stderr, result


if __name__ == "__main__":
    sys.exit(harness.main())
