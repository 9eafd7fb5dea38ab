#!/usr/bin/env python3
"""What the dialects share: forms of scores, ties, lengths, usage, compression, errors that help."""

import ctypes
import ctypes.util
import gzip
import json
import math
import sys
import time
import zlib

import harness
from harness import SLOW, Server, case, golden_model, shared

QUERY = "who built the bridge over the river"
DOCUMENTS = ["Bread is flour, water and salt.", "The old stone bridge over the river was built by the town.",
             "Bread is flour, water and salt.", "winter"]
LONG = "the river and the stone " * 200  # a thousand tokens


def post(path, body, headers=None, server=None):
    return (server or shared()).request("POST", path, json.dumps(body).encode(), headers)


def good(path, body, headers=None, server=None):
    response = post(path, body, headers, server)
    assert response.status == 200, response
    return response.json()


def by_index(results, score="relevance_score"):
    return {entry["index"]: entry[score] for entry in results}


def near(one, other, tolerance=1e-4):
    return one.keys() == other.keys() and all(abs(one[key] - other[key]) < tolerance for key in one)


def documents_body(**more):
    return {"query": QUERY, "documents": DOCUMENTS, **more}


@case
def all_dialects_agree_on_the_scores():
    tei = by_index(good("/rerank", {"query": QUERY, "texts": DOCUMENTS}), "score")
    raw = by_index(good("/rerank", {"query": QUERY, "texts": DOCUMENTS, "raw_scores": True}), "score")
    assert near(tei, {index: 1 / (1 + math.exp(-logit)) for index, logit in raw.items()}, 1e-5)
    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        assert near(by_index(good(path, documents_body())["results"]), tei), path
        assert near(by_index(good(path, documents_body(use_activation=False))["results"]), raw), path
    assert near(by_index(good("/v1/rerank", documents_body(top_k=None))["data"]), tei)
    assert near(by_index(good("/rerank", documents_body(raw_scores=True))["results"]), raw)
    for path in ("/reranking", "/v1/reranking"):
        assert near(by_index(good(path, documents_body())["results"]), raw), path
        assert near(by_index(good(path, {"query": QUERY, "texts": DOCUMENTS}), "score"), raw), path
    for path in ("/score", "/v1/score"):
        answer = good(path, {"text_1": QUERY, "text_2": DOCUMENTS})
        assert [entry["index"] for entry in answer["data"]] == list(range(len(DOCUMENTS))), answer
        assert near(by_index(answer["data"], "score"), tei), path
        pairs = good(path, {"text_1": [QUERY] * len(DOCUMENTS), "text_2": DOCUMENTS})
        assert near(by_index(pairs["data"], "score"), tei), path
    predicted = good("/predict", {"inputs": [[QUERY, document] for document in DOCUMENTS]})
    assert near({index: entry[0]["score"] for index, entry in enumerate(predicted)}, tei)
    assert {entry[0]["label"] for entry in predicted} == {"LABEL_0"}, predicted


@case
def ties_keep_the_order_of_the_caller_and_top_n_cuts_after_ranking():
    whole = good("/v1/rerank", documents_body())["results"]
    order = [entry["index"] for entry in whole]
    assert order.index(0) < order.index(2), whole
    for n in range(6):
        for path, name, list_name in (("/v1/rerank", "top_n", "results"), ("/v1/rerank", "top_k", "data"),
                                      ("/v2/rerank", "top_n", "results"), ("/rerank", "top_n", "results"),
                                      ("/reranking", "top_n", "results")):
            cut = good(path, documents_body(**{name: n}))[list_name]
            assert [entry["index"] for entry in cut] == (order[:n] if n else order), (path, n, cut)


