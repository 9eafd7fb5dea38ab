#!/usr/bin/env python3
"""Memory: after many requests of every kind the resident size has stopped growing."""

import json
import random
import sys

import harness
from harness import SLOW, Server, case

REQUESTS = 100 if SLOW else 2000
ROOM = 4 << 20  # bytes: what the allocator may still spread out in the second half
MOST = 300 << 20  # bytes above the start, at any time
HEAD = b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def some_text(dice, longest):
    return " ".join(dice.choice("alpha beta gamma delta \u4e2d\u6587 caf\u00e9 x".split())
                    for _ in range(dice.randrange(longest)))


def some_body(dice):
    """Many short texts or a few long ones."""
    n, longest = dice.choice(((1, 1000), (3, 300), (10, 60), (60, 10), (200, 2)))
    texts = [some_text(dice, longest) for _ in range(n)]
    return json.dumps({"query": some_text(dice, 20), "texts": texts,
                       "return_text": dice.random() < 0.3}).encode()


def leave_early(server, dice, body):
    connection = server.connect()
    cut = dice.randrange(len(body) + 1)
    connection.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body[:cut])
    connection.reset()


def one_request(server, dice):
    kind = dice.random()
    body = some_body(dice)
    if kind < 0.7:
        assert server.rerank(body).status == 200
    elif kind < 0.78:
        assert server.rerank(body[:dice.randrange(len(body))]).status in (400, 422)
    elif kind < 0.82:
        assert server.rerank({"query": "q", "texts": []}).status == 400
    elif kind < 0.86:
        assert server.rerank({"query": "q", "texts": ["t"] * 1500}).status == 422
    elif kind < 0.9:
        assert server.request("GET", dice.choice(("/info", "/metrics", "/health"))).status == 200
    elif kind < 0.93:
        assert server.request("GET", "/nothing").status == 404
    elif kind < 0.94:
        assert server.rerank(b"x" * 300000).status == 413
    else:
        leave_early(server, dice, body)


def settle(server):
    """Waits for the work of clients that left, and returns the resident size."""
    harness.eventually(lambda: server.metrics()["te_request_active"] == 0, "an idle server")
    return server.resident_bytes()


@case
def the_resident_size_stops_growing():
    dice = random.Random(3)
    with Server("--payload-limit", "200000", "--log-level", "error") as server:
        sizes = [settle(server)]
        for _ in range(2):
            for _ in range(REQUESTS // 2):
                one_request(server, dice)
            sizes.append(settle(server))
    first, second = sizes[1] - sizes[0], sizes[2] - sizes[1]
    print(f"# resident MiB: {', '.join(f'{size / 2**20:.1f}' for size in sizes)}")
    assert sizes[2] - sizes[0] < MOST, sizes
    if not SLOW:  # sanitizers keep freed memory for a while on purpose
        assert second <= max(first / 2, ROOM), sizes


@case
def large_requests_give_their_memory_back():
    if SLOW:
        raise harness.Skip("sanitizers keep freed memory for a while on purpose")
    body = json.dumps({"query": "q", "texts": [f"text {i} " + "x" * 9000 for i in range(900)]}).encode()
    with Server("--log-level", "error") as server:
        before = settle(server)
        for _ in range(3):
            assert server.rerank(body).status == 200
        after_few = settle(server)
        for _ in range(12):
            assert server.rerank(body).status == 200
        after_many = settle(server)
    print(f"# resident MiB: {', '.join(f'{s / 2**20:.1f}' for s in (before, after_few, after_many))}")
    assert after_many - after_few < 40 << 20, (before, after_few, after_many)


if __name__ == "__main__":
    sys.exit(harness.main())
