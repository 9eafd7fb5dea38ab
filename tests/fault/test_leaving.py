#!/usr/bin/env python3
"""Clients that leave, or stop sending: noticed at once, and never mistaken for each other."""

import json
import os
import socket
import sys
import tempfile
import threading
import time

import faults
from faults import BODY, HEAD, busy, case, eventually, harmless, harness, metric, processor_seconds

# Half a second's computing for one thread: what its client does comes before the end of it.
HEAVY = json.dumps(harness.heavy_body(texts=800 if not harness.SLOW else 200, words=300)).encode()

server = None


def one_thread():
    global server
    if server is None:
        server = harness.Server("--threads", "1", "--log-level", "debug",
                                "--max-queue-ms", "600000")  # however slow the program is
    return server


def wait_for_work(connection, version="HTTP/1.1"):
    """Sends the heavy request and waits until it is at work."""
    request = harness.request_bytes("POST", "/rerank", HEAVY, {"x-request-id": "heavy"})
    connection.send(request.replace(b"HTTP/1.1", version.encode(), 1))
    eventually(lambda: metric(one_thread(), "te_request_active") >= 1, "the request to be at work")


def gone_while_waiting(leave, version="HTTP/1.1", connect=None):
    """Whether the client is noticed before its request is done."""
    server = one_thread()
    before = metric(server, "te_client_gone")
    connection = (connect or server.connect)()
    wait_for_work(connection, version)
    leave(connection)
    noticed = eventually(
        lambda: (metric(server, "te_client_gone") == before + 1 and "noticed") or
        (metric(server, "te_request_active") == 0 and "not noticed"), "either")
    eventually(lambda: metric(server, "te_request_active") == 0, "the end of the work")
    return noticed == "noticed" or metric(server, "te_client_gone") == before + 1


@case
def a_close_while_waiting_is_noticed():
    assert gone_while_waiting(lambda connection: connection.close())


@case
def the_work_of_a_client_that_left_is_dropped():
    server = one_thread()

    def computed():
        return metric(server, "te_batch_next_tokens_sum")
    before = computed()
    assert server.request("POST", "/rerank", HEAVY).status == 200
    whole = computed() - before
    dropped, before = metric(server, "te_request_dropped"), computed()
    assert gone_while_waiting(lambda connection: connection.close())
    time.sleep(0.2)  # for what would still be at work
    assert metric(server, "te_request_dropped") == dropped + 1
    assert computed() - before < whole, (before, computed(), whole)


@case
def a_reset_while_waiting_is_noticed():
    assert gone_while_waiting(lambda connection: connection.reset())


@case
def a_close_by_a_client_of_http_1_0_is_noticed():
    assert gone_while_waiting(lambda connection: connection.close(), "HTTP/1.0")


@case
def a_half_closed_client_gets_its_answer():
    for body in (BODY, HEAVY):
        for pause in (0, 0.05):
            before = metric(one_thread(), "te_client_gone")
            with one_thread().connect() as connection:
                connection.send_request("POST", "/rerank", body)
                time.sleep(pause)
                connection.socket.shutdown(socket.SHUT_WR)
                response = connection.response()
                assert response.status == 200, response
            assert metric(one_thread(), "te_client_gone") == before


@case
def half_closed_clients_among_others_all_get_their_answers():
    """On new connections, behind requests that are computed and under load."""
    ended = threading.Event()

    def others():
        while not ended.is_set():
            one_thread().rerank({"query": "q", "texts": ["bees " * 40] * 3 + [str(time.monotonic())]})

    threads = [threading.Thread(target=others, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30 if harness.SLOW else 150):
            with one_thread().connect() as connection:
                connection.send_request("POST", "/rerank", BODY)
                connection.socket.shutdown(socket.SHUT_WR)
                assert connection.response().status == 200
    finally:
        ended.set()
        for thread in threads:
            thread.join(harness.PATIENCE)


@case
def a_half_closed_client_that_sends_in_pieces_gets_its_answer():
    used = processor_seconds(one_thread())
    with one_thread().connect() as connection:
        connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(BODY), 10):
            piece = BODY[start:start + 10]
            connection.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
        connection.send(b"0\r\n\r\n")
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.response().status == 200
    with one_thread().connect() as connection:  # all of it in a packet
        connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n")
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.response().status == 200
    assert processor_seconds(one_thread()) - used < 2