@case
def usage_tells_the_tokens_that_were_read():
    body = documents_body(documents=DOCUMENTS[:2] + [LONG])
    for path in ("/rerank", "/v1/rerank", "/reranking"):
        response = post(path, body)
        tokens = int(response.headers["x-compute-tokens"])
        usage = response.json()["usage"]
        assert usage == {"prompt_tokens": tokens, "total_tokens": tokens} and tokens > 512, response
    meta = good("/v2/rerank", {"query": "river", "documents": ["bread"] * 101})["meta"]
    assert meta["billed_units"] == {"search_units": 2}, meta
    assert meta["tokens"]["input_tokens"] == 5, meta  # identical documents are read once


@case
def a_truncated_document_is_told():
    response = post("/v2/rerank", {"query": QUERY, "documents": [LONG, "short", LONG + "er"]})
    assert response.headers["x-truncated-count"] == "2", response
    told = {entry["index"]: (entry["tokens"], entry.get("truncated")) for entry in response.json()["results"]}
    assert told[0] == (1000, True) and told[1][1] is None and told[2][1] is True, told
    assert shared().rerank({"query": QUERY, "texts": [LONG]}).headers["x-truncated-count"] == "1"
    assert shared().rerank({"query": QUERY, "texts": [LONG] * 3}).headers["x-truncated-count"] == "3"
    with Server(model=golden_model("bi-encoder")) as server:
        both = server.rerank({"query": LONG, "texts": ["a", LONG]})
        assert both.headers["x-truncated-count"] == "2", both


def score(path="/v2/rerank", **body):
    return good(path, body)["results"][0]["relevance_score"]


@case
def the_query_keeps_its_tokens_unless_the_longer_first_is_asked_for():
    query = "who built the old stone bridge " * 35  # 350 tokens
    only = score(query=query, documents=[LONG])
    assert abs(only - score(query=query, documents=[LONG], truncation_strategy="only_second")) < 1e-6
    longest = score(query=query, documents=[LONG], truncation_strategy="longest_first")
    assert abs(only - longest) > 1e-4, (only, longest)
    assert abs(longest - score(query=query, documents=[LONG], truncation_direction="right")) < 1e-6
    texts = {"query": query, "texts": [LONG]}
    assert abs(good("/rerank", texts)[0]["score"] - only) < 1e-5
    assert abs(good("/rerank", {**texts, "truncate": True})[0]["score"] - longest) < 1e-5


@case
def a_query_that_leaves_no_room_is_refused_in_words():
    for path in ("/v1/rerank", "/v2/rerank", "/rerank", "/reranking"):
        response = post(path, {"query": LONG, "documents": ["a"]})
        assert response.status == 422, response
        assert "query of 1000 tokens leaves no room" in response.json()["error"]["message"], response
        assert response.json()["error"]["param"] == "query", response
        assert post(path, {"query": LONG, "documents": ["a"], "truncation_strategy": "longest_first"}
                    ).status == 200
    assert shared().rerank({"query": LONG, "texts": ["a"]}).status == 200  # as its own server would
    with Server(model=golden_model("bi-encoder")) as server:
        response = post("/v2/rerank", {"query": LONG, "documents": ["a"]}, server=server)
        assert response.status == 422 and "query of" in response.json()["message"], response
        assert server.rerank({"query": LONG, "texts": ["a"]}).status == 200


@case
def bounds_on_tokens_are_kept():
    cut = post("/v2/rerank", {"query": "river", "documents": [LONG], "max_tokens_per_doc": 10})
    assert int(cut.headers["x-compute-tokens"]) == 1 + 10 + 3, cut
    first = LONG.split()
    assert abs(cut.json()["results"][0]["relevance_score"] -
               score(query="river", documents=[" ".join(first[:10])])) < 1e-5
    pair = post("/v1/rerank", {"query": "river", "documents": [LONG], "truncate_prompt_tokens": 20})
    assert int(pair.headers["x-compute-tokens"]) == 20, pair
    response = post("/v1/rerank", {"query": QUERY, "documents": [LONG], "truncation": False})
    assert response.status == 422 and "must have less than" in response.json()["detail"], response
    assert response.json()["error"]["param"] == "documents", response
    with Server("--auto-truncate", "false") as server:
        response = post("/score", {"text_1": "river", "text_2": ["stone", LONG]}, server=server)
        assert response.status == 422 and response.json()["error"]["param"] == "text_2", response


