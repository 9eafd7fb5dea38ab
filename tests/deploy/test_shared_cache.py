#!/usr/bin/env python3
"""Replicas that share scores through the real redis (Valkey's server, or Debian's redis-server), which is killed, frozen,
full, and told lies meanwhile: every request is answered as without it, and none waits for longer than the bound."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

import harness  # noqa: E402
from redis_server import is_up, outcomes, wait_until_up  # noqa: E402
from harness import Server, Skip, case, eventually, in_parallel  # noqa: E402
from kinds import QUERY, TEXTS, ask, requests  # noqa: E402

BOUND = 0.002  # seconds, the default
SLACK = 0.25   # what a busy machine may take to wake a thread, on the average of the few that wait
PASSWORD = "pass word"


def program():
    for name in ("valkey-server", "redis-server"):
        if shutil.which(name):
            return name
    raise Skip("neither valkey-server nor redis-server is installed (deploy/setup --tests)")


class RedisServer:
    """The real server on a free port, in memory alone."""

    def __init__(self, *options):
        self.options = options
        self.folder = harness.temporary_folder()
        self.port = harness.free_port()
        self.url = f"redis://127.0.0.1:{self.port}/1"
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [program(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir",
             self.folder, "--requirepass", PASSWORD, *self.options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self.answers, "the cache server")

    def answers(self):
        try:
            return self.ask("PING") == b"+PONG"
        except OSError:
            return False

    def ask(self, *words):
        """The first line of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=harness.PATIENCE) as connection:
            stream = connection.makefile("rb")
            line = b""
            for command in (("AUTH", PASSWORD), ("SELECT", "1"), words):
                parts = [word if isinstance(word, bytes) else word.encode() for word in command]
                connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
                line = stream.readline().rstrip()
            if words[0] == "KEYS":
                keys = []
                for _ in range(int(line[1:])):
                    keys.append(stream.read(int(stream.readline()[1:])))
                    stream.read(2)
                return keys
            return line

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def replica(redis, *options):
    return Server("--cache-bytes", "4000000", "--shared-cache", redis.url, *options,
                  environment={"RERANKD_SHARED_CACHE_PASSWORD": PASSWORD})


PATIENT = ("--shared-cache-timeout-ms", "1000")  # where a busy machine's lateness would be no finding


class Traffic:
    """Several clients that ask for new pairs, one request after the other, until told to stop; every answer is
    compared with that of a server that shares nothing."""

    CLIENTS = 4

    def __init__(self, server, plain):
        self.server, self.plain = server, plain
        self.done, self.failed = 0, []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(self.CLIENTS)]

    def run(self, number):
        at = 0
        while not self.stop.is_set():
            at += 1
            body = {"query": f"{QUERY} {number}", "texts": [f"{at} {text}" for text in TEXTS[:3]]}
            try:
                got, wanted = ask(self.server, "/rerank", body), ask(self.plain, "/rerank", body)
                if got != wanted or got[0] != 200:
                    self.failed.append((body, got, wanted))
            except Exception as error:
                self.failed.append((body, error))
            self.done += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def goes_on(self, requests=40):
        """So many more answers."""
        before = self.done
        eventually(lambda: self.done >= before + requests, f"{requests} answers")

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def check_waits(server):
    """Those who waited, waited for no longer than the bound, but for the machine's own slack; a wait without a bound
    would have lasted as long as the cache server was frozen."""
    metrics = server.metrics()
    count, total = metrics["te_shared_cache_wait_duration_count"], metrics["te_shared_cache_wait_duration_sum"]
    print(f"# {count:.0f} look-ups waited {1000 * total:.1f} ms together")
    assert total <= count * (BOUND + SLACK), metrics


@case
def what_one_replica_computes_the_other_finds():
    wanted = list(requests())
    with RedisServer() as redis, Server() as plain, replica(redis, *PATIENT) as first, replica(redis, *PATIENT) as second:
        wait_until_up(first, second)
        reference = [ask(plain, *request) for request in wanted]
        assert [ask(first, *request) for request in wanted] == reference
        kept = first.metrics()["te_cache_insertions"]
        eventually(lambda: first.metrics()["te_shared_cache_stores_total"] == kept, "all scores to be written")
        computed = second.metrics()["te_batch_next_size_sum"]
        assert [ask(second, *request) for request in wanted] == reference
        metrics = second.metrics()
        assert metrics["te_batch_next_size_sum"] == computed and metrics["te_shared_cache_hits_total"] == kept > 30, metrics
        assert first.metrics()["te_shared_cache_store_failures_total"] == 0
        keys = redis.ask("KEYS", "*")
        assert len(keys) == kept and all(key.startswith(b"rerankd:") for key in keys)
        assert 86000 < int(redis.ask("TTL", keys[0])[1:]) <= 86400


