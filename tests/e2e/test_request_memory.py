#!/usr/bin/env python3
"""The bound over the memory of all requests together: what is over it comes again, what can never fit need not, small
requests go on, and nothing is left behind."""

import gzip
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time

import harness
from harness import SLOW, Server, case, in_parallel

MIB = 1 << 20
SMALL = {"query": "still", "texts": ["there"]}


def packed(body):
    return gzip.compress(json.dumps(body).encode(), 6)


def expanding(number, texts=1000, size=4000, **further):
    """Some KB that become MBs; each one another."""
    return packed({"query": "q", "documents": [f"{number}x{i}" + "w" * size for i in range(texts)], **further})


def gauge(server, name="rerankd_request_memory_bytes"):
    return server.metrics()[name]


def answered(server):
    counts = server.metrics()
    return counts['te_requests_total{method="rerank"}'] if counts["te_request_active"] == 0 else -1


def nothing_is_left(server):
    harness.eventually(lambda: gauge(server) == 0, "memory to be given back")


def post(connection, path, body, coding="gzip"):
    headers = {"Content-Encoding": coding} if coding else {}
    connection.send_request("POST", path, body, headers)


class SlowReader(harness.Connection):
    """Takes the answer late."""

    def __init__(self, server):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(harness.PATIENCE)
        self.socket.connect(("127.0.0.1", server.port))
        self.stream = self.socket.makefile("rb")


class Bystander:
    """Asks for small rankings all the time, until stopped."""

    def __init__(self, server):
        self.server = server
        self.statuses = []
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.done.is_set():
            self.statuses.append(self.server.rerank(SMALL).status)
            self.done.wait(0.02)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


class Peak:
    """The most that is resident meanwhile."""

    def __init__(self, server):
        self.server = server
        self.bytes = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.done.is_set():
            self.bytes = max(self.bytes, self.server.resident_bytes())
            self.done.wait(0.005)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def check_refused(response, words):
    assert response.status == 429, response
    assert int(response.headers["retry-after"]) >= 1, response
    assert words in response.body.decode(), response


# Answers that are not read hold their memory, so that it is short for as long as the test wants.
@case
def replies_that_nobody_reads_hold_memory_and_large_requests_come_again():
    body = expanding(0, return_documents=True)
    with Server("--request-memory", str(32 * MIB)) as server:
        readers = []
        while server.metrics()['te_requests_refused_total{reason="memory"}'] == 0:
            assert len(readers) < 20
            readers.append(SlowReader(server))
            post(readers[-1], "/v1/rerank", body)
            harness.eventually(lambda: answered(server) == len(readers), "an answer")
        assert 4 * MIB < gauge(server) <= 32 * MIB
        with server.connect() as connection:
            post(connection, "/v1/rerank", body)
            answer = connection.response()
        check_refused(answer, "memory")
        assert {"message", "detail", "error"} == set(answer.json()), answer
        assert answer.json()["error"]["type"] == "rate_limit_error", answer
        with server.connect() as connection:
            texts = [f"{i}" + "w" * 4000 for i in range(1000)]
            post(connection, "/rerank", packed({"query": "q", "texts": texts, "return_text": True}))
            answer = connection.response()
        check_refused(answer, "memory")
        assert answer.json()["error_type"] == "Overloaded", answer
        for _ in range(20):
            server.check_alive()
        statuses = [reader.response().status for reader in readers]
        for reader in readers:
            reader.close()
        nothing_is_left(server)
        assert statuses == [200] * (len(statuses) - 1) + [429], statuses
        assert server.metrics()['te_requests_refused_total{reason="memory"}'] == 3
        server.wait_for_log(lambda line: " 429 " in line and "memory" in line)
        with server.connect() as connection:  # and now there is room
            post(connection, "/v1/rerank", body)
            assert connection.response().status == 200


