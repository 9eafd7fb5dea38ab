#!/usr/bin/env python3
"""HTTP as it comes: chunked, slow, pipelined, cut off, many at once."""

import json
import socket
import sys
import time

import harness
from harness import SLOW, Server, case, eventually, in_parallel, request_bytes, shared

GOOD = json.dumps({"query": "what", "texts": ["this", "that", "these"]}).encode()
HEAD = b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def expected():
    response = shared().rerank(GOOD)
    assert response.status == 200, response
    return response.json()


def close_scores(a, b):
    assert [entry["index"] for entry in a] == [entry["index"] for entry in b], (a, b)
    for left, right in zip(a, b):
        assert abs(left["score"] - right["score"]) < 1e-4, (a, b)


@case
def a_chunked_body_is_read():
    for sizes in (1, 7, len(GOOD)):
        with shared().connect() as connection:
            connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            for start in range(0, len(GOOD), sizes):
                piece = GOOD[start:start + sizes]
                connection.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
            connection.send(b"0\r\n\r\n")
            close_scores(connection.response().json(), expected())


@case
def a_body_that_comes_byte_by_byte_is_read():
    with shared().connect() as connection:
        for byte in request_bytes("POST", "/rerank", GOOD):
            connection.send(bytes([byte]))
            time.sleep(0.001)
        close_scores(connection.response().json(), expected())


@case
def a_slow_body_holds_nobody_up():
    with shared().connect() as slow:
        slow.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD[:10])
        for _ in range(5):
            shared().check_alive()
        slow.send(GOOD[10:])
        assert slow.response().status == 200


@case
def a_connection_serves_many_requests():
    want = expected()
    with shared().connect() as connection:
        for turn in range(20):
            if turn % 3 == 2:  # errors do not end it either
                connection.send_request("POST", "/rerank", b"{}")
                assert connection.response().status == 422
            elif turn % 3 == 1:
                connection.send_request("GET", "/health")
                assert connection.response().status == 200
            else:
                connection.send_request("POST", "/rerank", GOOD)
                close_scores(connection.response().json(), want)


@case
def pipelined_requests_are_answered_in_order():
    counts = [3, 1, 4, 2, 5]
    with shared().connect() as connection:
        connection.send(b"".join(
            request_bytes("POST", "/rerank", json.dumps({"query": "q", "texts": ["t"] * n}).encode(),
                          {"x-request-id": f"pipelined-{n}"}) for n in counts))
        for n in counts:
            response = connection.response()
            assert response.status == 200, response
            assert len(response.json()) == n, response
            assert response.headers["x-request-id"] == f"pipelined-{n}", response


@case
def http_1_0_and_connection_close_end_the_connection():
    with shared().connect() as connection:
        connection.send_request("POST", "/rerank", GOOD, {"Connection": "close"})
        assert connection.response().status == 200
        assert connection.at_end()
    with shared().connect() as connection:
        connection.send(b"GET /health HTTP/1.0\r\n\r\n")
        line = connection.stream.readline()
        assert b" 200 " in line, line
        connection.stream.read()


@case
def expect_100_continue_is_told_to_go_on():
    with shared().connect() as connection:
        connection.send(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(GOOD))
        status, _ = connection.head()
        assert status == 100, status
        connection.send(GOOD)
        assert connection.response().status == 200


@case
def expect_100_continue_with_too_large_a_body_is_refused_before_it_is_sent():
    with shared().connect() as connection:
        connection.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 50000000\r\n\r\n")
        status, _ = connection.head()
        assert status == 413, status


@case
def head_and_options_are_answered_in_kind():
    for path in ("/health", "/info", "/metrics"):
        response = shared().request("HEAD", path)
        assert response.status in (200, 405), response
    response = shared().request("OPTIONS", "/rerank")
    assert response.status in (200, 204, 405), response
    assert "POST" in response.headers["allow"], response
    shared().check_alive()


