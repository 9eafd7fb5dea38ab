#!/usr/bin/env python3
"""The document cache: with it, cold, warm or half full, every reply is the same to the byte; documents seen before are
computed by nobody; POST /documents and documents by name; its bound, and what is refused."""

import hashlib
import json
import os
import sys
import tempfile

import harness
from harness import SLOW, Server, case, in_parallel, run_binary
from kinds import LONG, QUERY, RERANKS, TEXTS, ask, compare

GOLDEN = os.path.join(os.environ.get("RR_GOLDEN", ""), "score")
MEAN = os.path.join(GOLDEN, "bi-encoder-mean")
COLBERT = os.path.join(GOLDEN, "colbert")
SPLIT = os.path.join(GOLDEN, "split")
OFF = ("--document-cache-bytes", "0")
KNOWN = "Water and salt."  # what the tests of names call "a"


def requests():
    """Path and body of many kinds, with texts in common; every query twice."""
    for more in RERANKS:
        for query in (QUERY, "water and bread"):
            yield "/rerank", {"query": query, **more}
            if "documents" in more:
                yield "/v1/rerank", {"query": query, **more}
                yield "/v2/rerank", {"query": query, "model": "any", **more}
                yield "/v1/reranking", {"query": query, **more}
    yield "/score", {"text_1": QUERY, "text_2": TEXTS}
    yield "/score", {"text_1": TEXTS, "text_2": TEXTS[::-1]}
    yield "/score", {"text_1": [QUERY, QUERY, "new too"], "text_2": [TEXTS[0], TEXTS[0], LONG]}


def post(server, path, body):
    return server.request("POST", path, json.dumps(body).encode())


def counters(server):
    metrics = server.metrics()
    return tuple(int(metrics["te_document_cache_" + name]) for name in ("hits", "misses", "entries"))


def computed(server):
    return server.metrics()["te_batch_next_size_sum"]


@case
def replies_are_the_same_to_the_byte_whatever_is_at_hand():
    for model, scoring in ((MEAN, "cosine"), (MEAN, "maxsim"), (MEAN, "hybrid"), (COLBERT, "auto")):
        for dtype in ("float32",) if SLOW else ("float32", "bfloat16", "int8"):
            options = ("--dtype", dtype, "--scoring", scoring)
            with Server(*options, *OFF, model=model) as plain, Server(*options, model=model) as cached:
                reference = compare(plain, cached, requests())
                statuses = [status for status, *_ in reference]
                assert statuses.count(200) > 40 and 422 in statuses, statuses
                hits, misses, entries = counters(cached)
                assert hits > 5 * misses and misses >= entries > 15, (hits, misses, entries)
                assert counters(plain) == (0, 0, 0)


@case
def replies_are_the_same_with_both_caches():
    scores = ("--cache-bytes", "4000000")
    with Server(*OFF, model=MEAN) as plain, Server(*scores, model=MEAN) as cached:
        reference = compare(plain, cached, requests())
        assert [status for status, *_ in reference].count(200) > 40, reference
        assert counters(cached)[0] > 20 and cached.metrics()["te_cache_hits"] > 20


@case
def documents_seen_before_are_computed_by_nobody_and_the_query_once():
    with Server("--scoring", "maxsim", model=MEAN) as server:
        post(server, "/rerank", {"query": QUERY, "texts": TEXTS})
        assert counters(server) == (0, len(TEXTS), len(TEXTS))
        for number in range(3):
            before = computed(server)
            post(server, "/rerank", {"query": f"bread {number}", "texts": TEXTS[::-1]})
            assert computed(server) == before + 1
        before = computed(server)
        post(server, "/rerank", {"query": QUERY, "texts": [TEXTS[0], "winter bread", TEXTS[1], "winter bread"]})
        assert computed(server) == before + 2  # the query, "winter bread"
        assert counters(server)[2] == len(TEXTS) + 1


