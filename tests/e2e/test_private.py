#!/usr/bin/env python3
"""What never reaches the log: any byte of a body, and the values of headers. A marker stands wherever a message might quote what the
client sent; the client may be told of it, the log may not."""

import contextlib
import gzip
import json
import sys

import harness
from harness import Server, case, golden_model, request_bytes

MARK = "xyzzy"  # also cut at the 20 bytes that a parser quotes, and within a longer word
TEXT = f"{MARK} a text"
LISTS = {"/rerank": "texts", "/": "texts", "/v1/rerank": "documents", "/v2/rerank": "documents", "/reranking": "documents",
         "/v1/reranking": "documents", "/documents": "documents"}


def malformed():
    """The marker right where the parser fails, and around it."""
    for body in ('{"query": MARK}', '{"query": "a" MARK}', '{MARK: 1}', '{"a": "\\uMARK"}', '{"a": "\\MARK"}', '{"MARK": tru}', '[MARK',
                 'MARK', '{"query": "MARK', '{"query": "MARK\x01"}', '{"a": 1MARK}', '{"a": 12345678901234567890123MARK}',
                 '{"a": 1}MARK', '"MARK', '{"a": "\\ud800MARK"}', "{'MARK': 1}", '{"query": nullMARK}', '{"MARK": 1, "MARK": }'):
        yield body.replace("MARK", MARK).encode()
    yield b'{"query": "' + MARK.encode() + b'\xff' + MARK.encode() + b'"}'
    yield MARK.encode() + b'\x00' + MARK.encode()


def well_formed(path):
    """Every member of a wrong type, unknown values, ids, fields of objects; texts that are too long, or too many."""
    texts = LISTS[path]
    good = {"query": TEXT, texts: [TEXT, MARK]} if path != "/documents" else {texts: [TEXT, MARK]}
    yield good
    for name in ("query", texts, "truncate", "raw_scores", "return_text", "return_documents", "top_n", "model", "priority",
                 "timeout_ms", "on_timeout", "truncation_direction", "truncation_strategy", "max_tokens_per_doc",
                 "max_chunks_per_doc", "truncate_prompt_tokens", "rank_fields", "top_k", "return_embeddings", "user"):
        for value in (MARK, [MARK], {MARK: MARK}, [{MARK: MARK}], [[MARK]]):
            yield {**good, name: value}
    yield {MARK: MARK}
    yield {**good, MARK: MARK}
    yield {**good, texts: [{"id": MARK}]}
    yield {**good, texts: [{"id": MARK * 80}]}
    yield {**good, texts: [{"id": MARK + "\0"}]}
    yield {**good, texts: [{"id": {MARK: MARK}}]}
    yield {**good, texts: [{"id": MARK, "text": {MARK: MARK}}]}
    yield {**good, texts: [{"id": MARK, "text": TEXT}, {"id": MARK, "text": TEXT}]}
    yield {**good, texts: [{MARK: 1}], "rank_fields": [MARK]}
    yield {**good, texts: [{MARK: [MARK]}], "rank_fields": [MARK]}
    yield {**good, texts: [{MARK: TEXT}], "rank_fields": [MARK, TEXT]}
    yield {**good, texts: [{"text": [MARK]}], "rank_fields": ["text"]}
    yield {**good, texts: [TEXT] * 2000}
    yield {**good, texts: [f"{MARK} " * 2000], "truncate": False, "query": f"{MARK} " * 2000}
    yield MARK
    yield [MARK]


OTHER = {
    "/predict": [{"inputs": MARK}, {"inputs": [[MARK, MARK, MARK]]}, {"inputs": {MARK: MARK}}, {"inputs": [[MARK], MARK]},
                 {"inputs": TEXT, "raw_scores": MARK}],
    "/score": [{"text_1": MARK, "text_2": {MARK: MARK}}, {"text_1": [MARK, MARK], "text_2": [MARK] * 3},
               {"queries": MARK, "documents": [{MARK: MARK}]}, {"data_1": [MARK], "data_2": [MARK], "model": [MARK]}],
}