@case
def kept_scores_that_are_spoilt_are_computed_again():
    with RedisServer() as redis, Server() as plain, replica(redis, *PATIENT) as first:
        wait_until_up(first)
        body = {"query": QUERY, "texts": TEXTS}
        wanted = ask(plain, "/rerank", body)
        assert ask(first, "/rerank", body) == wanted
        keys = eventually(lambda: len(found := redis.ask("KEYS", "*")) == len(TEXTS) and found, "the scores")
        redis.ask("DEL", keys[0])
        redis.ask("RPUSH", keys[0], "of another type")
        redis.ask("APPEND", keys[1], "x")
        redis.ask("SETRANGE", keys[2], "5", b"\xff\xff")
        redis.ask("SET", keys[3], "")
        redis.ask("RENAME", keys[4], keys[5])
        with replica(redis, *PATIENT) as second:
            wait_until_up(second)
            assert ask(second, "/rerank", body) == wanted
            metrics = second.metrics()
            assert metrics["te_shared_cache_hits_total"] == 0 and metrics["te_shared_cache_damaged_total"] == 4, metrics
            eventually(lambda: second.metrics()["te_shared_cache_stores_total"] == len(TEXTS), "the scores, right again")
        with replica(redis, *PATIENT) as third:
            wait_until_up(third)
            assert ask(third, "/rerank", body) == wanted
            assert third.metrics()["te_shared_cache_hits_total"] == len(TEXTS), "SET replaces what is of another type too"


@case
def a_cache_server_killed_and_started_again_in_the_middle():
    with RedisServer() as redis, Server() as plain, replica(redis) as server:
        wait_until_up(server)
        with Traffic(server, plain) as traffic:
            traffic.goes_on()
            redis.kill()
            eventually(lambda: not is_up(server), "the loss to be seen")
            traffic.goes_on()
            before = outcomes(server)
            traffic.goes_on()
            assert outcomes(server) == before, "somebody still asks"
            redis.start()
            wait_until_up(server)
            traffic.goes_on()
            # Not by a count of requests: on a busy machine the first look-ups are late, and then none is made for a while.
            eventually(lambda: outcomes(server)["answered"] > before["answered"], "an answer of the new redis")
        assert traffic.failed == [], traffic.failed[:3]
        check_waits(server)
        print(f"# {traffic.done} requests, look-ups: {outcomes(server)}")


@case
def a_cache_server_frozen_in_the_middle():
    with RedisServer() as redis, Server() as plain, replica(redis) as server:
        wait_until_up(server)
        with Traffic(server, plain) as traffic:
            traffic.goes_on()
            wait_until_up(server)
            before = outcomes(server)
            redis.signal(signal.SIGSTOP)
            eventually(lambda: not is_up(server), "the silence to be seen")
            frozen = outcomes(server)
            # Five in a row, and those who asked at the same time, whom the breaker's opening ends; on a busy machine also
            # one or another in time before.
            cost = sum(frozen[end] - before[end] for end in ("late", "lost"))
            assert 1 <= cost <= 5 + 2 * Traffic.CLIENTS, (before, frozen)
            traffic.goes_on(100)
            time.sleep(1.5)  # so that there are tries, which connect and are not greeted
            traffic.goes_on(100)
            after = outcomes(server)
            assert after == frozen, (frozen, after)
            assert server.metrics()["te_shared_cache_connects_total"] > 1, "it was not tried again"
            redis.signal(signal.SIGCONT)
            wait_until_up(server)
            traffic.goes_on()
        assert traffic.failed == [], traffic.failed[:3]
        assert outcomes(server)["answered"] > frozen["answered"], outcomes(server)
        check_waits(server)
        print(f"# {traffic.done} requests, look-ups: {outcomes(server)}")


@case
def a_full_cache_server_refuses_and_is_asked_all_the_same():
    with RedisServer("--maxmemory", "1", "--maxmemory-policy", "noeviction") as redis, Server() as plain, \
            replica(redis, *PATIENT) as server:
        wait_until_up(server)
        body = {"query": QUERY, "texts": TEXTS}
        assert ask(server, "/rerank", body) == ask(plain, "/rerank", body)
        eventually(lambda: server.metrics()["te_shared_cache_store_failures_total"] == len(TEXTS), "the refusals")
        assert outcomes(server)["answered"] == 1 and is_up(server)


@case
def a_wrong_password_is_told_once_and_costs_nobody_anything():
    with RedisServer() as redis, Server("--cache-bytes", "4000000", "--shared-cache", redis.url,
                                    environment={"RERANKD_SHARED_CACHE_PASSWORD": "of another"}) as server:
        server.wait_for_log(lambda line: "the shared cache is not asked" in line and "WRONGPASS" in line)
        in_parallel([server.check_alive for _ in range(8)])
        eventually(lambda: server.metrics()["te_shared_cache_connects_total"] >= 3, "further tries")
        assert sum(outcomes(server).values()) == 0
        assert server.log().count("the shared cache is") == 1 and "of another" not in server.log()


if __name__ == "__main__":
    sys.exit(harness.main())