@case
def documents_are_kept_ahead_and_found_by_name_in_every_dialect():
    with Server(*OFF, model=MEAN) as plain, Server(model=MEAN) as server:
        answer = post(server, "/documents", {"documents": [{"id": "a", "text": KNOWN}, {"id": "b", "text": LONG}, "winter"]})
        assert answer.status == 200, answer
        told = answer.json()
        name = "sha256-" + hashlib.sha256(b"winter").hexdigest()
        assert [document["id"] for document in told["documents"]] == ["a", "b", name], told
        assert all(document["cached"] for document in told["documents"]), told
        assert [document.get("truncated") for document in told["documents"]] == [None, True, None], told
        assert told["documents"][1]["tokens"] == 1000 and told["computed"] == 3, told
        before = computed(server)
        again = post(server, "/documents", {"documents": [{"id": "c", "text": KNOWN}]}).json()
        assert again["computed"] == 0 and again["documents"][0]["cached"], again
        assert computed(server) == before
        given = [KNOWN, LONG, "winter", KNOWN]
        named = [{"id": "a"}, {"id": "b"}, {"id": name}, {"id": "c"}]
        for path, body, member in (("/rerank", {"return_text": True}, "texts"), ("/", {}, "texts"),
                                   ("/reranking", {"return_text": True}, "texts"),
                                   ("/rerank", {"return_documents": True}, "documents"),
                                   ("/rerank", {"top_k": 3, "return_documents": True}, "documents"),
                                   ("/rerank", {"truncate_prompt_tokens": None}, "documents"),
                                   ("/v1/rerank", {"return_documents": True}, "documents"),
                                   ("/v1/rerank", {"rank_fields": ["text"], "return_documents": True}, "documents"),
                                   ("/v2/rerank", {}, "documents"), ("/v1/reranking", {}, "documents")):
            before = computed(server)
            got = ask(server, path, {"query": QUERY, member: named, **body})
            assert computed(server) == before + 1, (path, body)
            assert got == ask(plain, path, {"query": QUERY, member: given, **body}), (path, body, got)
            assert got[0] == 200, got
        mixed = ask(server, "/rerank", {"query": QUERY, "texts": ["bread", {"id": "a"}, None]})
        assert mixed == ask(plain, "/rerank", {"query": QUERY, "texts": ["bread", KNOWN, ""]}), mixed


@case
def a_split_cross_encoder_s_documents_are_computed_once():
    """Its first layers' part of them: the first request is cold, the second, of another query, warm."""
    for dtype in ("float32",) if SLOW else ("float32", "bfloat16", "int8"):
        options = ("--dtype", dtype)
        with Server(*options, *OFF, model=SPLIT) as plain, Server(*options, model=SPLIT) as server:
            for query, hits in ((QUERY, 0), ("water and bread", len(TEXTS))):
                body = {"query": query, "texts": TEXTS}
                assert ask(server, "/rerank", body) == ask(plain, "/rerank", body)
                assert counters(server) == (hits, len(TEXTS), len(TEXTS)), counters(server)
            reference = compare(plain, server, requests())
            statuses = [status for status, *_ in reference]
            assert statuses.count(200) > 40 and 422 in statuses, statuses
            hits, misses, entries = counters(server)
            # "new here"; the first text for "left" and for 7 tokens too; of LONG, which no pair holds, its 7 tokens
            assert hits > 3 * misses and entries == len(TEXTS) + 4, (hits, misses, entries)
            assert counters(plain) == (0, 0, 0)


@case
def a_split_cross_encoder_s_documents_with_both_caches():
    with Server(*OFF, model=SPLIT) as plain, Server("--cache-bytes", "4000000", model=SPLIT) as server:
        compare(plain, server, requests())
        assert counters(server)[0] > 20 and server.metrics()["te_cache_hits"] > 20


@case
def what_a_query_s_pair_cuts_off_a_document_is_not_kept():
    """The same text is then warm for a short query and computed as usual for a long one, in either order."""
    fits, long_query = "the river and the stone " * 90, "bread and water " * 100  # 450 tokens, 300
    with Server(*OFF, model=SPLIT) as plain, Server(model=SPLIT) as server:
        for query, hits, misses, entries in ((long_query, 0, 1, 0), (QUERY, 0, 2, 1), (long_query, 1, 2, 1),
                                             (QUERY, 2, 2, 1)):
            body = {"query": query, "texts": [fits], "truncate": True}
            assert ask(server, "/rerank", body) == ask(plain, "/rerank", body), body
            assert counters(server) == (hits, misses, entries), (query, counters(server))
        refused = {"query": long_query, "texts": [fits], "truncate": False}
        assert ask(server, "/rerank", refused) == ask(plain, "/rerank", refused)
        assert ask(server, "/rerank", refused)[0] in (413, 422)


