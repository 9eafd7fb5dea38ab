#!/usr/bin/env python3
"""/live and /ready, and how a server leaves: readiness first, then newcomers, then the requests under way."""

import json
import signal
import socket
import sys
import time

import harness
import hub as hubs
from harness import SLOW, Server, case, eventually, expect_error, heavy_body, in_parallel, shared

GOOD = {"query": "what", "texts": ["this", "that"]}
LONG = "600"  # seconds: a test that had to wait for these would fail


def statuses(server, *paths):
    return [server.request("GET", path).status for path in paths]


def leaving(*arguments):
    """A server that was told to end and is in its delay."""
    server = Server("--drain-delay", LONG, *arguments)
    server.terminate()
    eventually(lambda: server.request("GET", "/ready").status == 503, "the server to be unready")
    return server


def end_delay(server, number=signal.SIGTERM):
    server.process.send_signal(number)


@case
def a_server_that_serves_is_live_and_ready():
    assert statuses(shared(), "/live", "/ready", "/health") == [200, 200, 200]
    for path in ("/live", "/ready"):
        assert shared().request("GET", path).body == b""
        assert shared().request("HEAD", path).status == 200


@case
def a_server_that_loads_is_live_and_not_ready():
    with hubs.endless() as environment:
        server = Server("--drain-delay", LONG, model="team/model", wait=False, environment=environment)
        try:
            server.wait_for_log(lambda line: "listening" in line)
            expect_error(server.request("GET", "/ready"), 503, "Unhealthy", "still loading")
            assert statuses(server, "/live", "/health") == [200, 503]
        except BaseException:
            server.kill()
            raise
        server.stop()  # at once: no balancer has sent anybody here


@case
def refused_probes_are_no_failed_requests():
    server = leaving()
    counted = server.metrics()['te_request_failure{err="unhealthy"}']  # by /health, as long as it loaded
    assert statuses(server, "/ready", "/ready") == [503, 503]
    assert server.metrics()['te_request_failure{err="unhealthy"}'] == counted
    end_delay(server)
    server.stop()


@case
def an_overloaded_server_stays_ready():
    with Server("--max-concurrent-requests", "1", "--threads", "1") as server:
        heavy = heavy_body(texts=60 if SLOW else 200)

        def attempt():
            seen = []

            def probe():
                for _ in range(50):
                    seen.append((server.rerank(GOOD).status, *statuses(server, "/ready", "/live")))

            in_parallel([lambda: server.rerank(heavy), probe])
            assert {row[1:] for row in seen} == {(200, 200)}, seen
            return any(row[0] == 429 for row in seen)

        eventually(attempt, "a refusal while probes are answered")


@case
def until_the_delay_is_over_all_are_served_and_asked_to_leave():
    server = Server("--drain-delay", LONG)
    with server.connect() as kept:
        kept.send_request("GET", "/ready")
        response = kept.response()
        assert response.status == 200 and "connection" not in response.headers, response
        server.terminate()
        eventually(lambda: server.request("GET", "/ready").status == 503, "the server to be unready")
        expect_error(server.request("GET", "/ready"), 503, "Unhealthy", "stopping")
        assert statuses(server, "/live", "/health", "/metrics") == [200, 503, 200]
        kept.send_request("POST", "/rerank", json.dumps(GOOD).encode())
        response = kept.response()
        assert response.status == 200 and response.headers["connection"] == "close", response
        assert kept.at_end()
    for _ in range(5):  # new ones too
        response = server.rerank(GOOD)
        assert response.status == 200 and response.headers["connection"] == "close", response
    assert server.process.poll() is None
    end_delay(server)
    server.stop()


@case
def another_signal_ends_the_delay_and_one_more_the_process():
    for number in (signal.SIGTERM, signal.SIGINT):
        server = leaving("--drain-timeout", LONG)
        with server.connect() as slow:
            slow.send(b"POST /rerank HTTP/1.1\r\nHost: x\r\n")
            slow.send(b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
            server.metrics()  # a turn of the loop: the request is known
            end_delay(server, number)
            server.wait_for_log(lambda line: "finishing 1 requests" in line)
            assert server.process.poll() is None
            end_delay(server, number)
            assert server.wait_for_end() == 1
        assert "stopping at once" in server.log(), server.log()
        server.log_file.close()


@case
def the_delay_ends_by_itself():
    server = Server("--drain-delay", "1")
    started = time.monotonic()
    server.terminate()

    def refused():
        try:
            server.request("GET", "/live")
            return False
        except OSError:
            return True

    eventually(refused, "the listening socket to close")
    assert time.monotonic() - started >= 1
    server.stop()


@case
def who_waits_when_the_socket_closes_is_answered():
    """Many at once, so that they do not fit into one turn of the loop."""
    server = Server("--threads", "1")
    body = json.dumps(GOOD).encode()
    waiting = []
    server.process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(100):
            waiting.append(server.connect())
            waiting[-1].send_request("POST", "/rerank", body)
        server.terminate()
    finally:
        server.process.send_signal(signal.SIGCONT)
    results = [connection.response().status for connection in waiting]
    for connection in waiting:
        connection.close()
    assert results == [200] * len(waiting), results
    server.stop()


@case
def who_has_connected_may_still_ask():
    for _ in range(1 if SLOW else 3):
        server = Server("--threads", "1")
        with server.connect() as early, server.connect() as silent:
            server.metrics()  # a turn of the loop: both are let in
            server.terminate()
            server.wait_for_log(lambda line: "finishing" in line)
            time.sleep(0.2)
            early.send_request("POST", "/rerank", json.dumps(GOOD).encode())
            assert early.response().status == 200
            assert silent.at_end()  # it is not waited for for long
        server.stop()


@case
def the_time_to_finish_has_a_limit():
    server = Server("--drain-timeout", "2")
    with server.connect() as connection:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = {"query": "q", "texts": ["\1" * 1500000], "return_text": True}  # six times as much in JSON
        connection.send_request("POST", "/rerank", json.dumps(body).encode())
        connection.stream.readline()  # the answer begins; nobody takes the rest
        server.terminate()
        assert server.wait_for_end() == 1
    assert "gave up on 1 requests after 2 seconds" in server.log(), server.log()
    server.log_file.close()


@case
def half_a_body_does_not_take_the_whole_limit():
    server = Server("--drain-timeout", "3")
    with server.connect() as silent:
        silent.send(b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        silent.send(b"Content-Length: 100\r\n\r\n{")
        server.check_alive()
        server.stop()  # with 0: it was cut off before


@case
def both_times_come_from_the_environment_too():
    for environment, option in (({"DRAIN_DELAY": "3601"}, "DRAIN_DELAY"), ({"DRAIN_TIMEOUT": "0"}, "DRAIN_TIMEOUT")):
        result = harness.run_binary("--model-id", harness.small_model(), environment=environment)
        assert result.returncode == 2 and option in result.stderr, result
    server = Server(environment={"DRAIN_DELAY": LONG})
    server.terminate()
    server.wait_for_log(lambda line: f"serving for {LONG} more seconds" in line)
    end_delay(server)
    server.stop()


if __name__ == "__main__":
    sys.exit(harness.main())
