#!/usr/bin/env python3
"""What no request may look like, since a proxy in front could frame it otherwise: one refusal, logged and counted, and the
connection is closed. And what every request may look like."""

import json
import socket
import sys

import harness
from harness import case, eventually, shared

BODY = json.dumps({"query": "what", "texts": ["this", "that"]}).encode()
POST = b"POST /rerank HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
HIDDEN = b"GET /live HTTP/1.1\r\nHost: a\r\nx-request-id: HIDDEN\r\n\r\n"
SIZED = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


def answers(data, shut=False):
    """All that comes back until the server closes, or the client, once the server is silent."""
    with shared().connect() as connection:
        connection.socket.settimeout(harness.PATIENCE)
        try:
            connection.send(data)
        except OSError:
            pass  # it was refused before its end
        if shut:
            connection.socket.shutdown(socket.SHUT_WR)
        got = b""
        try:
            while piece := connection.socket.recv(65536):
                got += piece
        except ConnectionResetError:
            pass
        return got


def statuses(got):
    """The status of each answer."""
    found = []
    while got:
        head, got = got.split(b"\r\n\r\n", 1)
        lines = head.split(b"\r\n")
        assert lines[0].startswith(b"HTTP/1."), lines
        found.append(int(lines[0].split()[1]))
        sizes = [int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")]
        got = got[sizes[0]:] if sizes else got
    return found


def failures():
    return sum(value for name, value in shared().metrics().items() if name.startswith("te_requests_failed_total"))


def refused(data, status, words=""):
    """One JSON answer, the connection closed, a line in the log, a count."""
    before, lines = failures(), len(shared().log().splitlines())
    got = answers(data)
    assert statuses(got) == [status], (data[:200], got[:500])
    head, body = got.split(b"\r\n\r\n", 1)
    assert b"connection: close" in head.lower() and b"application/json" in head, head
    message = json.loads(body)
    assert words in json.dumps(message), (data[:200], message)
    assert b"HIDDEN" not in got, got
    assert failures() == before + 1, (data[:200], before, failures())
    eventually(lambda: [line for line in shared().log().splitlines()[lines:] if f" {status} " in line], "a line in the log")


@case
def unequal_and_repeated_lengths_are_refused():
    for lengths in ((b"2", b"%d" % (2 + len(HIDDEN))), (b"2", b"2"), (b"2", b"0")):
        refused(POST + b"".join(b"Content-Length: %s\r\n" % n for n in lengths) + b"\r\n{}" + HIDDEN, 400,
                "more than one Content-Length")
    for length in (b"2, 2", b"+2", b"-2", b"0x2", b"2 2", b"", b"two", b"2.0", b"2\t3"):
        refused(POST + b"Content-Length: " + length + b"\r\n\r\n{}" + HIDDEN, 400, "one number")


@case
def blanks_before_the_colon_are_refused():
    for name in (b"Content-Length ", b"Content-Length\t", b"Transfer-Encoding ", b"X-Any  "):
        refused(POST + name + b": %d\r\n\r\n" % len(HIDDEN) + HIDDEN, 400, "blank")


@case
def a_length_with_a_transfer_coding_is_refused():
    for order in (0, 1):
        fields = [b"Content-Length: %d\r\n" % (5 + len(HIDDEN)), b"Transfer-Encoding: chunked\r\n"]
        refused(POST + fields[order] + fields[1 - order] + b"\r\n0\r\n\r\n" + HIDDEN, 400, "Content-Length")


@case
def transfer_codings_other_than_chunked_are_501():
    for coding in (b"gzip", b"identity", b"chunked, gzip", b"gzip, chunked", b"chunked, chunked", b"xchunked", b"chunked;a=b",
                   b"\"chunked\"", b"", b"chunked,", b"chun ked"):
        refused(POST + b"Transfer-Encoding: " + coding + b"\r\n\r\n0\r\n\r\n" + HIDDEN, 501, "chunked")
    refused(POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n" + HIDDEN, 501, "chunked")


@case
def http_1_0_has_no_transfer_coding():
    head = POST.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n"
    refused(head + b"\r\n0\r\n\r\n" + HIDDEN, 400, "HTTP/1.0")
    refused(head + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN, 400, "HTTP/1.0")


@case
def control_characters_are_refused():
    for byte in (b"\0", b"\r", b"\n", b"\x01", b"\x0b", b"\x7f", b"\x1b"):
        refused(POST + b"X-Any: a" + byte + b"Content-Length: 5\r\n\r\n" + HIDDEN, 400)
        refused(POST + b"X-" + byte + b"ny: a\r\n\r\n" + HIDDEN, 400)
        refused(b"GET /li" + byte + b"ve HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN, 400)
        refused(POST + b"Transfer-Encoding: chunked" + byte + b"x\r\n\r\n0\r\n\r\n" + HIDDEN,
                400 if byte in b"\0\r\n\x01\x0b\x7f\x1b" else 501)
    refused(POST.replace(b"\r\n", b"\n") + b"\n" + HIDDEN, 400, "LF")
    refused(POST + b"Content-Length: 2\r\n\n{}" + HIDDEN, 400, "LF")


@case
def a_request_of_http_1_1_has_exactly_one_host():
    refused(b"GET /live HTTP/1.1\r\n\r\n", 400, "Host")
    refused(b"GET /live HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "Host")
    for host in (b"a b", b"a/b", b"a@b", b"a,b c", b"a\\b", b"<a>"):
        refused(b"GET /live HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", 400, "Host")
    for head in (b"GET /live HTTP/1.0\r\n\r\n", b"GET /live HTTP/1.1\r\nConnection: close\r\nHost:\r\n\r\n",
                 b"GET /live HTTP/1.1\r\nConnection: close\r\nHost: [::1]:80\r\n\r\n"):
        assert statuses(answers(head)) == [200], head


@case
def folded_lines_and_lines_without_colon_or_name_are_refused():
    for field in (b"X-Any: a\r\n b", b"X-Any: a\r\n\tb", b"no colon", b": nameless", b"X(y): a", b"X\xe9: a", b" X-Any: a"):
        refused(POST + field + b"\r\n\r\n", 400)


@case
def request_lines_are_strict():
    for line in (b"GET  /live HTTP/1.1", b"GET /live  HTTP/1.1", b"GET /live HTTP/1.1 ", b" GET /live HTTP/1.1", b"GET /live",
                 b"GET\t/live\tHTTP/1.1", b"GET live HTTP/1.1", b"GET /live http/1.1", b"GET /live HTTP/1.10", b"GET /live HTTP/11",
                 b"GET /a b HTTP/1.1", b"GET /\xc3\xa9 HTTP/1.1", b"G@T /live HTTP/1.1", b"GET /live#a HTTP/1.1", b"GET * HTTP/1.1",
                 b"GET http:///live HTTP/1.1", b"GET http://a@b/live HTTP/1.1", b"GET ftp://a/live HTTP/1.1"):
        refused(line + b"\r\nHost: a\r\n\r\n", 400)
    for line in (b"GET /live HTTP/2.0", b"PRI * HTTP/2.0", b"GET /live HTTP/0.9", b"GET /live HTTP/3.1"):
        refused(line + b"\r\nHost: a\r\n\r\n", 505, "HTTP/1.1")
    for line in (b"CONNECT a:80 HTTP/1.1", b"M" * 20 + b" /live HTTP/1.1"):
        refused(line + b"\r\nHost: a\r\n\r\n", 501)
    refused(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 400, "HTTPS")
    refused(b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414)


@case
def targets_in_all_their_forms_are_served():
    for target in (b"/live", b"/live?a=b", b"/live?", b"http://example.org/live", b"http://example.org:80/live?x", b"HTTP://A/live",
                   b"https://[::1]/live"):
        assert statuses(answers(b"GET " + target + b" HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")) == [200], target
    assert statuses(answers(b"GET http://example.org HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")) == [200]
    assert statuses(answers(b"\r\n\r\nGET /live HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")) == [200]


@case
def hundreds_of_arguments_are_no_reason_not_to_answer():
    for n in (300, 3000):
        target = b"/live?" + b"&".join(b"a%d=%d" % (i, i) for i in range(n))
        want = [200] if len(target) < 16000 else [414]
        assert statuses(answers(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")) == want, n


@case
def headers_of_64_kib_are_served_and_larger_ones_are_one_431():
    for name in (b"Cookie", b"X-Any", b"Authorization"):
        for size in (16000, 20000, 32000, 60000):
            field = name + b": " + b"a" * size + b"\r\n"
            got = answers(POST + field + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
            assert statuses(got) == [200], (name, size, got[:300])
        refused(POST + name + b": " + b"a" * 66000 + b"\r\n\r\n", 431, "header")
        refused(POST + name + b": " + b"a" * 660000 + b"\r\n\r\n", 431, "header")
    crumbs = b"".join(b"a%d:\r\n" % i for i in range(500))
    assert statuses(answers(b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + crumbs + b"\r\n")) == [200]
    refused(b"GET /live HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * 600 + b"\r\n", 431, "512")
    full = b"".join(b"a%03d:" % i + b"b" * 120 + b"\r\n" for i in range(500))  # and no blank to spare
    assert statuses(answers(b"GET /live HTTP/1.1\r\nHost:a\r\nConnection:close\r\n" + full + b"\r\n")) == [200]
    most = b"GET /" + b"a" * 16000 + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    assert statuses(answers(most + (b"tracestate: " + b"a" * 1900 + b"\r\n") * 10 + b"\r\n")) == [404]
    refused(most + (b"tracestate: " + b"a" * 1900 + b"\r\n") * 11 + b"\r\n", 431, "20480")
    cookies = b"Cookie: " + b"a=b; " * 12000 + b"\r\n"
    assert statuses(answers(b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + cookies + b"\r\n")) == [200]


@case
def what_is_expected_is_met_or_417():
    get = b"GET /live HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"
    last = b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert statuses(answers(get + last)) == [200, 200]
    refused(POST + b"Expect: a-miracle\r\nContent-Length: 2\r\n\r\n{}", 417, "100-continue")
    got = answers(POST + b"Expect: 100-Continue\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY + last)
    assert statuses(got) == [200, 200], got


@case
def chunks_are_strict():
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    whole = b"%x\r\n" % len(BODY) + BODY + b"\r\n"
    for chunks in (b"0x2\r\n{}\r\n0\r\n\r\n", b"2 \r\n{}\r\n0\r\n\r\n", b" 2\r\n{}\r\n0\r\n\r\n", b"2\n{}\r\n0\r\n\r\n", b"-2\r\n{}\r\n",
                   b"2\r\n{}x\r\n0\r\n\r\n", b"2\r\n{}\n0\r\n\r\n", b"\r\n", b";a\r\n", b"2;a\0\r\n{}", b"2;a\rb\r\n{}", b"g\r\n",
                   b"11111111111111111\r\n", whole + b"0\r\nno colon\r\n\r\n", whole + b"0\r\n: a\r\n\r\n", whole + b"0\r\nA: \0\r\n\r\n",
                   whole + b"0\r\n A: b\r\n\r\n", b"2;" + b"a" * 5000 + b"\r\n{}\r\n", whole + b"0\r\nA: " + b"b" * 9000 + b"\r\n\r\n"):
        refused(head + chunks + HIDDEN, 400)
    for chunks in (whole + b"0\r\n\r\n", whole.replace(b"\r\n", b";a=\"b\"\r\n", 1) + b"00\r\nA: b\r\nC:\r\n\r\n",
                   whole.replace(b"\r\n", b" ;a\r\n", 1) + b"0\r\n\r\n"):
        got = answers(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + chunks)
        assert statuses(got) == [200], (chunks, got)


@case
def a_bad_request_behind_good_ones_is_refused_in_its_turn():
    got = answers(SIZED + SIZED + b"GET /live HTTP/1.1\r\n\r\n" + HIDDEN)
    assert statuses(got) == [200, 200, 400] and b"HIDDEN" not in got, got


@case
def a_client_that_ends_its_sending_at_once_gets_its_answer():
    for data in (SIZED, POST + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n",
                 b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n", SIZED * 3):
        for _ in range(5 if harness.SLOW else 30):
            got = answers(data, shut=True).replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
            assert set(statuses(got)) == {200} and len(statuses(got)) == (3 if data == SIZED * 3 else 1), got


if __name__ == "__main__":
    sys.exit(harness.main())