@case
def a_split_cross_encoder_s_documents_are_kept_ahead():
    with tempfile.TemporaryDirectory() as folder, Server(*OFF, model=SPLIT) as plain:
        with on_file(folder, model=SPLIT) as server:
            documents = [{"id": "a", "text": KNOWN}, "winter", {"id": "long", "text": LONG}]
            told = post(server, "/documents", {"documents": documents}).json()
            assert [document["cached"] for document in told["documents"]] == [True, True, False], told
            assert [document.get("truncated") for document in told["documents"]] == [None, None, True], told
            assert told["documents"][2]["tokens"] == 1000 and told["computed"] == 2, told
            assert post(server, "/documents", {"documents": documents}).json()["computed"] == 0
            short = {"documents": [{"id": "short", "text": LONG}], "max_tokens_per_doc": 50}
            assert post(server, "/documents", short).json()["documents"][0]["cached"]
            assert check_named(plain, server) == 2  # the long text as a whole, by either name
            assert server.request("GET", "/info").json()["document_cache_bytes"] == 64 << 20
        with on_file(folder, model=SPLIT) as server:
            check_named(plain, server)
            assert server.metrics()["te_document_file_hits"] == 6, server.metrics()  # three names, three kept states


def check_named(plain, server):
    """How many were not there. The long text has names; its kept state is there with the bound alone."""
    misses = counters(server)[1]
    for path, texts in (("/rerank", "texts"), ("/v1/rerank", "documents")):
        body = {"query": QUERY, texts: [{"id": "a"}, "winter"], "return_documents": False}
        wanted = {**body, texts: [KNOWN, "winter"]}
        assert ask(server, path, body) == ask(plain, path, wanted), path
    for more in ({}, {"max_tokens_per_doc": 50}):
        body = {"query": QUERY, "documents": [{"id": "long"}, {"id": "short"}], **more}
        got = ask(server, "/v2/rerank", body)
        assert got == ask(plain, "/v2/rerank", {**body, "documents": [LONG, LONG]}), got
    return counters(server)[1] - misses


@case
def a_document_by_name_obeys_the_request_s_options():
    """Its kept state is another then, and computed from the text that is kept."""
    with Server(*OFF, model=MEAN) as plain, Server(model=MEAN) as server:
        post(server, "/documents", {"documents": [{"id": "long", "text": LONG}]})
        for more in ({"max_tokens_per_doc": 5}, {"max_tokens_per_doc": 5, "truncation_direction": "left"}):
            for _ in range(2):
                got = ask(server, "/v2/rerank", {"query": QUERY, "documents": [{"id": "long"}], **more})
                assert got == ask(plain, "/v2/rerank", {"query": QUERY, "documents": [LONG], **more}), got
        refused = ask(server, "/rerank", {"query": QUERY, "texts": [{"id": "long"}], "truncate": False})
        assert refused == ask(plain, "/rerank", {"query": QUERY, "texts": [LONG], "truncate": False}), refused
        assert refused[0] == 422, refused


@case
def a_name_means_the_text_that_was_given_last():
    with Server(model=MEAN) as server:
        for text in ("bread", "stone", "bread"):
            post(server, "/documents", {"documents": [{"id": "x", "text": text}]})
            told = post(server, "/rerank", {"query": QUERY, "texts": [{"id": "x"}], "return_text": True}).json()
            assert told[0]["text"] == text, told


