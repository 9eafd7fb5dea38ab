#!/usr/bin/env python3
"""Who may call and from where: keys and their renewal, origins of pages, trace contexts, the socket in the
file system."""

import json
import os
import signal
import socket
import stat
import sys
import tempfile

import harness
from harness import Server, case, eventually, expect_error, run_binary, shared, small_model

GOOD = {"query": "what", "texts": ["this", "that"]}
DOCUMENTS = json.dumps({"query": "what", "documents": ["this", "that"]}).encode()
OPEN = ("/", "/health", "/ping", "/ready", "/live", "/metrics", "/openapi.json", "/docs")


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def status(server, key):
    return server.rerank(GOOD, bearer(key)).status


@case
def every_key_of_every_option_opens():
    with Server("--api-key", "one,two", "--api-key", "three") as server:
        assert [status(server, key) for key in ("one", "two", "three")] == [200] * 3
        assert [status(server, key) for key in ("", "one,two", "four", "on", "onee")] == [401] * 5
    with Server(environment={"API_KEY": "one,two"}) as server:
        assert [status(server, key) for key in ("one", "two", "three")] == [200, 200, 401]


@case
def what_needs_no_key_is_open_and_the_rest_is_not():
    with Server("--api-key", "s3cret") as server:
        for path in OPEN:
            assert server.request("GET", path).status == 200, path
        for path in ("/info", "/models", "/v1/models"):
            assert server.request("GET", path).status == 401, path
            assert server.request("GET", path, headers=bearer("s3cret")).status == 200, path
        for path in ("/", "/predict"):
            expect_error(server.request("POST", path, b"{}"), 401, "Validation")
        for path in ("/v1/rerank", "/v2/rerank", "/score", "/v1/score", "/reranking", "/v1/reranking"):
            response = server.request("POST", path, DOCUMENTS, bearer("wrong"))
            answer = response.json()
            assert response.status == 401 and response.headers["www-authenticate"] == "Bearer", response
            assert answer["message"] == answer["detail"] == answer["error"]["message"], answer
            assert answer["error"]["type"] == "authentication_error", answer


@case
def a_file_of_keys_is_read_again_on_sighup():
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as file:
        def write(text):
            file.seek(0)
            file.truncate()
            file.write(text)
            file.flush()

        write("# keys\nold\n")
        with Server("--api-key-file", file.name, "--api-key", "fixed") as server:
            assert [status(server, key) for key in ("old", "fixed", "new")] == [200, 200, 401]
            write("new\nnewer\n")
            assert status(server, "new") == 401
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda: status(server, "new") == 200, "the new key")
            assert [status(server, key) for key in ("old", "fixed", "newer")] == [401, 200, 200]
            write("# none is left\n")
            server.process.send_signal(signal.SIGHUP)
            server.wait_for_log(lambda line: "stay as they are" in line)
            assert [status(server, key) for key in ("new", "other")] == [200, 401]
            assert "newer" not in server.log()


@case
def keys_that_cannot_be_read_keep_the_server_from_starting():
    empty = os.path.join(harness.temporary_folder(), "empty")
    open(empty, "w", encoding="ascii").close()
    for arguments, words in ((("--api-key-file", "/nowhere/keys"), "/nowhere/keys"),
                             (("--api-key-file", empty), "holds no API key"),
                             (("--api-key-file", os.devnull), "not a regular file but a device"),
                             (("--api-key", ","), "no API key"),
                             (("--api-key", "k" * 600), "longer than")):
        result = run_binary("--model-id", small_model(), "--hostname", "127.0.0.1", "--port", "0", *arguments)
        assert result.returncode == 1 and words in result.stderr, result


@case
def sighup_without_a_file_of_keys_does_no_harm():
    with Server() as server:
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log(lambda line: "SIGHUP" in line)
        server.check_alive()


def allowed(response):
    return response.headers.get("access-control-allow-origin")


