#!/usr/bin/env python3
"""What the machine does to the server: descriptors, logs, clocks, files, signals."""

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import faults
from faults import BODY, HEAD, case, eventually, harmless, harness

HERE = os.path.dirname(os.path.abspath(__file__))


class Started(harness.Server):
    """A server with another standard error, or another beginning of its command line."""

    def __init__(self, *arguments, stderr=None, before=(), environment=None, **more):
        real = subprocess.Popen

        def popen(command, **options):
            if stderr is not None:
                options["stderr"] = stderr
            return real([*before, *command], **options)

        subprocess.Popen = popen
        try:
            super().__init__(*arguments, environment=environment, wait=False, **more)
        finally:
            subprocess.Popen = real
        self.wait_until_healthy()


# --- descriptors ----------------------------------------------------------------------------------


@case
def running_out_of_descriptors_refuses_nobody_who_is_in_and_spins_not():
    with Started(before=("prlimit", "--nofile=90:90")) as server:
        with harmless(server) as bystander:
            crowd = []
            for _ in range(200):
                connection = socket.socket()
                connection.settimeout(5)
                connection.connect(("127.0.0.1", server.port))  # the kernel's queue takes it
                crowd.append(connection)
            time.sleep(0.3)
            used, began = faults.processor_seconds(server), time.monotonic()
            seen = bystander.answers
            time.sleep(2)
            share = (faults.processor_seconds(server) - used) / (time.monotonic() - began)
            assert bystander.answers > seen + 10, "the bystander was left waiting"
            assert share < 0.5, f"{share:.2f} of a processor while nobody can be let in"
            for connection in crowd:
                connection.close()
        for _ in range(20):
            server.check_alive()


# --- logs -----------------------------------------------------------------------------------------


@case
def logs_on_a_full_disk_harm_nobody():
    with open("/dev/full", "wb") as full, Started(stderr=full) as server, harmless(server):
        for _ in range(200):
            server.check_alive()


@case
def logs_into_a_closed_pipe_harm_nobody():
    reader, writer = os.pipe()
    with Started(stderr=writer) as server:
        os.close(writer)
        os.close(reader)
        with harmless(server):
            for _ in range(200):
                server.check_alive()


@case
def logs_into_a_pipe_that_nobody_reads_harm_nobody_and_the_end_comes():
    reader, writer = os.pipe()
    server = Started(stderr=writer)
    os.close(writer)
    with harmless(server):
        with server.connect() as connection:
            for _ in range(1500):  # 64 KiB of lines fill the pipe
                connection.send_request("GET", "/nothing")
                assert connection.response().status == 404
    server.stop()  # although its last lines find no room
    os.close(reader)


@case
def lines_lost_to_a_full_pipe_are_counted_once_it_is_read():
    reader, writer = os.pipe()
    server = Started("--log-level", "info", stderr=writer)
    os.close(writer)
    with server.connect() as connection:
        for start in range(0, 6000, 100):
            connection.send(harness.request_bytes("GET", "/nothing") * 100)
            for _ in range(100):
                assert connection.response().status == 404
    pieces = []

    def read():
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            while piece := pipe.read(65536):
                pieces.append(piece)

    thread = threading.Thread(target=read)
    thread.start()
    # Only then is there room again for all lines: those of the end are not among the lost.
    eventually(lambda: b" log lines were dropped" in b"".join(pieces), "the count")
    assert server.request("GET", "/nothing").status == 404
    server.stop()
    thread.join()
    text = b"".join(pieces).decode()
    lost = sum(int(n) for n in re.findall(r"(\d+) log lines were dropped", text))
    logged = text.count(" 404 ")
    assert lost > 0 and logged + lost == 6001, (lost, logged)


# --- clocks ---------------------------------------------------------------------------------------