@case
def a_query_string_is_ignored():
    assert shared().request("GET", "/health?probe=1").status == 200
    assert shared().request("POST", "/rerank?a=b&c", GOOD).status == 200


@case
def requests_at_once_get_their_own_answers():
    n = 8 if SLOW else 32
    rounds = 3 if SLOW else 10

    def client(number):
        texts = [f"text {number} {i}" for i in range(1 + number % 7)]
        body = json.dumps({"query": f"query {number}", "texts": texts, "return_text": True}).encode()
        with shared().connect() as connection:
            answers = []
            for _ in range(rounds):
                connection.send_request("POST", "/rerank", body)
                response = connection.response()
                assert response.status == 200, response
                answers.append(response.json())
        for answer in answers:
            assert sorted(entry["text"] for entry in answer) == sorted(texts), answer
            by_text = {entry["text"]: entry["score"] for entry in answer}
            first = {entry["text"]: entry["score"] for entry in answers[0]}
            assert all(abs(by_text[text] - first[text]) < 1e-4 for text in texts), answers

    in_parallel([lambda number=number: client(number) for number in range(n)])


@case
def a_client_that_leaves_in_the_middle_of_its_body_harms_nobody():
    for cut in (0, 1, len(GOOD) // 2, len(GOOD) - 1):
        for hard in (False, True):
            connection = shared().connect()
            connection.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD[:cut])
            if hard:
                connection.reset()
            else:
                connection.close()
    shared().check_alive()


@case
def a_client_that_leaves_in_the_middle_of_its_headers_harms_nobody():
    for cut in range(0, len(HEAD), 9):
        connection = shared().connect()
        connection.send(HEAD[:cut])
        connection.reset()
    shared().check_alive()


@case
def a_client_that_leaves_while_it_waits_harms_nobody():
    heavy = json.dumps(harness.heavy_body(texts=20 if SLOW else 100)).encode()
    for hard in (False, True, False, True):
        connection = shared().connect()
        connection.send_request("POST", "/rerank", heavy)
        time.sleep(0.02)
        if hard:
            connection.reset()
        else:
            connection.close()
    shared().check_alive()
    eventually(lambda: shared().metrics()["te_request_active"] == 0, "the work of clients that left")


@case
def a_client_that_half_closes_still_gets_its_answer_or_a_clean_end():
    with shared().connect() as connection:
        connection.send_request("POST", "/rerank", GOOD)
        connection.socket.shutdown(socket.SHUT_WR)
        answer = connection.stream.read().removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert answer == b"" or answer.startswith(b"HTTP/1.1 200"), answer
    shared().check_alive()


@case
def hundreds_of_idle_connections_leave_room_for_work():
    idle = [shared().connect() for _ in range(50 if SLOW else 400)]
    shared().check_alive()
    for connection in idle:
        connection.close()
    shared().check_alive()


@case
def a_client_whose_request_is_at_work_may_wait():
    """The work takes longer than the limit, on any machine of today."""
    with Server("--client-timeout", "1", "--threads", "1", "--max-client-batch-size", "5000") as server:
        heavy = harness.heavy_body(texts=300 if SLOW else 3000)
        with server.connect() as connection:
            for body in (heavy, {"query": "q", "texts": ["light"]}):
                connection.send_request("POST", "/rerank", json.dumps(body).encode())
                response = connection.response()
                assert response.status == 200 and len(response.json()) == len(body["texts"]), response


@case
def a_client_that_does_not_take_its_answer_is_cut_off():
    with Server("--client-timeout", "2", "--payload-limit", "20000000") as server:
        body = {"query": "q", "texts": [str(i) + "x" * 10000 for i in range(900)], "return_text": True}
        with server.connect() as connection:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.send_request("POST", "/rerank", json.dumps(body).encode())
            server.wait_for_log(lambda line: "POST /rerank" in line) # written once the exchange is over
        server.check_alive()


if __name__ == "__main__":
    sys.exit(harness.main())
