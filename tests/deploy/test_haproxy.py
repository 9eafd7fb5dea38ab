#!/usr/bin/env python3
"""Servers restarted, killed and frozen behind the real HAProxy while requests keep coming."""

import collections
import json
import math
import signal
import statistics
import sys
import tempfile
import time

import balancer
from balancer import Balancer, Load, p99
import harness
from harness import case

BUFFER = 262144  # bytes: RERANKD_BUFFER where nobody says otherwise
SLACK = 1  # seconds: between starting the load generator and the begin of its own clock


class Replicas:
    """Three servers, and HAProxy before them."""

    def __init__(self, *arguments):
        self.arguments = ("--threads", "1", *arguments)
        self.servers = [harness.Server(*self.arguments) for _ in range(3)]
        self.balancer = Balancer([f"127.0.0.1:{server.port}" for server in self.servers], RERANKD_SLOWSTART="2s")

    def __enter__(self):
        self.balancer.__enter__()
        for number in (1, 2, 3):
            self.balancer.wait_for_state(number, "UP")
        return self

    def __exit__(self, *how):
        self.balancer.__exit__(*how)
        for server in self.servers:
            server.__exit__(*how)

    def start_again(self, number):
        port = self.servers[number - 1].port
        self.servers[number - 1] = harness.Server(*self.arguments, port=port)

    def loads(self, folder, seconds):
        """Small requests, and some that are too large to be sent again: long texts, of which little is computed."""
        return (Load(self.balancer.port, folder, "small", 40, 3, 12, seconds),
                Load(self.balancer.port, folder, "large", 3, 2, 27000, seconds))


def failures(requests):
    return [request for request in requests if request.outcome != "right"]


def tell(what, requests, again):
    kinds = collections.Counter(request.outcome for request in failures(requests))
    print(f"# {what}: {len(requests)} requests, failed {dict(kinds)}, p99 {p99(requests):.1f} ms; so far {again}")


def expect_recovery(requests, fault):
    """From five seconds after the fault the seconds are as those before it. The middle one counts, since a machine
    with other work has bad seconds; a server that still got requests while it is away would show in all."""
    seconds = collections.defaultdict(list)
    for request in requests:
        seconds[math.floor(request.intended - fault)].append(request)
    print("# p99 by the second after the fault, ms: "
          + " ".join(f"{second}:{p99(seconds[second]):.0f}" for second in sorted(seconds)))
    before = [p99(seconds[second]) for second in seconds if second < -1]
    after = [p99(seconds[second]) for second in seconds if second >= 5]
    late = [request for request in requests if request.intended > fault + 5]
    assert len(before) >= 3 and len(after) >= 3, (before, after)
    assert not failures(late), [request.outcome for request in failures(late)]
    assert statistics.median(after) <= max(3 * max(before), 500), (before, after)  # the fault itself costs seconds
    assert max(request.latency for request in late) < 3000, max(request.latency for request in late)


def expect_only_what_was_in_flight(large, fault):
    """What fails had been sent when the fault came, and had no answer yet."""
    in_flight = [request for request in large if request.intended - SLACK <= fault <= request.ended + SLACK]
    for request in failures(large):
        assert request in in_flight, (request.outcome, request.intended - fault, request.ended - fault)
    return in_flight


@case
def a_rolling_restart_fails_no_request():
    with Replicas("--drain-delay", "3") as replicas, tempfile.TemporaryDirectory() as folder:
        small, large = replicas.loads(folder, 22)
        small.wait_until(1)
        for number in (1, 2, 3):
            server = replicas.servers[number - 1]
            server.terminate()
            replicas.balancer.wait_for_state(number, "NOLB")
            server.stop()
            replicas.start_again(number)
            replicas.balancer.wait_for_state(number, "UP")
        assert small.process.poll() is None, "the load ended before the last server was restarted"
        again = replicas.balancer.sent_again()
        for name, load in (("small", small), ("large", large)):
            requests = load.finish()
            tell(name, requests, again)
            assert not failures(requests), [(r.outcome, r.intended - load.begun) for r in failures(requests)]