@case
def the_socket_in_the_file_system_tells_a_close_from_half_of_one():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        with harness.Server("--threads", "1", unix_socket=path) as local:
            for leave, gone in ((lambda c: c.close(), 1), (lambda c: c.socket.shutdown(socket.SHUT_WR), 1)):
                connection = local.connect()
                connection.send_request("POST", "/rerank", HEAVY)
                eventually(lambda: metric(local, "te_request_active") == 1, "the work")
                leave(connection)
                eventually(lambda: metric(local, "te_request_active") == 0, "the end of it")
                assert metric(local, "te_client_gone") == gone
            answer = connection.stream.read()
            assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]  # nobody asked whether it is there
            connection.close()


@case
def who_leaves_in_the_middle_of_a_request_is_forgotten_at_once():
    server = one_thread()
    chunk = b"%x\r\n" % len(BODY) + BODY + b"\r\n"
    beginnings = [HEAD[:30], HEAD[:-2],
                  HEAD + b"Content-Length: 500\r\n\r\n", HEAD + b"Content-Length: 500\r\n\r\n" + BODY,
                  HEAD + b"Transfer-Encoding: chunked\r\n\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk,
                  HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"1f",
                  HEAD + b"Expect: 100-continue\r\nContent-Length: 500\r\n\r\n",
                  b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n" + BODY]
    with harmless(server):  # whose descriptors must be back, long before the idle timeout
        for beginning in beginnings:
            for leave in ("close", "half", "reset"):
                connection = server.connect()
                connection.send(beginning)
                if leave == "close":
                    connection.close()
                elif leave == "reset":
                    connection.reset()
                else:
                    connection.socket.shutdown(socket.SHUT_WR)
                    connection.socket.settimeout(harness.PATIENCE / 2)
                    connection.stream.read()  # to its end, with or without an answer
                    connection.close()


@case
def clients_that_leave_at_any_moment_harm_nobody():
    server = one_thread()
    with harmless(server):
        for turn in range(100 if harness.SLOW else 400):
            connection = server.connect()
            connection.send_request("POST", "/rerank", BODY)
            time.sleep((turn % 20) * 0.0002)  # around the time of an answer
            if turn % 3 == 0:
                connection.reset()
            elif turn % 3 == 1:
                connection.close()
            else:
                connection.socket.shutdown(socket.SHUT_WR)
                connection.stream.read()  # an answer or a clean end
                connection.close()


@case
def an_answer_under_way_whose_reader_resets_harms_nobody():
    server = one_thread()
    body = json.dumps({"query": "q", "texts": ["stone " * 1000 for _ in range(200)], "return_text": True}).encode()

    def break_off():
        for take in (0, 1, 1000, 100000):
            connection = server.connect()
            faults.refuse_reading(connection)
            connection.send_request("POST", "/rerank", body)
            if take:
                connection.stream.read(take)
            connection.reset()

    with harmless(server):
        break_off()
    faults.resident_after(server, break_off, 3, 8 << 20)


@case
def a_request_at_work_costs_three_descriptors_and_gives_two_back():
    server = one_thread()
    before = faults.descriptors(server)
    with busy(server, 8):
        assert faults.descriptors(server) <= before + 3 * (8 + 1)  # and the request for metrics
    eventually(lambda: faults.descriptors(server) <= before, "the descriptors")


if __name__ == "__main__":
    status = harness.main()
    if server is not None:
        server.stop()
    sys.exit(status)