@case
def a_name_whose_new_text_cannot_be_kept_means_nothing():
    large = "stone " * 300000  # more than the cache holds
    arguments = ("--document-cache-bytes", "1048576", "--payload-limit", "4000000")
    with tempfile.TemporaryDirectory() as folder:
        for in_file in (False, True, True):
            with on_file(folder, *arguments) if in_file else Server(*arguments, model=MEAN) as server:
                post(server, "/documents", {"documents": [{"id": "x", "text": "bread"}]})
                told = post(server, "/documents", {"documents": [{"id": "x", "text": large}]}).json()
                assert told["documents"][0]["cached"] is False, told
                body = {"query": QUERY, "texts": [{"id": "x"}]}
                harness.expect_error(post(server, "/rerank", body), 422, "Validation", "'x'")
        with on_file(folder, *arguments) as server:
            harness.expect_error(post(server, "/rerank", body), 422, "Validation", "'x'")


@case
def unknown_names_are_refused_in_the_caller_s_dialect():
    with Server(model=MEAN) as server:
        post(server, "/documents", {"documents": [{"id": "a", "text": KNOWN}]})
        terse = post(server, "/rerank", {"query": QUERY, "texts": ["one", {"id": "a"}, {"id": "nobody"}]})
        harness.expect_error(terse, 422, "Validation", "`texts[2].id`: no document 'nobody' is kept")
        for path, more in (("/v1/rerank", {}), ("/v2/rerank", {}), ("/reranking", {}), ("/rerank", {"top_k": 1}),
                           ("/rerank", {})):
            response = post(server, path, {"query": QUERY, "documents": [{"id": "nobody"}], **more})
            assert response.status == 422, response
            told = response.json()
            assert "nobody" in told["message"] and told["error"]["param"] == "documents", told
        server.check_alive()


@case
def what_keeps_no_documents_says_so():
    body = {"query": QUERY, "texts": [{"id": "a"}]}
    with Server() as server:
        harness.expect_error(post(server, "/rerank", body), 422, "Validation", "cross-encoder")
        response = post(server, "/documents", {"documents": ["bread"]})
        assert response.status == 422 and "cross-encoder" in response.json()["message"], response
        assert server.request("GET", "/info").json()["document_cache_bytes"] is None
    with Server(*OFF, model=MEAN) as server:
        harness.expect_error(post(server, "/rerank", body), 422, "Validation", "--document-cache-bytes 0")
        response = post(server, "/documents", {"documents": ["bread"]})
        assert response.status == 422 and "--document-cache-bytes 0" in response.json()["message"], response
        assert server.request("GET", "/info").json()["document_cache_bytes"] == 0
    with Server(model=MEAN) as server:
        assert server.request("GET", "/info").json()["document_cache_bytes"] == 64 << 20


@case
def wrong_documents_are_refused():
    wrong = [({}, "missing field"), ({"documents": {}}, "an array"), ({"documents": []}, "empty"),
             ({"documents": [1]}, "documents[0]"), ({"documents": [{"id": "a"}]}, "documents[0]"),
             ({"documents": [{"text": None}]}, "documents[0]"), ({"documents": ["a", {"text": ["b"]}]}, "documents[1]"),
             ({"documents": [{"id": 7, "text": "a"}]}, "`documents[0].id`"),
             ({"documents": [{"id": "", "text": "a"}]}, "`documents[0].id`"),
             ({"documents": [{"id": "a\0b", "text": "a"}]}, "`documents[0].id`"),
             ({"documents": [{"id": "i" * 257, "text": "a"}]}, "`documents[0].id`"),
             ({"documents": [{"id": "x", "text": "a"}, "b", {"id": "x", "text": "a"}]}, "`documents[2].id`: 'x'"),
             ({"documents": ["a"] * 1001}, "batch size 1001"), ({"documents": ["a"], "truncate": 1}, "truncate"),
             ({"documents": [LONG], "truncate": False}, "tokens"), ({"documents": ["a"], "model": 1}, "model")]
    with Server(model=MEAN) as server:
        for body, words in wrong:
            response = post(server, "/documents", body)
            assert response.status == (400 if body == {"documents": []} else 422), (body, response)
            assert words in response.json()["message"], (body, response)
        for texts in ([{"id": 1}], [{"id": None}], [{"id": ""}], [{"id": "a\0"}], [{"ID": "a"}], [{}]):
            assert post(server, "/rerank", {"query": QUERY, "texts": texts}).status == 422, texts
            assert post(server, "/v1/rerank", {"query": QUERY, "documents": texts}).status == 422, texts
        for body in ({"text_1": QUERY, "text_2": [{"id": "a"}]}, {"queries": QUERY, "documents": [{"id": "a"}]}):
            assert post(server, "/score", body).status == 422, body
        assert server.request("GET", "/documents").status == 405
        assert post(server, "/documents", {"documents": [{"id": None, "text": "a"}]}).status == 200
        assert counters(server)[2] == 2  # that text, its name


