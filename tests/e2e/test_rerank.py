#!/usr/bin/env python3
"""What POST /rerank answers: order, scores, and every field of TEI's request."""

import json
import math
import sys

import harness
from harness import Server, case, default_model, golden_model, shared

TOLERANCE = 1e-4


def near(a, b, tolerance=TOLERANCE):
    return len(a) == len(b) and all(abs(x - y) <= tolerance for x, y in zip(a, b))


@case
def the_answer_is_ranked_best_first():
    texts = [f"text number {i}" for i in range(40)]
    response = shared().rerank({"query": "which number", "texts": texts})
    assert response.status == 200, response
    assert response.headers["content-type"].startswith("application/json"), response
    answer = response.json()
    assert sorted(entry["index"] for entry in answer) == list(range(40)), answer
    assert all(set(entry) == {"index", "score"} for entry in answer), answer
    scores = [entry["score"] for entry in answer]
    assert scores == sorted(scores, reverse=True), scores
    assert len(set(scores)) > 1, scores


@case
def scores_are_probabilities_and_raw_scores_their_logits():
    texts = ["a first text", "a second one", "and a third, which is longer than the others", ""]
    for options in ({}, {"raw_scores": False}, {"raw_scores": None}):
        scores = shared().scores("the query", texts, **options)
        assert all(0 < score < 1 for score in scores), scores
        raw = shared().scores("the query", texts, raw_scores=True)
        assert near(scores, [1 / (1 + math.exp(-logit)) for logit in raw], 1e-5), (scores, raw)


@case
def a_score_does_not_depend_on_the_other_texts():
    texts = ["one", "two words", "three words here " * 3, "and a far longer text " * 12]
    together = shared().scores("query", texts)
    assert near(together, [shared().scores("query", [text])[0] for text in texts]), together
    many = shared().scores("query", texts * 30)
    assert near(many, together * 30), many


@case
def equal_texts_get_equal_scores_but_for_rounding():
    scores = shared().scores("q", ["same"] * 50)
    assert max(scores) - min(scores) < 1e-5, scores


@case
def exactly_equal_scores_keep_the_order_of_the_texts():
    answer = shared().rerank({"query": "q", "texts": ["same", "same", "other"] * 20}).json()
    for one, next_one in zip(answer, answer[1:]):
        assert (one["score"], -one["index"]) > (next_one["score"], -next_one["index"]), answer


@case
def texts_come_back_only_on_request_and_unchanged():
    texts = ["plain", "caf\u00e9 \u4e2d\u6587 \U0001f600", 'quotes " and \\ and /', "nul \x00 here",
             "lines\r\n\ttabs\x1f\x7f", "", "\u2028\ufeff\ufffd"]
    for options in ({}, {"return_text": False}, {"return_text": None}):
        answer = shared().rerank({"query": "q", "texts": texts, **options}).json()
        assert all("text" not in entry for entry in answer), answer
    answer = shared().rerank({"query": "q", "texts": texts, "return_text": True}).json()
    assert [entry["text"] for entry in answer] == [texts[entry["index"]] for entry in answer]
    assert len(answer) == len(texts)


@case
def both_encodings_of_unicode_mean_the_same():
    body = {"query": "caf\u00e9 \U0001f600", "texts": ["\u4e2d\u6587", "\U0001d4d0 text"],
            "return_text": True}
    escaped = shared().rerank(json.dumps(body).encode())
    plain = shared().rerank(json.dumps(body, ensure_ascii=False).encode())
    assert escaped.status == plain.status == 200, (escaped, plain)
    assert escaped.json() == plain.json()


@case
def empty_and_blank_texts_are_scored():
    for query, texts in (("", [""]), (" ", [" ", "\t\n", "\u3000"]), ("q", ["", "a"]), ("", ["a"])):
        scores = shared().scores(query, texts)
        assert all(math.isfinite(score) for score in scores), scores


@case
def one_text_and_a_thousand_are_served():
    assert len(shared().scores("query", ["alone"])) == 1
    assert len(shared().scores("query", [f"text {i}" for i in range(1000)])) == 1000


@case
def unknown_fields_are_ignored():
    fields = {"model": "any", "top_n": 1, "user": None, "extra": {"texts": [1, 2.5, {}]}}
    assert shared().scores("q", ["a", "b"], **fields) == shared().scores("q", ["a", "b"])


@case
def null_stands_for_every_optional_field():
    nulls = {"truncate": None, "truncation_direction": None, "raw_scores": None, "return_text": None}
    assert near(shared().scores("q", ["a", "b"], **nulls), shared().scores("q", ["a", "b"]))


def tokens_of(server, query, texts, **options):
    response = server.rerank({"query": query, "texts": texts, **options})
    assert response.status == 200, response
    return int(response.headers["x-compute-tokens"])


@case
def long_texts_are_truncated_to_the_models_length():
    limit = shared().request("GET", "/info").json()["max_input_length"]
    long = "a " * (3 * limit)
    assert tokens_of(shared(), "a", [long]) == limit
    assert tokens_of(shared(), "a", [long], truncate=True) == limit
    assert tokens_of(shared(), long, [long]) == limit
    harness.expect_error(shared().rerank({"query": "a", "texts": [long], "truncate": False}), 422,
                         "Validation", f"must have less than {limit} tokens")


@case
def auto_truncate_is_only_the_default():
    with Server("--auto-truncate", "false") as server:
        long = {"query": "a", "texts": ["a " * 3000]}
        harness.expect_error(server.rerank(long), 422, "Validation", "must have less than")
        assert server.rerank({**long, "truncate": True}).status == 200
        assert server.rerank({"query": "a", "texts": ["a"]}).status == 200


@case
def the_truncation_direction_says_which_end_is_dropped():
    limit = shared().request("GET", "/info").json()["max_input_length"]
    begin, end = "a " * limit, "i o u " * limit
    right = shared().scores("a", [begin, begin + end, end + begin])
    assert near(right[:1], right[1:2], 1e-6), right
    assert not near(right[:1], right[2:], 1e-6), right
    left = shared().scores("a", [begin, begin + end, end + begin], truncation_direction="left")
    assert near(left[:1], left[2:], 1e-6), left
    assert not near(left[:1], left[1:2], 1e-6), left
    for name, same in (("Left", left), ("right", right), ("Right", right), (None, right)):
        scores = shared().scores("a", [begin, begin + end, end + begin], truncation_direction=name)
        assert near(scores, same, 1e-6), (name, scores)


@case
def a_bi_encoder_scores_by_cosine():
    with Server(model=golden_model("bi-encoder")) as server:
        scores = server.scores("the same words", ["other words", "the same words", ""])
        assert abs(scores[1] - 1) < 1e-5, scores
        assert all(-1.00001 <= score <= 1.00001 for score in scores), scores
        raw = server.scores("the same words", ["other words", "the same words", ""], raw_scores=True)
        assert near(scores, raw), (scores, raw)
        answer = server.rerank({"query": "the same words", "texts": ["other", "the same words"]}).json()
        assert answer[0]["index"] == 1, answer


@case
def the_default_model_ranks_by_meaning():
    with Server("--scoring", "cosine", model=default_model()) as server:
        texts = ["The stock market fell on Monday.", "A kitten is a young cat.",
                 "Bread is baked from flour, water and yeast."]
        answer = server.rerank({"query": "baby cats", "texts": texts, "return_text": True}).json()
        assert answer[0]["text"] == texts[1] and answer[0]["score"] > 0.4, answer
        assert answer[0]["score"] > answer[1]["score"] + 0.2, answer


if __name__ == "__main__":
    sys.exit(harness.main())