@case
def pages_of_allowed_origins_may_call():
    with Server("--cors-allow-origin", "https://a.example,https://b.example", "--cors-allow-origin",
                "http://localhost:8080", "--api-key", "k") as server:
        for origin in ("https://a.example", "https://b.example", "http://localhost:8080"):
            response = server.rerank(GOOD, {"Origin": origin, **bearer("k")})
            assert response.status == 200 and allowed(response) == origin, response
            assert "x-truncated-count" in response.headers["access-control-expose-headers"], response
            refused = server.rerank(GOOD, {"Origin": origin})
            assert refused.status == 401 and allowed(refused) == origin, refused
            asked = server.request("OPTIONS", "/v1/rerank", headers={
                "Origin": origin, "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type"})
            assert asked.status == 204 and allowed(asked) == origin and asked.body == b"", asked
            assert "POST" in asked.headers["access-control-allow-methods"], asked
            assert "authorization" in asked.headers["access-control-allow-headers"], asked
        for origin in ("https://c.example", "https://a.example.evil", "http://a.example", "null", "",
                       "https://a.example, https://b.example"):
            response = server.rerank(GOOD, {"Origin": origin, **bearer("k")})
            assert response.status == 200 and allowed(response) is None, response
        assert "origin" in server.request("GET", "/health").headers["vary"].lower()
        plain = server.request("OPTIONS", "/rerank")
        assert plain.status == 405 and plain.headers["allow"] == "POST", plain


@case
def any_origin_may_call_where_a_star_says_so_and_none_by_default():
    with Server("--cors-allow-origin", "*") as server:
        assert allowed(server.rerank(GOOD, {"Origin": "https://x.example"})) == "*"
        assert allowed(server.request("GET", "/nothing", headers={"Origin": "https://x.example"})) == "*"
    response = shared().rerank(GOOD, {"Origin": "https://x.example"})
    assert allowed(response) is None and "vary" not in response.headers, response
    asked = shared().request("OPTIONS", "/rerank", headers={"Origin": "https://x.example",
                                                            "Access-Control-Request-Method": "POST"})
    assert asked.status == 405 and allowed(asked) is None, asked


@case
def a_trace_context_is_taken_over_into_the_logs():
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with Server("--json-output") as server:
        server.rerank(GOOD, {"traceparent": f"00-{trace}-{parent}-01", "x-request-id": "traced"})
        server.rerank(GOOD, {"traceparent": f"00-{trace.upper()}-{parent}-01", "x-request-id": "hostile"})
        (line,) = server.wait_for_log(lambda line: "traced" in line)
        entry = json.loads(line)
        assert entry["trace_id"] == trace and entry["parent_id"] == parent, entry
        assert entry["dialect"] == "tei", entry
        (line,) = server.wait_for_log(lambda line: "hostile" in line)
        assert "trace_id" not in json.loads(line), line
    with Server() as server:
        server.rerank(GOOD, {"traceparent": f"00-{trace}-{parent}-01"})
        server.wait_for_log(lambda line: f"trace={trace} parent={parent}" in line)


def temporary_path():
    return os.path.join(harness.temporary_folder(), "socket")


@case
def a_socket_in_the_file_system_is_its_owners_alone_and_goes_with_the_server():
    path = temporary_path()
    before = os.umask(0)
    try:
        server = Server(unix_socket=path)
    finally:
        os.umask(before)
    with server:
        about = os.lstat(path)
        assert stat.S_ISSOCK(about.st_mode) and stat.S_IMODE(about.st_mode) == 0o600, oct(about.st_mode)
        server.check_alive()
        answers = harness.in_parallel([lambda: server.rerank(GOOD).status] * 8)
        assert answers == [200] * 8, answers
        try:
            socket.create_connection(("127.0.0.1", server.port), 1).close()
        except OSError:
            pass
        else:
            raise AssertionError("it listens by TCP too")
    assert not os.path.exists(path)


@case
def only_a_socket_that_nobody_listens_on_is_replaced():
    path = temporary_path()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    with Server(unix_socket=path) as server:
        server.check_alive()
        second = run_binary("--model-id", small_model(), "--unix-socket", path)
        assert second.returncode == 1 and path in second.stderr, second
        server.check_alive()
    with open(path, "w", encoding="ascii") as file:
        file.write("precious")
    result = run_binary("--model-id", small_model(), "--unix-socket", path)
    assert result.returncode == 1 and path in result.stderr, result
    with open(path, encoding="ascii") as file:
        assert file.read() == "precious"
    result = run_binary("--model-id", small_model(), "--unix-socket", "/tmp/" + "x" * 200)
    assert result.returncode == 1 and "bytes" in result.stderr, result


@case
def a_file_that_took_the_sockets_place_is_left_alone():
    path = temporary_path()
    with Server(unix_socket=path) as server:
        os.unlink(path)
        with open(path, "w", encoding="ascii") as file:
            file.write("precious")
        server.terminate()
        server.wait_for_end()
    with open(path, encoding="ascii") as file:
        assert file.read() == "precious"


if __name__ == "__main__":
    sys.exit(harness.main())