@case
def what_is_kept_stays_within_the_bytes_and_what_is_gone_is_unknown():
    words = "river bread oven stone water house light baker field winter".split()
    with Server("--document-cache-bytes", "1048576", "--scoring", "maxsim", model=MEAN) as server:
        cached = 0
        for start in range(0, 400, 50):
            documents = [{"id": f"d{start + i}", "text": " ".join(words[(start + i * j) % 10] for j in range(90))
                          + f" {start + i}"} for i in range(50)]
            response = post(server, "/documents", {"documents": documents})
            cached += sum(document["cached"] for document in response.json()["documents"])
            metrics = server.metrics()
            assert metrics["te_document_cache_bytes"] <= metrics["te_document_cache_capacity_bytes"] == 1048576, metrics
        assert cached == 400  # a request's own all fit
        assert metrics["te_document_cache_evictions"] > 100, metrics
        last = post(server, "/rerank", {"query": QUERY, "texts": [{"id": "d399"}]})
        assert last.status == 200, last
        found = [post(server, "/rerank", {"query": QUERY, "texts": [{"id": f"d{i}"}]}).status for i in range(0, 400, 9)]
        assert found.count(422) > 5 and set(found) == {200, 422}, found


@case
def a_request_larger_than_the_cache_says_what_is_not_kept():
    with Server("--document-cache-bytes", "1048576", "--scoring", "maxsim", model=MEAN) as server:
        documents = [f"bread and water, {i} times the stone " * 10 for i in range(300)]
        told = post(server, "/documents", {"documents": documents}).json()["documents"]
        kept = [document["id"] for document in told if document["cached"]]
        assert 0 < len(kept) < 300, len(kept)
        for document in told[:20] + told[-20:]:
            status = post(server, "/rerank", {"query": QUERY, "texts": [{"id": document["id"]}]}).status
            assert status == 200 or not document["cached"], document


@case
def popular_documents_stay_whatever_passes_by():
    with Server("--document-cache-bytes", "1048576", "--scoring", "maxsim", model=MEAN) as server:
        hot = [f"popular {i}" for i in range(50)]
        for number in range(4):
            post(server, "/rerank", {"query": f"bread {number}", "texts": hot})
        for start in range(0, 4000, 500):
            post(server, "/rerank", {"query": QUERY, "texts": [f"passing by the river {start + i}" for i in range(500)]})
        hits = counters(server)[0]
        post(server, "/rerank", {"query": "stone", "texts": hot})
        assert counters(server)[0] - hits > 45, counters(server)
        metrics = server.metrics()
        assert metrics["te_document_cache_rejections"] > 500, metrics


@case
def too_small_a_cache_is_refused():
    result = run_binary("--model-id", MEAN, "--document-cache-bytes", "1000")
    assert result.returncode == 2 and "--document-cache-bytes" in result.stderr and "1048576" in result.stderr, result


def on_file(folder, *more, model=MEAN):
    return Server("--documents", os.path.join(folder, "documents"), "--documents-bytes", str(16 << 20), *more, model=model)