@case
def of_a_killed_server_only_what_could_not_be_sent_again_fails():
    with Replicas() as replicas, tempfile.TemporaryDirectory() as folder:
        small, large = replicas.loads(folder, 13)
        small.wait_until(4)
        victim = replicas.servers[0]
        # Stopped first, so that it is killed with work at hand.
        victim.process.send_signal(signal.SIGSTOP)
        harness.eventually(lambda: replicas.balancer.of_server(1, "current_sessions") >= 1, "work at the victim")
        fault = time.monotonic()
        victim.process.kill()
        victim.process.wait()
        replicas.balancer.wait_for_state(1, "DOWN")
        few, many = large.finish(), small.finish()
        again = replicas.balancer.sent_again()
        tell("small", many, again)
        tell("large", few, again)
        expect_recovery(many, fault)
        assert not failures(many), [(r.outcome, r.intended - fault) for r in failures(many)]
        expect_only_what_was_in_flight(few, fault)
        assert again["redispatch"] >= 1, again
        replicas.start_again(1)
        replicas.balancer.wait_for_state(1, "UP")


@case
def of_a_frozen_server_only_what_could_not_be_sent_again_fails():
    with Replicas() as replicas, tempfile.TemporaryDirectory() as folder:
        small, large = replicas.loads(folder, 16)
        small.wait_until(4)
        victim = replicas.servers[0].process
        fault = time.monotonic()
        victim.send_signal(signal.SIGSTOP)
        replicas.balancer.wait_for_state(1, "DOWN")
        print(f"# taken out after {time.monotonic() - fault:.1f} s")
        small.wait_until(12)
        victim.send_signal(signal.SIGCONT)
        replicas.balancer.wait_for_state(1, "UP")
        few, many = large.finish(), small.finish()
        again = replicas.balancer.sent_again()
        tell("small", many, again)
        tell("large", few, again)
        expect_recovery(many, fault)
        lost = [(r.outcome, r.intended - fault) for r in failures(many)]
        if balancer.version() < (3, 0):
            assert not lost, lost
        else:  # these end what they take from a server that is down
            held = [r for r in many if fault - SLACK <= r.intended <= fault + 5]
            assert all(-SLACK <= when <= 5 for _, when in lost) and len(lost) < len(held) / 2, (lost, len(held))
        stuck = [r.ended - fault for r in many + few if r.intended < fault + 5 and r.ended > fault + 6]
        assert not stuck, f"waited for the frozen server until {stuck} s after"
        assert len(failures(few)) <= len([r for r in few if fault - SLACK <= r.intended <= fault + 5]), few
        replicas.servers[0].check_alive()


def body_of(size):
    head = {"query": "bread", "texts": ["water " * 5] * 3}
    return json.dumps({**head, "texts": head["texts"] + ["x" * (size - len(json.dumps(head)) - 4)]}).encode()


@case
def what_fits_into_the_buffer_is_sent_again_and_no_more():
    """Two frozen servers get a request of each size; one goes on, the other is killed."""
    servers = [harness.Server("--threads", "1") for _ in range(2)]
    with Balancer([f"127.0.0.1:{server.port}" for server in servers]) as front:
        for server in servers:
            server.process.send_signal(signal.SIGSTOP)
        connections = []
        for size in (BUFFER - 2048, BUFFER - 2048, BUFFER + 1, BUFFER + 1):
            body = body_of(size)
            assert len(body) == size, len(body)
            connections.append(front.connect())
            connections[-1].send_request("POST", "/rerank", body)
            harness.eventually(lambda: sum(front.of_server(i, "current_sessions") for i in (1, 2)) == len(connections),
                               "the request to be at a server")
        assert [front.of_server(number, "current_sessions") for number in (1, 2)] == [2, 2]
        servers[0].kill()
        servers[1].process.send_signal(signal.SIGCONT)
        answers = []
        for connection in connections:
            answers.append(connection.response().status)
            connection.close()
        print(f"# answers: {answers}")
        assert answers[:2] == [200, 200] and sorted(answers[2:]) == [200, 502], answers
    servers[1].stop()


if __name__ == "__main__":
    sys.exit(harness.main())
