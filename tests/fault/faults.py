"""What the tests of faults share: a bystander, levels before and after, clients that misbehave."""

import contextlib
import json
import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

import harness  # noqa: E402
from harness import SLOW, case, eventually, heavy_body, request_bytes  # noqa: E402,F401

REQUEST = {"query": "water and stone", "texts": ["a river", "a mountain of stone", "bread from the oven"]}
BODY = json.dumps(REQUEST).encode()
HEAD = b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def descriptors(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def processor_seconds(server):
    with open(f"/proc/{server.process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bystander(threading.Thread):
    """A client that does nothing wrong: it asks steadily, and every answer must be right."""

    def __init__(self, server, pause=0.01):
        super().__init__(daemon=True)
        self.server = server
        self.pause = pause
        self.ending = threading.Event()
        self.answers = 0
        self.slowest = 0.0
        self.problem = None
        self.expected = server.rerank(BODY).body

    def run(self):
        try:
            with self.server.connect() as connection:
                while not self.ending.is_set():
                    before = time.monotonic()
                    connection.send_request("POST", "/rerank", BODY)
                    response = connection.response()
                    self.slowest = max(self.slowest, time.monotonic() - before)
                    assert response.status == 200 and response.body == self.expected, response
                    self.answers += 1
                    time.sleep(self.pause)
        except Exception as problem:  # told by finish()
            self.problem = problem

    def finish(self):
        self.ending.set()
        self.join(harness.PATIENCE)
        assert self.problem is None, f"the bystander, after {self.answers} answers: {self.problem!r}"
        assert self.answers > 0, "the bystander got no answer"


@contextlib.contextmanager
def harmless(server):
    """What happens within harms no other request and leaves the server as it was."""
    expected = server.rerank(BODY).body
    before = descriptors(server)
    bystander = Bystander(server)
    bystander.start()
    eventually(lambda: bystander.answers > 0 or bystander.problem, "the bystander's first answer")
    yield bystander
    bystander.finish()
    assert server.process.poll() is None, f"the server is gone:\n{server.log_end()}"
    eventually(lambda: server.metrics()["te_request_active"] == 0, "the end of all requests")
    eventually(lambda: descriptors(server) <= before,
               f"the descriptors to go back to {before}; they are {descriptors(server)}")
    response = server.rerank(BODY)
    assert response.status == 200 and response.body == expected, response


def resident_after(server, fault, rounds, allowed):
    """Resident bytes must not go on growing with repeats of a fault; the first rounds fill caches."""
    if SLOW:
        return  # sanitizers keep what was freed
    for _ in range(rounds):
        fault()
    first = server.resident_bytes()
    for _ in range(rounds):
        fault()
    grown = server.resident_bytes() - first
    assert grown <= allowed, f"{grown} bytes more after {rounds} further rounds"


@contextlib.contextmanager
def busy(server, n=4):
    """Keeps the one computing thread of a server at work on n heavy requests; yields their connections."""
    heavy = json.dumps(heavy_body(texts=60 if SLOW else 200, words=300)).encode()
    connections = [server.connect() for _ in range(n)]
    for connection in connections:
        connection.send_request("POST", "/rerank", heavy)
    eventually(lambda: server.metrics()["te_request_active"] >= n, "the work to begin")
    yield connections
    for connection in connections:
        connection.close()


def metric(server, name):
    return server.metrics()[name]


def refuse_reading(connection, receive_buffer=4096):
    """A socket that takes in little."""
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