@case
def a_file_keeps_documents_and_names_across_restarts():
    texts = [f"bread and water {i}" for i in range(60)]
    body = {"query": QUERY, "texts": texts}
    with tempfile.TemporaryDirectory() as folder, Server(*OFF, "--scoring", "hybrid", model=MEAN) as plain:
        wanted = ask(plain, "/rerank", body)
        with on_file(folder, "--scoring", "hybrid") as server:
            assert ask(server, "/rerank", body) == wanted
            post(server, "/documents", {"documents": [{"id": "a", "text": "stone"}, {"id": "none", "text": ""}]})
            post(server, "/documents", {"documents": [{"id": "a", "text": KNOWN}]})
            assert server.metrics()["te_document_file_puts"] == 60 + 3 + 3, server.metrics()
        with on_file(folder, "--scoring", "hybrid") as server:
            assert "documents has 65 documents" in server.log(), server.log()
            assert ask(server, "/rerank", body) == wanted
            named = {"query": QUERY, "texts": [{"id": "a"}, {"id": "none"}]}
            assert ask(server, "/rerank", named) == ask(plain, "/rerank", {"query": QUERY, "texts": [KNOWN, ""]})
            assert computed(server) == 2 + warmed(server), server.metrics()  # the queries
            metrics = server.metrics()
            assert metrics["te_document_file_hits"] == 60 + 4 and metrics["te_document_file_puts"] == 0, metrics
        with on_file(folder, "--scoring", "hybrid", "--document-cache-bytes", "1048576") as server:
            assert ask(server, "/rerank", body) == wanted
        for arguments, model in ((("--scoring", "cosine"), MEAN), ((), COLBERT)):
            result = run_binary("--model-id", model, "--documents", os.path.join(folder, "documents"),
                                "--documents-bytes", str(16 << 20), "--port", str(harness.free_port()), *arguments)
            assert result.returncode != 0 and "another model" in result.stderr, result


def warmed(server):
    """Sequences that the first forward pass computed, before anybody asked."""
    with Server(*OFF, "--scoring", "hybrid", model=MEAN) as other:
        return computed(other)


@case
def a_file_is_for_bi_encoders_and_a_cache():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "documents")
        result = run_binary("--model-id", harness.small_model(), "--documents", path, "--port", str(harness.free_port()))
        assert result.returncode != 0 and "cross-encoder" in result.stderr and not os.path.exists(path), result
        result = run_binary("--model-id", MEAN, "--documents", path, *OFF)
        assert result.returncode == 2 and "--documents" in result.stderr, result
        result = run_binary("--model-id", MEAN, "--documents", path, "--documents-bytes", "1000")
        assert result.returncode == 2 and "--documents-bytes" in result.stderr, result
        result = run_binary("--model-id", MEAN, "--documents", os.path.join(folder, "not", "there"), "--port",
                            str(harness.free_port()))
        assert result.returncode != 0 and "not/there" in result.stderr, result


@case
def many_clients_at_once_get_what_one_gets():
    texts = [f"{word} by the {other} {i}" for i, word in enumerate(QUERY.split()) for other in
             ("river", "stone", "oven", "field", "house", "town", "bread")]
    bodies = [{"query": f"{QUERY} {i}", "texts": texts[i % 20:i % 20 + 25]} for i in range(16 if SLOW else 64)]
    options = ("--threads", "2", "--scoring", "hybrid")
    with Server(*options, *OFF, model=MEAN) as plain, \
            Server(*options, "--document-cache-bytes", "1048576", model=MEAN) as cached:
        wanted = [ask(plain, "/rerank", body) for body in bodies]
        keep = {"documents": [{"id": str(i), "text": text} for i, text in enumerate(texts)]}
        for _ in range(2):
            got = in_parallel([lambda body=body: ask(cached, "/rerank", body) for body in bodies] +
                              [lambda: post(cached, "/documents", keep).status] * 4)
            assert got[:-4] == wanted and got[-4:] == [200] * 4
        assert counters(cached)[0] > 100


@case
def an_answer_cut_short_tells_only_scores_that_are_right():
    """Half of the documents are at hand; the time is moved until it ends between the first score and the last."""
    texts = [f"{LONG} {i}" for i in range(40 if SLOW else 200)]
    body = {"query": LONG, "texts": texts, "truncate": True}
    with Server("--threads", "1", "--scoring", "maxsim", *OFF, model=MEAN) as plain:
        wanted = {result["index"]: result["score"] for result in post(plain, "/rerank", body).json()}
    with Server("--threads", "1", "--scoring", "maxsim", model=MEAN) as server:
        post(server, "/documents", {"documents": texts[::2], "truncation_direction": "right"})
        low, high = 0, 2000
        for _ in range(40):
            timeout = (low + high) // 2 + 1
            fresh = [text if i % 2 == 0 else f"{text} {timeout}" for i, text in enumerate(texts)]  # cut off: the same
            response = post(server, "/rerank", {**body, "texts": fresh, "timeout_ms": timeout})
            missing = int(response.headers.get("x-rerank-degraded", 0))
            if response.status == 200 and missing:
                break
            low, high = (timeout, high) if response.status == 504 else (low, timeout)
            if high - low < 2:
                low, high = 0, 2000
        else:
            raise harness.Skip("no answer was cut short")
        results = response.json()
        assert len(results) == len(texts)
        for result in results[:len(texts) - missing]:
            assert result["score"] == wanted[result["index"]], result


