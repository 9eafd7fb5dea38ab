#!/usr/bin/env python3
"""`rerankd --health URL`: what it asks, when it fails, that it always ends."""

import contextlib
import os
import socket
import sys
import threading

import harness
from harness import Server, case, run_binary, shared


def expect(result, status, words=""):
    assert result.returncode == status and result.stdout == "", result
    assert result.stderr.count("\n") == (0 if status == 0 else 1), result
    assert words in result.stderr, result


def ask(where, *arguments, **environment):
    return run_binary("--health", where, *arguments, environment=environment)


def url(server, path):
    return f"http://127.0.0.1:{server.port}{path}"


@contextlib.contextmanager
def listener(answer=None):
    """The port of a server that sends these bytes to who connects, and then nothing more."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        def serve():
            with contextlib.suppress(OSError):
                client, _ = listening.accept()
                with client:
                    client.recv(65536)
                    if answer:
                        client.sendall(answer)
                        if answer.endswith(b"forever"):
                            while not done.is_set():
                                client.sendall(b"x" * 65536)
                    done.wait(harness.PATIENCE)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            done.set()
            with contextlib.suppress(OSError):  # whom nobody called
                socket.create_connection(listening.getsockname(), timeout=1).close()
            thread.join()


@case
def a_server_that_is_well_is_0_and_silence():
    for path in ("/health", "/ready", "/live", "", "/ready?from=a-container"):
        expect(ask(url(shared(), path)), 0)
    expect(ask(f"HTTP://localhost:{shared().port}/ready"), 0)


@case
def neither_a_model_nor_other_options_are_wanted():
    expect(run_binary("--model-id", "/nowhere", "--health", url(shared(), "/ready")), 0)
    expect(ask(url(shared(), "/ready"), MODEL_ID="/nowhere", http_proxy="http://127.0.0.1:9",
               ALL_PROXY="http://127.0.0.1:9"), 0)
    # HEALTH is nobody's option: a server is started.
    result = run_binary("--model-id", "/nowhere", "--hostname", "127.0.0.1", "--port", "0",
                        environment={"HEALTH": url(shared(), "/ready")})
    assert result.returncode == 1 and "/nowhere" in result.stderr, result


@case
def all_but_200_is_1_with_what_was_said():
    server = Server("--drain-delay", "600")
    server.terminate()
    harness.eventually(lambda: server.request("GET", "/ready").status == 503, "the server to be unready")
    expect(ask(url(server, "/ready")), 1, "503")
    expect(ask(url(server, "/ready")), 1, "the server is stopping")
    expect(ask(url(server, "/live")), 0)
    server.process.terminate()
    server.stop()
    expect(ask(url(server, "/ready")), 1, "connect")
    expect(ask(url(shared(), "/nothing")), 1, "404")
    with listener(b"HTTP/1.1 302 Found\r\nLocation: " + url(shared(), "/ready").encode() +
                  b"\r\nContent-Length: 0\r\n\r\n") as port:
        expect(ask(f"http://127.0.0.1:{port}/"), 1, "302")


@case
def it_ends_in_its_time_whatever_the_other_side_does():
    for answer in (None, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"HTTP/1.1 "):
        with listener(answer) as port:
            expect(ask(f"http://127.0.0.1:{port}/", "--health-timeout-ms", "200"), 1, "timed out")
    with listener(None) as port:
        expect(ask(f"http://127.0.0.1:{port}/", HEALTH_TIMEOUT_MS="100"), 1, "timed out after ")
    with listener(b"HTTP/1.1 200 OK\r\n\r\nforever") as port:
        expect(ask(f"http://127.0.0.1:{port}/", "--health-timeout-ms", "60000"), 1)
    with listener(b"SSH-2.0-OpenSSH\r\n") as port:
        expect(ask(f"http://127.0.0.1:{port}/"), 1)


@case
def what_was_said_is_one_printable_line():
    body = b"first\nsecond \x1b[31m\xff" + b"z" * 5000
    with listener(b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n" % len(body) + body) as port:
        result = ask(f"http://127.0.0.1:{port}/")
    expect(result, 1, "500 first second  [31m zzz")
    assert len(result.stderr) < 400, result


@case
def sockets_in_the_file_system_are_asked_too():
    path = os.path.join(harness.temporary_folder(), "socket")
    with Server(unix_socket=path):
        expect(ask(f"unix:{path}"), 0)
        expect(ask(f"unix:{path}:/live"), 0)
        expect(ask(f"unix:{path}:/nothing"), 1, "404")
    expect(ask(f"unix:{path}"), 1)


@case
def other_addresses_are_refused():
    for where in ("https://127.0.0.1/", "file:///etc/passwd", "127.0.0.1:3000/ready", "unix:", "unix::/ready",
                  "unix:/" + "x" * 1000, "http://", "http://127.0.0.1:99999/"):
        expect(ask(where), 1, "--health")
    for arguments in (("--health",), ("--health", ""), ("--health", "unix:x", "--health-timeout-ms", "0")):
        assert run_binary(*arguments).returncode == 2, arguments


if __name__ == "__main__":
    sys.exit(harness.main())