HEADERS = ({"Authorization": f"Bearer {MARK}"}, {"Authorization": MARK}, {"x-request-timeout-ms": MARK},
           {"x-request-priority": MARK}, {"x-request-on-timeout": MARK}, {"Content-Type": MARK}, {"Content-Encoding": MARK},
           {"Accept-Encoding": MARK}, {"x-request-id": f"{MARK} no id"}, {"traceparent": MARK}, {"tracestate": MARK},
           {"Cookie": MARK}, {"Host": MARK}, {"User-Agent": MARK}, {"Expect": MARK}, {MARK: MARK}, {"Content-Length": MARK},
           {"Transfer-Encoding": MARK}, {"Connection": MARK}, {"Upgrade": MARK}, {"Origin": f"https://{MARK}"})


def send(server, path, body, headers=None):
    """What cannot be framed may be answered by silence, which is not waited for."""
    with contextlib.suppress(OSError), server.connect() as connection:
        connection.socket.settimeout(2)
        connection.send(request_bytes("POST", path, body, headers))
        return connection.response("POST")


def send_everything(server, key):
    told = 0
    for path in (*LISTS, *OTHER):
        bodies = list(malformed())
        bodies += [json.dumps(body).encode() for body in (well_formed(path) if path in LISTS else OTHER[path])]
        with server.connect() as connection:
            for body in bodies:
                connection.send_request("POST", path, body, key)
                response = connection.response("POST")
                told += MARK.encode() in response.body and response.status >= 400
        send(server, path, gzip.compress(MARK.encode())[:-4] + MARK.encode(), {**key, "Content-Encoding": "gzip"})
    good = json.dumps({"query": TEXT, "texts": [TEXT]}).encode()
    for headers in HEADERS:
        send(server, "/rerank", good, {**key, **headers})
    return told


def send_what_is_no_request(server):
    """A body behind another, by a wrong Content-Length, looks like a request line or like nothing."""
    tail = json.dumps({"query": TEXT, "texts": [MARK]})
    for junk in (tail, f"{MARK} {MARK} {MARK}", f"{MARK} /{MARK} HTTP/1.1\r\nHost: a\r\n\r\n", f"GET {MARK} HTTP/1.1\r\nHost: a\r\n\r\n",
                 f"GET /health HTTP/{MARK}\r\n\r\n", f"GET /health HTTP/1.1\r\n{MARK}\r\n\r\n",
                 f"GET /health HTTP/1.1\r\nHost: a\r\n{MARK}: {MARK}\r\n {MARK}\r\n\r\n"):
        with contextlib.suppress(OSError), server.connect() as connection:
            connection.socket.settimeout(2)
            connection.send(request_bytes("POST", "/rerank", b"{}", {"Connection": "keep-alive"}) + junk.encode() + b"\r\n\r\n")
            connection.response("POST")
            connection.response("POST")


def expect_silence(*options):
    with Server("--log-level", "debug", "--api-key", "s3cretkey", *options, model=golden_model("bi-encoder")) as server:
        key = {"Authorization": "Bearer s3cretkey"}
        told = send_everything(server, key)
        assert told > 20, told  # the places are quoted indeed, to the client
        send_what_is_no_request(server)
        response = server.request("POST", "/rerank", b'{"query": ', {**key, "x-request-id": "the-last"})
        assert response.status == 400, response
        line = server.wait_for_log(lambda line: "the-last" in line)[0]
        assert "invalid JSON at line 1 column 10" in line, line  # what is wrong is told all the same
        log = server.log()
        assert MARK not in log, [line for line in log.splitlines() if MARK in line][:5]
        assert "s3cretkey" not in log, log


@case
def nothing_of_a_request_is_in_the_log():
    expect_silence()


@case
def nor_in_the_log_as_json():
    expect_silence("--json-output")


@case
def nor_with_every_request_slow():
    expect_silence("--slow-request-ms", "1", "--cache-bytes", "100000")


if __name__ == "__main__":
    sys.exit(harness.main())