@case
def an_answer_cut_short_of_a_split_cross_encoder_tells_only_scores_that_are_right():
    """Every other pair is warm, so that they have kept state to read, and the others some to leave."""
    texts = [f"{LONG} {i}" for i in range(40 if SLOW else 200)]
    cut = {"max_tokens_per_doc": 400}  # the same of all
    body = {"query": QUERY, "documents": texts, "model": "any", **cut}
    with Server("--threads", "1", *OFF, model=SPLIT) as plain:
        wanted = {result["index"]: result["relevance_score"] for result in post(plain, "/v2/rerank", body).json()["results"]}
    with Server("--threads", "1", model=SPLIT) as server:
        post(server, "/documents", {"documents": texts[::2], **cut})
        low, high = 0, 2000
        for _ in range(40):
            timeout = (low + high) // 2 + 1
            fresh = [text if i % 2 == 0 else f"{text} {timeout}" for i, text in enumerate(texts)]
            response = post(server, "/v2/rerank", {**body, "documents": fresh, "timeout_ms": timeout})
            missing = int(response.headers.get("x-rerank-degraded", 0))
            if response.status == 200 and missing:
                break
            low, high = (timeout, high) if response.status == 504 else (low, timeout)
            if high - low < 2:
                low, high = 0, 2000
        else:
            raise harness.Skip("no answer was cut short")
        results = response.json()["results"]
        assert len(results) == len(texts)
        for result in results[:len(texts) - missing]:
            assert result["relevance_score"] == wanted[result["index"]], result
        assert ask(server, "/v2/rerank", body)[0] == 200
        told = {result["index"]: result["relevance_score"] for result in post(server, "/v2/rerank", body).json()["results"]}
        assert told == wanted


@case
def what_split_layers_keep_stays_within_the_bytes_though_they_have_their_place_ahead():
    """A document of 450 tokens takes 57 KB here: 18 have room."""
    texts = [f"{'the river and the stone ' * 89} {i}" for i in range(60)]
    bodies = [{"query": f"bread {i}", "texts": texts[i % 30:i % 30 + 30]} for i in range(3 if SLOW else 40)]
    options = ("--threads", "2", "--dtype", "float32", "--max-queue-ms", "600000")  # however slow the program is
    with Server(*options, *OFF, model=SPLIT) as plain, \
            Server(*options, "--document-cache-bytes", "1048576", model=SPLIT) as server:
        wanted = [ask(plain, "/rerank", body) for body in bodies]
        keep = lambda: post(server, "/documents", {"documents": texts})
        got = in_parallel([lambda body=body: ask(server, "/rerank", body) for body in bodies] + [keep] * 3)
        assert got[:-3] == wanted
        for response in got[-3:]:
            assert response.status == 200, response
            kept = sum(document["cached"] for document in response.json()["documents"])
            assert kept < 20 and response.json()["computed"] < 20, response
        metrics = server.metrics()
        assert metrics["te_document_cache_bytes"] <= metrics["te_document_cache_capacity_bytes"] == 1048576, metrics
        assert 0 < sum(document["cached"] for document in keep().json()["documents"]) < 20
        server.check_alive()


@case
def keeping_documents_in_no_time_is_an_error():
    with Server("--threads", "1", model=MEAN) as server:
        body = {"documents": [f"{LONG} {i}" for i in range(400)], "timeout_ms": 1}
        response = post(server, "/documents", body)
        assert response.status == 504 and "error" in response.json(), response
        assert server.metrics()['te_request_count{method="documents"}'] == 1
        server.check_alive()


if __name__ == "__main__":
    sys.exit(harness.main())
