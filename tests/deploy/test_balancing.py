#!/usr/bin/env python3
"""What deploy/haproxy.cfg sends again and what it does not, its bounds, and servers found by name."""

import sys
import threading

from balancer import Balancer
import harness
from harness import case
from stubs import NameServer, Stub


def two(**variables):
    stubs = Stub(), Stub()
    return stubs, Balancer([f"127.0.0.1:{stub.port}" for stub in stubs], **variables)


def post(front, body=b"{}", headers=None):
    return front.request("POST", "/rerank", body, headers)


@case
def what_a_server_could_not_do_another_does_and_its_answers_are_the_clients():
    stubs, balancer = two()
    with stubs[0], stubs[1], balancer as front:
        for answer, wanted in ((503, 200), ("close", 200), (429, 429), (424, 424), (504, 504), (500, 500), (400, 400),
                               (413, 413)):
            for stub in stubs:
                stub.posts, stub.ids = 0, []
            # Whoever is asked first answers so; the other one is well.
            stubs[0].next, stubs[1].next = [answer], [answer]
            first = post(front)
            asked = [stub.posts for stub in stubs]
            if wanted == 200:
                # Both had that answer ready: the third attempt is the good one.
                assert first.status == 200 and sum(asked) == 3 and min(asked) >= 1, (answer, first, asked)
                assert len({name for stub in stubs for name in stub.ids}) == 1, [stub.ids for stub in stubs]
            else:
                assert first.status == wanted and sum(asked) == 1, (answer, first, asked)
            if answer == 429:
                assert first.headers["retry-after"] == "7", first
            stubs[0].next, stubs[1].next = [], []


@case
def where_nobody_can_the_client_is_told_after_three_attempts():
    stubs, balancer = two()
    with stubs[0], stubs[1], balancer as front:
        stubs[0].always = stubs[1].always = 503
        answer = post(front, headers={"x-request-id": "mine"})
        assert answer.status == 503 and answer.headers["retry-after"] == "7", answer
        assert [stub.posts for stub in stubs] in ([1, 2], [2, 1]), [stub.posts for stub in stubs]
        assert {name for stub in stubs for name in stub.ids} == {"mine"}, [stub.ids for stub in stubs]


@case
def an_answer_that_has_begun_is_not_asked_for_again():
    stubs, balancer = two()
    with stubs[0], stubs[1], balancer as front:
        stubs[0].always = stubs[1].always = "cut"
        try:
            answer = post(front)
        except AssertionError as error:  # the body ended early
            assert "the body ended after 2 of 1000 bytes" in str(error), error
        else:
            raise AssertionError(answer)
        assert sum(stub.posts for stub in stubs) == 1, [stub.posts for stub in stubs]


@case
def deadlines_that_cannot_be_met_take_no_server_out():
    stubs, balancer = two()
    with stubs[0], stubs[1], balancer as front:
        stubs[0].always = stubs[1].always = 504
        assert [post(front).status for _ in range(60)] == [504] * 60
        assert front.state(1) == front.state(2) == "UP"


@case
def more_than_fits_the_queue_is_refused():
    stub = Stub()
    stub.gate = threading.Semaphore(0)
    with stub, Balancer([f"127.0.0.1:{stub.port}"], RERANKD_MAXCONN="1", RERANKD_MAXQUEUE="2") as front:
        waiting = []
        for expected in (0, 1, 2):
            waiting.append(front.connect())
            waiting[-1].send_request("POST", "/rerank", b"{}")
            harness.eventually(lambda: stub.posts == 1 and
                               front.metrics()["haproxy_backend_current_queue", 'proxy="rerankd"'] == expected, "the queue")
        refused = post(front)
        assert refused.status == 429 and refused.headers["retry-after"] == "1", refused
        assert refused.json()["error_type"] == "Overloaded", refused
        stub.gate.release()
        assert [connection.response().status for connection in waiting] == [200] * 3
        for connection in waiting:
            connection.close()
        assert stub.posts == 3


@case
def the_balancer_tells_its_own_readiness_and_no_servers_metrics():
    stubs, balancer = two()
    with stubs[0], stubs[1], balancer as front:
        assert front.request("GET", "/ready").status == 200
        assert front.request("GET", "/metrics").status == 404
        stubs[0].ready = stubs[1].ready = 503
        harness.eventually(lambda: front.request("GET", "/ready").status == 503, "the balancer to have nobody")
        assert front.request("GET", "/live").status == 200
        refused = post(front)
        assert refused.status == 503 and refused.headers["retry-after"] == "1", refused
        assert refused.json()["error_type"] == "Unhealthy" and stubs[0].posts == stubs[1].posts == 0, refused


@case
def a_client_that_leaves_takes_its_request_along():
    with harness.Server("--threads", "1") as server, Balancer([f"127.0.0.1:{server.port}"]) as front:
        connection = front.connect()
        connection.send_request("POST", "/rerank", harness.json.dumps(harness.heavy_body(texts=1000)).encode())
        harness.eventually(lambda: server.metrics()["te_request_active"] >= 1, "the request to be at the server")
        connection.close()
        harness.eventually(lambda: server.metrics()["te_client_gone"] >= 1, "the server to know")


@case
def servers_are_found_by_name_as_they_come_and_go():
    with NameServer() as names, Stub("127.0.0.1") as first, Stub("127.0.0.2", first.port) as second:
        names.addresses = ["127.0.0.1"]
        with Balancer(RERANKD_DNS=f"rerankd.test:{first.port}", RERANKD_NAMESERVER=names.address) as front:
            harness.eventually(lambda: front.request("GET", "/ready").status == 200, "the first server")
            assert [post(front).status for _ in range(10)] == [200] * 10 and first.posts == 10
            # The second one loads yet.
            second.ready = second.always = 503
            names.addresses = ["127.0.0.1", "127.0.0.2"]
            answered = []

            def drained():
                answered.append(post(front).status)
                return front.state(2) == "NOLB"
            harness.eventually(drained, "the second server to be known")
            print(f"# {second.posts} of {len(answered)} requests were sent to the one that loads, and again")
            assert set(answered) == {200}, answered
            second.ready = second.always = 200
            front.wait_for_state(2, "UP")
            asked = second.posts
            assert [post(front).status for _ in range(10)] == [200] * 10
            assert second.posts > asked
            names.addresses = ["127.0.0.2"]
            harness.eventually(lambda: front.state(1) == "MAINT", "the first server to be forgotten")
            asked = first.posts
            assert [post(front).status for _ in range(10)] == [200] * 10 and first.posts == asked


if __name__ == "__main__":
    sys.exit(harness.main())
