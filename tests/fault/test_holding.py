#!/usr/bin/env python3
"""Clients without a key that try to hold the event loop: everybody else goes on being served, with and without a deadline."""

import contextlib
import json
import select
import sys
import threading
import time

import faults
from faults import HEAD, REQUEST, case, eventually, harmless, harness

SECONDS = 4  # of each attack
PIECE = 64 * 1024  # bytes that a turn of the loop reads of a connection, at most
ANSWERS = 3  # that each bystander gets meanwhile, at least; a loop that is held gives none

server = None


def watched():
    global server
    if server is None:
        server = harness.Server("--threads", "2", "--idle-timeout", "20")
    return server


class Attack(threading.Thread):
    """Calls a function again and again until it is stopped."""

    def __init__(self, once):
        super().__init__(daemon=True)
        self.once = once
        self.ending = threading.Event()
        self.problem = None

    def run(self):
        while not self.ending.is_set():
            try:
                self.once()
            except OSError:
                time.sleep(0.01)  # it was cut off
            except Exception as problem:
                self.problem = problem
                return


@contextlib.contextmanager
def attacks(*functions):
    threads = [Attack(once) for once in functions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.ending.set()
        for thread in threads:
            thread.join(harness.PATIENCE)
    assert not any(thread.is_alive() or thread.problem for thread in threads), [thread.problem for thread in threads]


def others_are_served(*functions, afterwards=()):
    """While the functions are called: a bystander's answers come, and those of one with a deadline."""
    hurried = json.dumps({**REQUEST, "timeout_ms": 60000}).encode()
    late = json.dumps({**harness.heavy_body(texts=30 if harness.SLOW else 300, words=300), "timeout_ms": 20}).encode()
    with harmless(watched()) as bystander:
        with attacks(*functions):
            time.sleep(0.3)
            seen, in_time, ended = bystander.answers, 0, time.monotonic() + SECONDS
            while time.monotonic() < ended or in_time < ANSWERS:
                response = watched().rerank(hurried)
                assert response.status == 200 and "x-rerank-degraded" not in response.headers, response
                in_time += 1
                assert watched().rerank(late).status in (200, 429, 504)  # a deadline that comes
                assert watched().request("GET", "/live").status == 200
            eventually(lambda: bystander.answers >= seen + ANSWERS, "the bystander to go on")
        for close in afterwards:  # none of the attackers is at it any more
            close()


@case
def a_chunk_line_without_end_holds_nobody():
    def once(path, line):
        with watched().connect() as connection:
            connection.send(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                            b"Transfer-Encoding: chunked\r\n\r\n" + line)
            answer = connection.stream.read()  # and no more: the connection is closed
            assert answer.count(b"HTTP/1.1 ") == 1 and answer.startswith(b"HTTP/1.1 4"), answer[:300]

    for path in (b"/rerank", b"/nothing", b"/live"):
        for line in (b"5;" + b"a" * 40000, b"0" * 40000, b"5" + b" " * 40000, b"0\r\n" + b"a" * 40000):
            once(path, line)
    others_are_served(lambda: once(b"/rerank", b"5;" + b"a" * 40000), lambda: once(b"/live", b"0" * 40000))


def pipeliner(request):
    flood = request * 500
    connection = []

    def once():
        if not connection:
            connection.append(watched().connect())
            connection[0].socket.setblocking(False)
        try:
            ready, room, _ = select.select([connection[0].socket], [connection[0].socket], [], 0.2)
            if room:
                connection[0].socket.send(flood)
            if ready and connection[0].socket.recv(1 << 20) == b"":
                raise ConnectionResetError
        except BlockingIOError:
            pass
        except OSError:
            connection.pop().close()
            raise

    def close():
        for one in connection:
            one.close()
    return once, close


@case
def pipelining_without_pause_holds_nobody():
    for request in (b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n",
                    HEAD + b"Content-Length: 2\r\n\r\n{}"):
        pairs = [pipeliner(request) for _ in range(3)]
        others_are_served(*(once for once, _ in pairs), afterwards=[close for _, close in pairs])


@case
def uploads_without_a_key_hold_nobody():
    with harness.Server("--api-key", "sesame") as closed:
        key = {"Authorization": "Bearer sesame"}
        body = b"z" * 9900000
        requests = [HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body,
                    HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"]

        uploads = []

        def once(request):
            with closed.connect() as connection:
                connection.send(request)
                assert connection.response().status == 401
                uploads.append(len(request))

        def turns():
            return closed.metrics()["rerankd_event_loop_turn_seconds_count"]

        before = turns()
        with attacks(*(lambda request=request: once(request) for request in requests * 2)):
            answers, ended = 0, time.monotonic() + SECONDS
            while time.monotonic() < ended or answers < ANSWERS:
                for extra in ({}, {"timeout_ms": 60000}):
                    response = closed.rerank({**REQUEST, **extra}, key)
                    assert response.status == 200, response
                    answers += 1
        # A turn takes at most one piece of each connection, so that whatever else is due comes in between.
        assert turns() - before >= sum(uploads) / (len(requests) * 2 * PIECE), (turns() - before, len(uploads))


@case
def crumbs_hold_nobody():
    """Many bytes of framing for few of content."""
    crumbs = b"1;" + b"e" * 4000 + b"\r\nx\r\n"

    def once():
        with watched().connect() as connection:
            connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + crumbs * 200)

    others_are_served(once, once)


if __name__ == "__main__":
    status = harness.main()
    if server is not None:
        server.stop()
    sys.exit(status)