@case
def jumps_of_the_wall_clock_do_not_matter():
    if harness.SLOW:
        raise harness.Skip("a preloaded library does not go with sanitizers")
    with tempfile.TemporaryDirectory() as folder:
        shim = os.path.join(folder, "clock.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, os.path.join(HERE, "clock_shim.c")], check=True)
        with Started("--client-timeout", "3", environment={"LD_PRELOAD": shim}) as server:
            with harmless(server) as bystander:
                held = server.connect()  # on which no timeout may come too early
                held.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:-1])
                idle = server.connect()
                seen = bystander.answers
                time.sleep(1.5)
                assert bystander.answers > seen + 20
                held.send(BODY[-1:])
                assert held.response().status == 200
                idle.send_request("GET", "/health")
                assert idle.response().status == 200
                began = time.monotonic()  # nor too late
                held.send(HEAD + b"Content-Length: 500\r\n\r\n")
                assert held.stream.read().startswith(b"HTTP/1.1 408 ")
                assert 2 < time.monotonic() - began < 10
                held.close()
                idle.close()
            days = {line[:10] for line in server.log().splitlines()}
            assert len(days) > 1, f"the clock did not jump: {days}"


# --- signals --------------------------------------------------------------------------------------


@case
def sigterm_under_load_answers_all_that_was_accepted():
    for _ in range(1 if harness.SLOW else 3):
        with harness.Server() as server:
            expected = server.rerank(BODY).body
            ended, right, wrong = threading.Event(), [], []

            def client():
                while not ended.is_set():
                    try:
                        with server.connect() as connection:
                            while not ended.is_set():
                                connection.send_request("POST", "/rerank", BODY)
                                response = connection.response()
                                (right if response.status == 200 and response.body == expected else wrong) \
                                    .append(response)
                                if response.headers.get("connection", "").lower() == "close":
                                    break
                    except ConnectionRefusedError:
                        return  # it no longer listens
                    except OSError as problem:
                        # A connection that was idle may be closed as the request goes out.
                        if not server.asked_to_end:
                            wrong.append(problem)

            threads = [threading.Thread(target=client) for _ in range(8)]
            for thread in threads:
                thread.start()
            eventually(lambda: len(right) > 100 or wrong, "load")
            heavy = server.connect()
            heavy.send_request("POST", "/rerank", json.dumps(harness.heavy_body(texts=100, words=300)).encode())
            eventually(lambda: server.metrics()["te_request_active"] > 0, "the heavy request")
            server.terminate()
            assert heavy.response().status == 200
            ended.set()
            for thread in threads:
                thread.join()
            assert not wrong, wrong[:3]


# --- model files ----------------------------------------------------------------------------------


@case
def a_model_that_is_cut_or_replaced_while_it_serves_changes_nothing():
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "model")
        shutil.copytree(harness.small_model(), model)
        with harness.Server(model=model) as server, harmless(server):
            for name in os.listdir(model):
                with open(os.path.join(model, name), "r+b") as file:
                    file.truncate(10)
            for _ in range(20):
                server.check_alive()
            for name in os.listdir(model):
                with open(os.path.join(model, name), "wb") as file:
                    file.write(os.urandom(1000))
            for _ in range(20):
                server.check_alive()
            shutil.rmtree(model)
            for _ in range(20):
                server.check_alive()


@case
def a_model_that_is_cut_or_written_to_while_it_is_loaded_is_one_error():
    """The large model, at one moment after the other; a process that dies by a signal has failed."""
    source = harness.default_model()
    seen = set()
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "model")
        shutil.copytree(source, model, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns(".*"))
        weights = os.path.join(model, "model.safetensors")
        for turn in range(8 if harness.SLOW else 16):
            shutil.copyfile(os.path.join(source, "model.safetensors"), weights)
            server = harness.Server(model=model, wait=False)
            eventually(lambda: f"{weights}" in held_files(server) or server.process.poll() is not None or
                       "ready" in server.log(), "the weights to be opened")
            time.sleep(turn // 2 * 0.005)
            with open(weights, "r+b") as file:
                if turn % 2:
                    file.seek(1000000)
                    file.write(b"\0" * 100)
                else:
                    file.truncate(100000)
            eventually(lambda: server.process.poll() is not None or "ready" in server.log(), "either end")
            status = server.process.poll()
            if status is None:
                server.check_alive()
                server.stop()
                seen.add("loaded")
                continue
            assert status == 1, f"status {status}:\n{server.log_end()}"
            assert "was cut while" in server.log() or "was changed while" in server.log(), server.log_end()
            seen.add("refused")
    assert "refused" in seen, seen


def held_files(server):
    found = []
    try:
        for entry in os.listdir(f"/proc/{server.process.pid}/fd"):
            found.append(os.readlink(f"/proc/{server.process.pid}/fd/{entry}"))
    except OSError:
        pass
    return found


if __name__ == "__main__":
    sys.exit(harness.main())
