#!/usr/bin/env python3
"""The measures of bench/evaluate, by hand-made numbers."""

import math
import os
import sys
import tempfile

import harness
from evaluation import trec
from harness import case


def near(a, b):
    assert abs(a - b) < 1e-12, (a, b)


@case
def the_gain_is_the_grade_over_the_logarithm_of_the_rank():
    near(trec.discounted_gain([3, 2, 0, 1]),
         3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(5))
    near(trec.discounted_gain([]), 0)


@case
def only_the_first_ten_count():
    near(trec.discounted_gain([0] * 10 + [3] * 5), 0)
    near(trec.ndcg([0] * 10 + [3], [3]), 0)
    near(trec.reciprocal_rank([0] * 10 + [3], 2), 0)


@case
def the_best_order_has_ndcg_1_and_the_worst_less():
    near(trec.ndcg([3, 2, 1, 0], [0, 1, 2, 3]), 1)
    worst = (1 / math.log2(3) + 3 / math.log2(4)) / (3 + 1 / math.log2(3))
    near(trec.ndcg([0, 1, 3], [0, 1, 3]), worst)


@case
def a_judged_passage_that_is_no_candidate_lowers_ndcg():
    near(trec.ndcg([1], [1, 1]), 1 / (1 + 1 / math.log2(3)))


@case
def without_a_relevant_passage_ndcg_is_0():
    near(trec.ndcg([0, 0], [0, 0]), 0)
    near(trec.ndcg([], []), 0)


@case
def mrr_wants_grade_2():
    near(trec.reciprocal_rank([1, 1, 2, 3], 2), 1 / 3)
    near(trec.reciprocal_rank([1, 1], 2), 0)
    near(trec.reciprocal_rank([1, 1], 1), 1)


QUERIES = [
    {"qid": "1", "query": "one",
     "candidates": [{"docid": "a", "text": "A"}, {"docid": "b", "text": "B"}]},
    {"qid": "2", "query": "two", "candidates": [{"docid": "c", "text": "C"}]},
    {"qid": "3", "query": "unjudged", "candidates": [{"docid": "a", "text": "A"}]},
]
JUDGED = {"1": {"b": 3, "z": 1}, "2": {"c": 1}}


@case
def means_are_over_the_judged_queries():
    quality, first, n = trec.evaluate(QUERIES, JUDGED, lambda query, texts: range(len(texts)))
    one = (3 / math.log2(3)) / (3 + 1 / math.log2(3))
    near(quality, (one + 1) / 2)
    near(first, (1 / 2 + 0) / 2)
    assert n == 2, n


@case
def the_rankers_order_is_what_is_measured():
    quality, first, _ = trec.evaluate(QUERIES, JUDGED,
                                          lambda query, texts: reversed(range(len(texts))),
                                          ideal="candidates")
    near(quality, 1)
    near(first, 1 / 2)


@case
def nothing_judged_is_an_error():
    try:
        trec.evaluate(QUERIES, {}, lambda query, texts: range(len(texts)))
    except ValueError:
        return
    raise AssertionError("no error")


@case
def judgments_are_read_and_bad_lines_refused():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "qrels")
        with open(path, "w", encoding="utf-8") as file:
            file.write("1 Q0 a 3\n\n1 Q0 b -1\n2 0 c 1\n")
        assert trec.read_qrels(path) == {"1": {"a": 3, "b": 0}, "2": {"c": 1}}
        with open(path, "w", encoding="utf-8") as file:
            file.write("1 Q0 a\n")
        try:
            trec.read_qrels(path)
        except ValueError as error:
            assert ":1:" in str(error), error
            return
        raise AssertionError("no error")


if __name__ == "__main__":
    sys.exit(harness.main())
