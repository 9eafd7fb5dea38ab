"""Requests for scores of many kinds, with texts in common: what a cache must not change the reply of."""

import json
import re

QUERY = "who built the bridge over the river"
TEXTS = ["Bread is flour, water and salt.", "The old stone bridge over the river was built by the town.",
         "winter", "", "The oven was lit before the sun came up.", "A field of barley by the river."]
LONG = "the river and the stone " * 200  # a thousand tokens
# What may depend on what was computed is not in them.
HEADERS = ("content-type", "x-compute-tokens", "x-compute-characters", "x-truncated-count", "retry-after")

RERANKS = [
    {"texts": TEXTS},
    {"texts": TEXTS, "raw_scores": True},
    {"texts": TEXTS[::-1], "return_text": True},
    {"texts": [TEXTS[1], "new here", TEXTS[1], TEXTS[0], "new here"]},
    {"texts": TEXTS + [LONG]},
    {"texts": [LONG, TEXTS[0], LONG], "truncate": True},
    {"texts": [LONG, TEXTS[0]], "truncate": True, "truncation_direction": "left"},
    {"texts": [TEXTS[0], LONG], "truncate": False},
    {"texts": [TEXTS[0], TEXTS[1]], "truncate": False},
    {"documents": TEXTS, "return_documents": True, "top_n": 2},
    {"documents": TEXTS + [LONG], "top_k": None},
    {"documents": [LONG, TEXTS[0], LONG], "max_tokens_per_doc": 7},
    {"documents": [LONG, TEXTS[0]], "truncate_prompt_tokens": 20, "truncation_strategy": "longest_first"},
]


def requests():
    """Path and body of many kinds, with texts in common."""
    for more in RERANKS:
        yield "/rerank", {"query": QUERY, **more}
        yield "/rerank", {"query": LONG, **more, "truncation_strategy": "longest_first"}
        if "documents" in more:
            yield "/v1/rerank", {"query": QUERY, **more}
            yield "/v2/rerank", {"query": QUERY, "model": "any", **more}
            yield "/v1/reranking", {"query": QUERY, **more}
    yield "/score", {"text_1": QUERY, "text_2": TEXTS}
    yield "/score", {"text_1": TEXTS, "text_2": TEXTS[::-1]}
    yield "/score", {"text_1": [QUERY, QUERY, "new too"], "text_2": [TEXTS[0], TEXTS[0], LONG]}
    yield "/predict", {"inputs": [[QUERY, TEXTS[0]], [QUERY, TEXTS[0]], [TEXTS[0], QUERY]]}
    yield "/predict", {"inputs": [[TEXTS[0]], [TEXTS[1]], [LONG]], "raw_scores": True}
    yield "/predict", {"inputs": TEXTS[0]}


def some_texts(count, seed=0):
    words = "river bread oven stone water house light baker field winter".split()
    return [" ".join(words[(i * i + seed + j * (i % 7 + 1)) % 10] for j in range(1 + i % 40)) + f" {i}"
            for i in range(count)]


def ask(server, path, body):
    """All of a reply that must not change, as bytes: ids are given, only the second varies."""
    response = server.request("POST", path, json.dumps(body).encode(), {"x-request-id": "fixed"})
    told = re.sub(rb'("created":)\d+', rb"\1T", response.body)
    return response.status, told, {name: response.headers.get(name) for name in HEADERS}


def compare(plain, cached, wanted):
    """Cold or half full, then warm, then warm in the other order."""
    wanted = list(wanted)
    reference = [ask(plain, path, body) for path, body in wanted]
    for turn in (list(range(len(wanted))), list(range(len(wanted))), list(range(len(wanted)))[::-1]):
        for at in turn:
            got = ask(cached, *wanted[at])
            assert got == reference[at], (wanted[at], got, reference[at])
    return reference
