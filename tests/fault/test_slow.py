#!/usr/bin/env python3
"""Clients that are slow, many, or send floods; each has a bound in bytes and one in time."""

import contextlib
import json
import os
import resource
import select
import socket
import sys
import time

import faults
from faults import BODY, HEAD, case, eventually, harmless, harness, metric

TIMEOUT = 2  # --client-timeout, seconds

server = None


def quick():
    global server
    if server is None:
        server = harness.Server("--client-timeout", str(TIMEOUT))
    return server


def drip(connection, data, seconds):
    """Sends a byte now and then, until the other side ends it; returns how long that took."""
    began = time.monotonic()
    for byte in data * 1000:
        if time.monotonic() - began > seconds:
            break
        if select.select([connection.socket], [], [], 0.1)[0]:
            return time.monotonic() - began
        try:
            connection.send(bytes([byte]))
        except OSError:
            return time.monotonic() - began
    raise AssertionError(f"still served after {seconds} s")


@case
def a_body_that_drips_is_ended_in_time_with_408():
    before = metric(quick(), "te_client_too_slow")
    with harmless(quick()):
        for headers in (b"Content-Length: 5000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n1000\r\n"):
            with quick().connect() as connection:
                connection.send(HEAD + headers)
                took = drip(connection, b" ", harness.PATIENCE)
                assert took > TIMEOUT * 0.9, took
                answer = connection.stream.read()
                assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert metric(quick(), "te_client_too_slow") == before + 2


@case
def a_refused_body_that_drips_is_ended_in_time():
    with harmless(quick()):
        with quick().connect() as connection:
            connection.send(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")
            drip(connection, b" ", harness.PATIENCE)


@case
def a_reader_that_drips_is_ended_in_time():
    body = json.dumps({"query": "q", "texts": ["stone " * 1500 for _ in range(900)], "return_text": True}).encode()
    before = metric(quick(), "te_client_too_slow")
    with harmless(quick()):
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(("127.0.0.1", quick().port))
            reader.sendall(harness.request_bytes("POST", "/rerank", body))
            reader.settimeout(harness.PATIENCE)
            taken = 0
            began = time.monotonic()
            try:
                while time.monotonic() - began < harness.PATIENCE:
                    piece = reader.recv(100)
                    if not piece:
                        break
                    taken += len(piece)
                    time.sleep(0.05)
            except ConnectionResetError:
                pass
            assert 0 < taken < len(body) / 2, taken
    assert metric(quick(), "te_client_too_slow") == before + 1


@case
def headers_that_drip_are_ended_in_time():
    with harness.Server("--idle-timeout", str(TIMEOUT)) as server, harmless(server):
        slow = [server.connect() for _ in range(200)]
        kept = server.connect()  # one whose first request was in time
        kept.send_request("GET", "/health")
        assert kept.response().status == 200
        slow.append(kept)
        for connection in slow:
            connection.send(b"GET /health HTTP/1.1\r\n")
        began = time.monotonic()
        while slow and time.monotonic() - began < harness.PATIENCE:
            ended, _, _ = select.select([c.socket for c in slow], [], [], 0)
            for connection in [c for c in slow if c.socket in ended]:
                assert time.monotonic() - began > TIMEOUT * 0.9
                slow.remove(connection)
                connection.close()
            for connection in slow:
                try:
                    connection.send(b"x: y\r\n")
                except OSError:
                    pass  # its end is seen in the next round
            time.sleep(0.2)
        assert not slow, f"{len(slow)} are still served"


@case
def idle_connections_by_the_thousand_leave_room_for_work():
    wanted = 500 if harness.SLOW else 5000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * wanted:
        raise harness.Skip(f"only {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 500), hard))
    try:
        with harness.Server() as crowded, harmless(crowded) as bystander:
            idle = [crowded.connect() for _ in range(wanted)]
            eventually(lambda: faults.descriptors(crowded) > wanted, "all to be accepted")
            seen = bystander.answers
            eventually(lambda: bystander.answers > seen + 20, "the bystander to go on")
            used = faults.processor_seconds(crowded)
            crowded.check_alive()
            for connection in idle:
                connection.close()
            assert faults.processor_seconds(crowded) - used < 10
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@case
def floods_of_headers_are_refused():
    def flood():
        for rubbish in (b"x: y\r\n" * 200000, b"x: " + b"y" * 2000000, b"y" * 2000000 + b": x\r\n",
                        b"Cookie: " + b"a=b; " * 100000 + b"\r\n"):
            with quick().connect() as connection:
                try:
                    connection.send(b"GET /health HTTP/1.1\r\nHost: x\r\n" + rubbish + b"\r\n")
                    answer = connection.stream.readline()
                except OSError:
                    continue  # cut off while it sent
                assert answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 413", b"HTTP/1.1 414", b"HTTP/1.1 400")) \
                    or answer == b"", answer

    with harmless(quick()):
        flood()
    faults.resident_after(quick(), flood, 5, 8 << 20)


@case
def pipelined_requests_are_all_answered_in_order():
    n = 50 if harness.SLOW else 300
    with harmless(quick()):
        with quick().connect() as connection:
            connection.send(b"".join(harness.request_bytes("POST", "/rerank", BODY, {"x-request-id": f"p-{i}"})
                                     for i in range(n)))
            for i in range(n):
                response = connection.response()
                assert response.status == 200 and response.headers["x-request-id"] == f"p-{i}", response


@case
def pipelining_without_reading_is_bounded():
    """The answers pile up in the kernel until they do not fit; then nothing more is taken in."""
    with harmless(quick()):
        with quick().connect() as connection:
            faults.refuse_reading(connection)
            connection.socket.settimeout(TIMEOUT * 3)
            request = harness.request_bytes("GET", "/openapi.json") * 100
            sent = 0
            try:
                while sent < 100 << 20:
                    connection.send(request)
                    sent += len(request)
            except OSError:
                pass
            assert sent < 100 << 20, "all was taken in"


@case
def last_replies_that_nobody_takes_cost_no_processor():
    """However much of them fits the kernel: some are written whole, and their other side closed, before the client's side is
    full."""
    page = harness.request_bytes("GET", "/openapi.json")
    with harness.Server("--client-timeout", "30") as patient, contextlib.ExitStack() as stack:
        for n in range(1, 120):
            connection = stack.enter_context(patient.connect())
            faults.refuse_reading(connection)
            connection.send(page * n + harness.request_bytes("GET", "/openapi.json", headers={"Connection": "close"}))
        patient.check_alive()
        time.sleep(1)
        used, began = faults.processor_seconds(patient), time.monotonic()
        time.sleep(2)
        share = (faults.processor_seconds(patient) - used) / (time.monotonic() - began)
        assert share < 0.5, f"{share:.2f} of a processor while nobody reads"


@case
def what_is_not_http_is_refused():
    with harmless(quick()):
        for seed in range(50 if harness.SLOW else 200):
            rubbish = bytes((seed * 7919 + i * i * 31 + i) % 256 for i in range(500)) + b"\r\n\r\n"
            with quick().connect() as connection:
                try:
                    connection.send(rubbish)
                    connection.socket.shutdown(socket.SHUT_WR)
                    answer = connection.stream.readline()
                except OSError:
                    continue
                assert answer == b"" or b" 4" in answer or b" 5" in answer, answer


if __name__ == "__main__":
    status = harness.main()
    if server is not None:
        server.stop()
    sys.exit(status)
