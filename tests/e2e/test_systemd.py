#!/usr/bin/env python3
"""What a service manager is told, and sockets that it passes."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time

import harness
import hub as hubs
from activation import Activated, Manager
from harness import Server, case, eventually

GOOD = {"query": "what", "texts": ["this", "that"]}
LONG = "600"  # seconds: a test that had to wait for these would fail


def listening(address=("127.0.0.1", 0)):
    one = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    one.bind(address)
    one.listen(1024)
    return one


def port_of(one):
    return one.getsockname()[1]


def expect_refused(sockets, words):
    server = Activated(sockets, "--port", "0", wait=False)
    assert server.wait_for_end() == 1
    errors = [line for line in server.log().splitlines() if " INFO " not in line]  # a sanitizer's build has one of those
    assert len(errors) == 1 and words in errors[0], server.log()
    server.log_file.close()


# --- what is told ---------------------------------------------------------------------------------


@case
def ready_is_told_once_the_model_has_run_and_stopping_at_sigterm():
    for hidden in (False, True):
        with Manager(hidden) as manager, Server(environment=manager.environment, wait=False) as server:
            messages = manager.until("READY", "1")
            assert server.request("GET", "/ready").status == 200
            assert messages[-1]["STATUS"] == f"serving {harness.small_model()}", messages
            assert not any("READY" in message or "STOPPING" in message for message in messages[:-1]), messages
            server.check_alive()
            assert manager.all() == []  # without a watchdog there is nothing more to tell
            server.terminate()
            message = manager.until("STOPPING", "1")[-1]
            assert int(message["EXTEND_TIMEOUT_USEC"]) > 0 and "finishing" in message["STATUS"], message


@case
def it_is_told_from_behind_the_filter_of_system_calls():
    with Manager() as manager:
        server = Server(environment=manager.environment)
        manager.until("READY", "1")
        if "not filtered: this build" in server.log():
            server.stop()
            raise harness.Skip("this build runs without the filter")
        assert "with filtered system calls" in server.log(), server.log()
        server.terminate()
        manager.until("STOPPING", "1")
        server.stop()


@case
def a_long_load_asks_for_more_time():
    with Manager() as manager, hubs.endless() as home:
        environment = {**home, "WATCHDOG_USEC": "300000", **manager.environment}
        server = Server(model="team/model", wait=False, environment=environment)
        try:
            messages = manager.until("STATUS", "downloading") + manager.until("STATUS", "downloading")
        except BaseException:
            server.kill()
            raise
        assert all(int(message["EXTEND_TIMEOUT_USEC"]) > 0 for message in messages), messages
        assert not any("READY" in message for message in messages), messages
        server.stop()
        assert not any("READY" in message for message in manager.all())


@case
def a_model_that_does_not_load_is_told():
    with Manager() as manager:
        result = harness.run_binary("--model-id", "/nowhere", "--hostname", "127.0.0.1", "--port", "0",
                                    environment=manager.environment)
        assert result.returncode == 1, result
        messages = manager.all()
    assert messages and not any("READY" in message for message in messages), messages
    assert "STOPPING" in messages[-1] and "cannot load the model: /nowhere" in messages[-1]["STATUS"], messages


@case
def the_watchdog_hears_of_a_loop_that_turns_and_of_no_other():
    with Manager() as manager:
        environment = {"WATCHDOG_USEC": "300000", **manager.environment}
        with Server(environment=environment, wait=False) as server:
            manager.until("READY", "1")
            for _ in range(3):
                message = manager.next()
                assert message["WATCHDOG"] == "1" and "READY" not in message, message
            server.process.send_signal(signal.SIGSTOP)
            try:
                time.sleep(0.1)  # what was sent before it stood still
                manager.all()
                assert manager.next(1) is None
            finally:
                server.process.send_signal(signal.SIGCONT)
            manager.until("WATCHDOG", "1")
            server.terminate()
            assert manager.until("STOPPING", "1")[-1]["WATCHDOG"] == "1"


@case
def another_processs_watchdog_is_not_fed():
    with Manager() as manager:
        environment = {"WATCHDOG_USEC": "150000", "WATCHDOG_PID": str(os.getpid()), **manager.environment}
        with Server(environment=environment, wait=False):
            messages = manager.until("READY", "1")
            assert manager.next(0.5) is None
            assert not any("WATCHDOG" in message for message in messages), messages


@case
def stopping_is_told_before_the_delay_and_all_the_time():
    with Manager() as manager:
        environment = {"WATCHDOG_USEC": "300000", **manager.environment}
        server = Server("--drain-delay", LONG, environment=environment)
        server.terminate()
        manager.until("STOPPING", "1")
        for _ in range(3):
            message = manager.next()
            assert "EXTEND_TIMEOUT_USEC" in message and "no longer ready" in message["STATUS"], message
        assert server.rerank(GOOD).status == 200
        server.process.terminate()
        manager.until("STATUS", "finishing")
        server.stop()


@case
def a_manager_that_is_busy_delays_nothing_and_is_told_later():
    with Manager() as manager:
        filler = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        filler.setblocking(False)
        filler.connect(manager.path)
        with contextlib.suppress(BlockingIOError):
            while True:
                filler.send(b"FILLER=1")
        with Server(environment=manager.environment) as server:
            server.check_alive()
            full = manager.all()
            assert all("FILLER" in message for message in full), full
            manager.until("READY", "1")
        filler.close()


@case
def a_manager_that_is_gone_harms_nobody():
    with Manager() as manager:
        with Server(environment={"WATCHDOG_USEC": "150000", **manager.environment}) as server:
            manager.until("READY", "1")
            manager.socket.close()
            time.sleep(0.2)
            server.check_alive()
    for path in ("/nowhere/notify", "nothing", "vsock:2:1", "/" + "x" * 200):
        with Server(environment={"NOTIFY_SOCKET": path}) as server:
            assert "NOTIFY_SOCKET" in server.log(), server.log()


# --- sockets that are passed ----------------------------------------------------------------------


@case
def all_sockets_that_are_passed_are_served_instead_of_those_that_are_named():
    path = os.path.join(harness.temporary_folder(), "passed")
    unwanted = path + "-unwanted"
    with listening() as first, listening() as second, listening(path) as third:
        with Activated([first, third, second], "--port", "1", "--unix-socket", unwanted, port=port_of(first)) as server:
            for port, at in ((port_of(first), None), (port_of(second), None), (None, path)):
                with harness.Connection(port, at) as connection:
                    for _ in range(3):
                        connection.send_request("POST", "/rerank", harness.json.dumps(GOOD).encode())
                        assert connection.response().status == 200
                assert f"port {port}" in server.log() or path in server.log(), server.log()
            harness.in_parallel([lambda port=port: [server_at(port).status for _ in range(20)]
                                 for port in (port_of(first), port_of(second)) * 3])
            assert server.metrics()['te_request_count{method="rerank"}'] == 9
            assert not os.path.exists(unwanted)
        assert os.path.exists(path)  # whoever made it removes it
        with socket.socket() as client:  # and nobody has shut it down
            client.connect(first.getsockname())


def server_at(port):
    with harness.Connection(port) as connection:
        connection.send_request("GET", "/ready")
        return connection.response()


@case
def nobody_is_refused_across_restarts():
    """Somebody asks all the time, each time on a connection of its own."""
    with listening() as one:
        asking = threading.Event()
        asking.set()
        seen = []

        def ask():
            while asking.is_set():
                with harness.Connection(port_of(one)) as connection:
                    connection.send_request("POST", "/rerank", harness.json.dumps(GOOD).encode())
                    seen.append(connection.response().status)

        def restart():
            try:
                for _ in range(3):
                    before = len(seen)
                    with Activated([one], port=port_of(one)):
                        eventually(lambda before=before: len(seen) > before + 10, "answers")
            finally:
                asking.clear()
                with Activated([one], port=port_of(one)):  # who waits now
                    pass

        harness.in_parallel([ask, ask, restart])
        assert set(seen) == {200}, set(seen)


@contextlib.contextmanager
def loading_behind(one, *arguments):
    """A server at a socket of ours whose model does not come."""
    with hubs.endless() as environment:
        server = Activated([one], *arguments, port=port_of(one), wait=False, model="team/model",
                           environment=environment)
        try:
            server.wait_for_log(lambda line: "listening" in line)
            yield server
        finally:
            server.kill()


def asks(server):
    connection = server.connect()
    connection.send_request("POST", "/rerank", harness.json.dumps(GOOD).encode())
    return connection


@case
def requests_at_passed_sockets_wait_for_the_model_but_not_for_long():
    with listening() as one, loading_behind(one, "--max-concurrent-requests", "3") as server:
        held = [asks(server) for _ in range(3)]
        harness.expect_error(server.rerank(GOOD), 503, "Unhealthy", "loading")  # there is a bound
        assert server.request("GET", "/live").status == 200 and server.request("GET", "/ready").status == 503
        harness.expect_error(server.request("GET", "/info"), 503, "Unhealthy", "loading")
        held.pop(1).reset()  # makes room
        server.wait_for_log(lambda line: "the client left" in line)
        held.append(asks(server))
        for connection in held:
            harness.expect_error(connection.response(), 503, "Unhealthy", "loading")
        server.wait_for_log(lambda line: "refusing 3 requests that have waited" in line)
        harness.expect_error(server.rerank(GOOD), 503, "Unhealthy", "loading")  # and at once from now on


@case
def requests_that_wait_for_the_model_are_answered_when_the_server_stops():
    with listening() as one, loading_behind(one) as server:
        held = [asks(server) for _ in range(3)]
        assert server.request("GET", "/live").status == 200  # a turn of the loop: they are held
        server.terminate()
        for connection in held:
            harness.expect_error(connection.response(), 503, "Unhealthy")
        assert server.wait_for_end() == 0


@case
def sockets_that_cannot_be_served_are_one_line_and_status_1():
    with socket.socket() as silent, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        expect_refused([silent], "descriptor 3 is no listening stream socket")
        with listening() as good:
            expect_refused([good, datagrams], "descriptor 4 is no listening stream socket")
    with contextlib.ExitStack() as stack:
        expect_refused([stack.enter_context(listening()) for _ in range(9)], "9 sockets were passed, 8 can be served")
    with contextlib.ExitStack() as stack:
        eight = [stack.enter_context(listening()) for _ in range(8)]
        with Activated(eight, port=port_of(eight[7])) as server:
            server.check_alive()


@case
def another_processs_sockets_are_left_alone():
    with listening() as one:
        port = harness.free_port()
        with Activated([one], "--hostname", "127.0.0.1", "--port", str(port), port=port,
                       environment={"LISTEN_PID": "1"}) as server:
            server.check_alive()


@case
def sockets_and_state_go_together():
    with Manager() as manager, listening() as one:
        with Activated([one], port=port_of(one), environment=manager.environment, wait=False) as server:
            manager.until("READY", "1")
            server.check_alive()


if __name__ == "__main__":
    sys.exit(harness.main())