@case
def bodies_that_are_being_sent_leave_half_of_it():
    body = json.dumps({"query": "q", "texts": ["w" * 2500] * 1000}).encode()
    with Server("--request-memory", str(16 * MIB), "--payload-limit", "4000000") as server:
        senders = [server.connect() for _ in range(3)]
        for sender in senders:
            head, rest = harness.request_bytes("POST", "/rerank", body)[:-len(body)], body
            sender.send(head)
            sender.send(rest[:-10])
            time.sleep(0.05)
        harness.eventually(lambda: gauge(server) > 4 * MIB, "bodies")
        assert gauge(server) <= 8 * MIB
        for _ in range(10):
            server.check_alive()
        statuses = []
        for sender in senders:
            sender.send(body[-10:])
            statuses.append(sender.response().status)
            sender.close()
        assert statuses.count(200) >= 1 and statuses.count(429) >= 1 and len(set(statuses)) == 2, statuses
        nothing_is_left(server)
        server.wait_for_log(lambda line: " 429 " in line and "bodies take all the memory" in line)


@case
def what_can_never_fit_is_too_large():
    with Server("--request-memory", str(8 * MIB)) as server:
        answer = server.request("POST", "/rerank", expanding(0), {"Content-Encoding": "gzip"})
        harness.expect_error(answer, 413, "Validation", "--request-memory")
        assert "retry-after" not in answer.headers, answer
        answer = server.request("POST", "/rerank", b" " * (5 * MIB))
        harness.expect_error(answer, 413, "Validation", "--request-memory")
        assert "retry-after" not in answer.headers, answer
        server.check_alive()
        nothing_is_left(server)
        assert server.metrics()['te_requests_failed_total{err="too_large"}'] == 2
        assert server.metrics()['te_requests_refused_total{reason="memory"}'] == 0


def kinds():
    """What grows, by different ways; the worst first."""
    texts = [f"{i} " + "w" * 9000 for i in range(1000)]
    yield {"query": "q", "documents": [{"a": text} for text in texts], "rank_fields": ["a"] * 9}
    yield {"query": "q", "documents": texts, "return_documents": True}
    yield {"query": "q", "documents": [f"{i}" + "\x01" * 1500 for i in range(1000)], "return_documents": True}
    yield {"query": "q", "documents": [f"{i}" + "!" * 4000 for i in range(1000)]}
    yield {"query": "q", "documents": ["x"], "more": [{}] * 300000}
    yield {"query": "q", "documents": ["x"], "more": [[[1]]] * 200000}
    yield {"query": "q", "documents": ["x"], "more": [{"a": {"b": 1.5}}] * 100000}
    yield {"query": "w" * 5000000, "documents": [str(i) for i in range(1000)]}
    yield {"query": "q", "documents": [str(i) for i in range(1000)], "rank_fields": [str(i) for i in range(100)]}
    yield {"query": "q", "documents": ["w" * 9000000]}


@case
def the_process_stays_within_the_bound_whatever_grows():
    bound = 64 * MIB
    with Server("--request-memory", str(bound), "--document-cache-bytes", "0") as server:
        server.check_alive()
        before = server.resident_bytes()
        with Peak(server) as peak, Bystander(server) as bystander:
            for kind in kinds():
                body = packed(kind)
                answers = in_parallel([lambda: server.request("POST", "/v1/rerank", body, {"Content-Encoding": "gzip"})
                                       for _ in range(4)])
                assert {answer.status for answer in answers} <= {200, 413, 429}, answers
        assert set(bystander.statuses) == {200}, bystander.statuses
        nothing_is_left(server)
        grown = peak.bytes - before
        print(f"# {len(bystander.statuses)} small ones; grew by {grown / MIB:.0f} MiB of {bound / MIB:.0f}")
        if not SLOW:  # sanitizers keep freed memory for a while on purpose
            assert grown < bound + 24 * MIB, grown
            harness.eventually(lambda: server.resident_bytes() < before + 24 * MIB, "memory to go back to the system")


