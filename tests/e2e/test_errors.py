#!/usr/bin/env python3
"""Requests that must be refused: each gets TEI's status and error body, and the server lives on."""

import json
import re
import select
import sys

import harness
from harness import case, expect_error, shared

GOOD = {"query": "q", "texts": ["a", "b"]}


def without(name):
    return {key: value for key, value in GOOD.items() if key != name}


def refuse(body, status, error_type, words=""):
    expect_error(shared().rerank(body), status, error_type, words)


@case
def malformed_json_is_400():
    for body in (b"", b" ", b"{", b"[1,", b"{'query':'q','texts':['a']}", b"nonsense",
                 b'{"query":"q","texts":["a"]}}', b'{"query":"q","texts":["a",]}',
                 b'{"query":"q\x01","texts":["a"]}', b'{"query":"q","texts":["a"],"n":1e999}',
                 b'{"query":"q","texts":["a"],"n":99999999999999999999999}'):
        refuse(body, 400, "Validation", "invalid JSON")
    shared().check_alive()


@case
def invalid_utf8_is_400():
    for bad in (b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"):
        refuse(b'{"query":"' + bad + b'","texts":["a"]}', 400, "Validation", "invalid JSON")
        refuse(b'{"query":"q","texts":["' + bad + b'"]}', 400, "Validation", "invalid JSON")
    shared().check_alive()


@case
def lone_surrogates_are_400():
    for escape in (b"\\ud800", b"\\udc00", b"\\ud800\\u0041"):
        refuse(b'{"query":"' + escape + b'","texts":["a"]}', 400, "Validation")


@case
def missing_fields_are_422_and_named():
    refuse(without("query"), 422, "Validation", "missing field `query`")
    refuse(without("texts"), 422, "Validation", "missing field `texts`")
    refuse({}, 422, "Validation", "missing field")


@case
def wrong_types_are_422_and_named():
    for field, value in (("query", 1), ("query", None), ("query", ["q"]), ("query", {}),
                         ("texts", None), ("texts", "a"), ("texts", {}), ("texts", [1]),
                         ("texts", [True]), ("texts", [["a"]]), ("truncate", "yes"),
                         ("truncate", 1), ("raw_scores", 0), ("return_text", "true"),
                         ("truncation_direction", "up"), ("truncation_direction", 1)):
        refuse({**GOOD, field: value}, 422, "Validation", f"`{field}")
    for body in (b"[]", b"1", b'"text"', b"null", b"true"):
        refuse(body, 422, "Validation", "object")


@case
def empty_texts_are_400():
    refuse({"query": "q", "texts": []}, 400, "Empty", "`texts` cannot be empty")


@case
def too_many_texts_are_422():
    refuse({"query": "q", "texts": ["a"] * 1001}, 422, "Validation",
           "batch size 1001 > maximum allowed batch size 1000")


@case
def a_hundred_thousand_texts_are_422():
    refuse({"query": "q", "texts": ["some text"] * 100000}, 422, "Validation", "100000")
    shared().check_alive()


@case
def millions_of_json_values_are_refused():
    response = shared().rerank(b'{"query":"q","texts":["a"],"x":[' + b"0," * 4000000 + b"0]}")
    assert response.status in (400, 413, 422), response
    shared().check_alive()


@case
def deep_nesting_is_400():
    for opening in (b"[", b'{"a":'):
        refuse(opening * 400000, 400, "Validation")
        refuse(b'{"query":"q","texts":["a"],"x":' + opening * 100000, 400, "Validation")
    shared().check_alive()


def send_until_answered(connection, pieces):
    """Sends as an HTTP client does: stops where the answer comes before the end of the body."""
    try:
        for piece in pieces:
            if select.select([connection.socket], [], [], 0)[0]:
                break
            connection.send(piece)
    except OSError:
        pass  # closed by the server: the answer, if there is one, can still be read
    return connection.response()


@case
def a_body_of_100_mb_is_413():
    size = 100 * 1000 * 1000
    head = ("POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {size}\r\n\r\n").encode()
    pieces = [head] + [b" " * 100000] * (size // 100000)
    with shared().connect() as connection:
        expect_error(send_until_answered(connection, pieces), 413, "Validation")
    shared().check_alive()


@case
def a_chunked_body_of_20_mb_is_413():
    head = (b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = b"%x\r\n" % 100000 + b" " * 100000 + b"\r\n"
    with shared().connect() as connection:
        answer = send_until_answered(connection, [head] + [chunk] * 200 + [b"0\r\n\r\n"])
    expect_error(answer, 413, "Validation")
    shared().check_alive()


@case
def a_body_just_over_the_limit_is_413_and_one_at_the_limit_is_read():
    body = json.dumps(GOOD).encode()
    with harness.Server("--payload-limit", "1000") as server:
        assert server.rerank(body + b" " * (1000 - len(body))).status == 200
        expect_error(server.rerank(body + b" " * (1001 - len(body))), 413, "Validation")
        server.check_alive()


@case
def an_absurd_content_length_is_refused():
    for length in ("99999999999999999999999", "-1", "ten", "0x10"):
        with shared().connect() as connection:
            connection.send(b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                            b"Content-Length: " + length.encode() + b"\r\n\r\n")
            assert connection.response().status in (400, 413), length
    shared().check_alive()


@case
def unknown_paths_are_404():
    for path in ("/nothing", "/rerank/more", "/RERANK", "/health/", "/../rerank", "/%00",
                 "/" + "long" * 2000):
        expect_error(shared().request("GET", path), 404, "Validation")
    expect_error(shared().request("POST", "/nothing", b"{}"), 404, "Validation")


@case
def wrong_methods_are_405_and_tell_the_right_one():
    for method, path, allowed in (("GET", "/rerank", "POST"), ("PUT", "/rerank", "POST"),
                                  ("DELETE", "/rerank", "POST"), ("POST", "/info", "GET"),
                                  ("POST", "/health", "GET"), ("DELETE", "/metrics", "GET"),
                                  ("PATCH", "/info", "GET")):
        response = shared().request(method, path, b"{}" if method != "GET" else None)
        expect_error(response, 405, "Validation")
        assert allowed in response.headers["allow"], response


@case
def a_body_that_is_not_declared_as_json_is_415():
    body = json.dumps(GOOD).encode()
    for declared in (None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx",
                     "multipart/form-data; boundary=x"):
        response = shared().rerank(body, {"Content-Type": declared})
        expect_error(response, 415, "Validation")
    for declared in ("application/json", "application/json; charset=utf-8", "Application/JSON"):
        assert shared().rerank(body, {"Content-Type": declared}).status == 200, declared


@case
def what_is_not_http_is_refused_or_cut_off():
    for rubbish in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
                    b"GET\r\n\r\n", b"\r\n" * 1000, b"GET / HTTP/9.9\r\n\r\n",
                    b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 1000000 + b"\r\n\r\n",
                    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 100000 + b"\r\n"):
        with shared().connect() as connection:
            connection.socket.settimeout(1)  # what does not end in a line may also just be waited for
            try:
                connection.send(rubbish)
                answer = connection.stream.readline()
            except OSError:
                continue
            assert re.match(rb"HTTP/1.1 [45]\d\d |$", answer), answer
    shared().check_alive()


@case
def too_long_a_text_is_422_where_truncation_is_refused():
    body = {"query": "q", "texts": ["a short one", "word " * 5000], "truncate": False}
    refuse(body, 422, "Validation", "must have less than")
    assert shared().rerank({**body, "truncate": True}).status == 200


if __name__ == "__main__":
    sys.exit(harness.main())