@case
def a_bi_encoder_is_clamped_only_where_scores_are_promised_to_be_0_to_1():
    with Server(model=golden_model("bi-encoder")) as server:
        texts = [f"text {i} of stone and bread" * (i % 5) for i in range(40)]
        cosines = by_index(good("/rerank", {"query": "ship?", "texts": texts}, server=server), "score")
        body = {"query": "ship?", "documents": texts}
        assert near(by_index(good("/rerank", body, server=server)["results"]), cosines)
        for path in ("/v1/rerank", "/v2/rerank"):
            clamped = {index: min(max(cosine, 0), 1) for index, cosine in cosines.items()}
            assert near(by_index(good(path, body, server=server)["results"]), clamped)
        response = post("/predict", {"inputs": "text"}, server=server)
        harness.expect_error(response, 424, "Backend", "not a classifier")
        pair = good("/score", {"text_1": ["ship?"] * 2, "text_2": texts[1:3]}, server=server)
        assert near(by_index(pair["data"], "score"), {0: cosines[1], 1: cosines[2]})


@case
def both_encodings_of_unicode_mean_the_same_everywhere():
    for path in ("/rerank", "/v1/rerank", "/v2/rerank", "/reranking"):
        body = {"query": "caf\u00e9 \U0001f600", "documents": ["\U0001d4d0 text", "\u4e2d\u6587"]}
        escaped = shared().request("POST", path, json.dumps(body).encode()).json()
        plain = shared().request("POST", path, json.dumps(body, ensure_ascii=False).encode()).json()
        assert escaped["results"] == plain["results"], (escaped, plain)


@case
def slashes_in_a_row_are_one():
    assert good("//rerank", {"query": "q", "texts": ["a"]})
    assert good("/v1//rerank", documents_body())["results"]
    assert good("//v2///rerank", documents_body())["results"]
    assert shared().request("GET", "//health").status == 200
    assert shared().request("GET", "/rerank/").status == 404


@case
def chunked_bodies_expect_and_keep_alive_work_on_every_path():
    raw = json.dumps(documents_body()).encode()
    with shared().connect() as connection:
        for path in ("/v1/rerank", "/v2/rerank", "/reranking", "/rerank"):
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()
            connection.send(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(raw) + raw +
                            b"\r\n0\r\n\r\n")
            assert connection.response().status == 200
            connection.send(head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(raw))
            status, _ = connection.head()
            assert status == 100, status
            connection.send(raw)
            assert connection.response().status == 200


# --- compression ---


class Zstd:
    """libzstd, which the server needs too."""

    def __init__(self):
        name = ctypes.util.find_library("zstd")
        if name is None:
            raise harness.Skip("libzstd is not to be found")
        self.library = ctypes.CDLL(name)
        for function in ("ZSTD_compress", "ZSTD_decompress", "ZSTD_compressBound"):
            getattr(self.library, function).restype = ctypes.c_size_t

    def compress(self, data):
        room = self.library.ZSTD_compressBound(ctypes.c_size_t(len(data)))
        out = ctypes.create_string_buffer(room)
        size = self.library.ZSTD_compress(out, ctypes.c_size_t(room), data, ctypes.c_size_t(len(data)), 3)
        return out.raw[:size]

    def decompress(self, data, room=1 << 22):
        out = ctypes.create_string_buffer(room)
        size = self.library.ZSTD_decompress(out, ctypes.c_size_t(room), data, ctypes.c_size_t(len(data)))
        assert size <= room, "not zstd"
        return out.raw[:size]


MANY = {"query": QUERY, "documents": [f"document number {i}" for i in range(100)], "return_documents": True}