@case
def clients_that_leave_leave_nothing_behind():
    with Server("--request-memory", str(64 * MIB), "--cache-bytes", "1000000") as server:
        for number in range(12 if SLOW else 60):
            with server.connect() as connection:
                further = {"timeout_ms": 1 + number % 7} if number % 2 == 0 else {}
                post(connection, "/v1/rerank", expanding(number % 5, texts=100, return_documents=True, **further))
                if number % 3 == 0:
                    connection.response()
                elif number % 3 == 1:
                    connection.reset()
        nothing_is_left(server)


@case
def the_share_of_what_there_is_is_told():
    with Server() as server:
        line = server.wait_for_log(lambda line: "requests may take" in line)[0]
        limit = gauge(server, "rerankd_request_memory_limit_bytes")
        assert f"{limit / MIB:.1f} MiB together" in line and " leave of the " in line, line
    with Server("--request-memory", "100000000") as server:
        line = server.wait_for_log(lambda line: "by --request-memory" in line)[0]
        assert "95.4 MiB" in line, line
        assert gauge(server, "rerankd_request_memory_limit_bytes") == 100000000
    ended = harness.run_binary("--request-memory", "1000", "--model-id", harness.small_model())
    assert ended.returncode == 2 and "--request-memory" in ended.stderr, ended


# --- in a memory cgroup ---------------------------------------------------------------------------


class Group:
    """A memory cgroup of its own, of version 1 or 2; a server started `within` it counts there alone."""

    def __init__(self, limit):
        old, new = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
        first = os.path.exists(old + "/memory.limit_in_bytes")
        self.path = f"{old if first else new}/rerankd-test-{os.getpid()}"
        self.limit, self.events = ("memory.limit_in_bytes", "memory.oom_control") if first else ("memory.max", "memory.events")
        try:
            os.mkdir(self.path)
            self.write(self.limit, limit)
        except OSError as error:
            if os.path.isdir(self.path):
                os.rmdir(self.path)
            raise harness.Skip(f"no memory cgroup can be made here: {error}") from error

    def write(self, name, value):
        with open(f"{self.path}/{name}", "w", encoding="ascii") as file:
            file.write(str(value))

    def kills(self):
        with open(f"{self.path}/{self.events}", encoding="ascii") as file:
            return dict(line.split() for line in file.read().splitlines()).get("oom_kill", "0")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        def gone():
            try:
                os.rmdir(self.path)
            except OSError:
                return False
            return True
        harness.eventually(gone, "the group to be empty")

    def wrapper(self):
        """A program that joins the group and becomes the server."""
        path = os.path.join(harness.temporary_folder(), "rerankd")
        with open(path, "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh\necho $$ >{self.path}/cgroup.procs && exec {harness.binary()} \"$@\"\n")
        os.chmod(path, stat.S_IRWXU)
        return path


@case
def a_container_outlives_all_that_expands():
    if SLOW:
        raise harness.Skip("sanitizers take memory of their own")
    real = harness.binary()
    with Group(256 * MIB) as group:
        os.environ["RERANKD_BIN"] = group.wrapper()
        try:
            ended = subprocess.run([harness.binary(), "--version"], stdout=subprocess.DEVNULL, check=False)
            if ended.returncode != 0:
                raise harness.Skip("the memory cgroup cannot be joined")
            with Server("--document-cache-bytes", "0") as server:
                line = server.wait_for_log(lambda line: "requests may take" in line)[0]
                assert f"of the 256.0 MiB by {group.limit} of cgroup " in line, line
                for kind in list(kinds())[:3]:
                    outlive(server, packed(kind))
                assert group.kills() == "0"
        finally:
            os.environ["RERANKD_BIN"] = real


def outlive(server, body):
    """Many at once, whose answers are taken late."""
    expected = answered(server) + 16
    readers = [SlowReader(server) for _ in range(16)]
    for reader in readers:
        post(reader, "/v1/rerank", body)
    harness.eventually(lambda: answered(server) == expected, "all answers")
    server.check_alive()
    statuses = [reader.response().status for reader in readers]
    assert set(statuses) <= {200, 413, 429}, statuses
    for reader in readers:
        reader.close()
    nothing_is_left(server)


if __name__ == "__main__":
    sys.exit(harness.main())