def unpacked(response, expected):
    assert response.status == 200, response
    assert response.headers.get("content-encoding") == expected, response
    if expected == "gzip":
        return json.loads(gzip.decompress(response.body))
    return json.loads(Zstd().decompress(response.body)) if expected else response.json()


@case
def packed_bodies_are_read():
    raw = json.dumps(MANY).encode()
    want = shared().request("POST", "/v1/rerank", raw).json()["results"]
    for name, body in (("gzip", gzip.compress(raw)), ("x-gzip", gzip.compress(raw)),
                       ("zstd", Zstd().compress(raw)), ("identity", raw)):
        response = shared().request("POST", "/v1/rerank", body, {"Content-Encoding": name})
        assert response.status == 200 and response.json()["results"] == want, (name, response)


@case
def answers_are_packed_where_that_is_wanted_and_worth_it():
    want = post("/v1/rerank", MANY).json()["results"]
    for accepted, expected in (("gzip", "gzip"), ("gzip, deflate", "gzip"), ("gzip, zstd", "zstd"),
                               ("zstd;q=0.1, gzip", "gzip"), ("identity", None), ("br", None), (None, None)):
        response = post("/v1/rerank", MANY, {"Accept-Encoding": accepted})
        assert unpacked(response, expected)["results"] == want, accepted
        if expected:
            assert response.headers["vary"] == "Accept-Encoding", response
    small = post("/v1/rerank", documents_body(documents=["a"]), {"Accept-Encoding": "gzip"})
    assert unpacked(small, None)["results"], small


@case
def a_body_that_would_unpack_beyond_the_limit_is_413():
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(bomb.compress(b" " * 1000000) for _ in range(200)) + bomb.flush()
    assert len(packed) < 1000000
    for name, body in (("gzip", packed), ("zstd", Zstd().compress(b" " * 20000000))):
        response = shared().request("POST", "/v1/rerank", body, {"Content-Encoding": name})
        assert response.status == 413, response
        assert "unpacked" in response.json()["message"], response
    shared().check_alive()


@case
def broken_packing_is_400_and_an_unknown_one_415():
    raw = json.dumps(MANY).encode()
    for name, body in (("gzip", raw), ("gzip", gzip.compress(raw)[:-5]), ("gzip", b""),
                       ("zstd", Zstd().compress(raw)[:-3]), ("zstd", gzip.compress(raw))):
        response = shared().request("POST", "/v1/rerank", body, {"Content-Encoding": name})
        assert response.status == 400 and f"not valid {name}" in response.json()["message"], response
    for name in ("br", "gzip, gzip", "deflate"):
        response = shared().request("POST", "/v1/rerank", raw, {"Content-Encoding": name})
        assert response.status == 415 and "zstd" in response.headers["accept-encoding"], response
    shared().check_alive()


@case
def busy_and_loading_servers_say_when_to_come_back():
    server = Server(wait=False)
    try:
        for _ in range(2000):
            try:
                response = post("/v2/rerank", documents_body(), server=server)
            except OSError:
                time.sleep(0.002)
                continue
            if response.status == 200:
                break
            assert response.status == 503 and response.headers["retry-after"] == "1", response
            assert "loading" in response.json()["message"], response
    finally:
        server.wait_until_healthy()
        server.stop()
    with Server("--max-concurrent-requests", "1", "--threads", "1") as server:
        heavy = harness.heavy_body(texts=60 if SLOW else 200)
        body = {"query": heavy["query"], "documents": heavy["texts"]}

        def refusal():
            answers = harness.in_parallel([lambda: post("/v1/rerank", body, server=server)] * 4)
            return [answer for answer in answers if answer.status == 429]

        response = harness.eventually(refusal, "a refusal")[0]
        assert 1 <= int(response.headers["retry-after"]) <= 120, response  # what this machine needs
        assert response.json()["error"]["code"] == 429 and response.json()["detail"], response


if __name__ == "__main__":
    sys.exit(harness.main())
