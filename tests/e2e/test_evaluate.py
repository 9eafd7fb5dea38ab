#!/usr/bin/env python3
"""The measures of bench/evaluate, by hand-made numbers."""

import json
import math
import os
import subprocess
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


# --- the program ---


def run(candidates, qrels, *options):
    """Candidates and judgments as bytes; None: no such file."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, content in (("candidates", candidates), ("qrels", qrels)):
            paths.append(os.path.join(folder, name))
            if content is not None:
                with open(paths[-1], "wb") as file:
                    file.write(content)
        return subprocess.run([sys.executable, os.path.join(harness.ROOT, "bench", "evaluate"), "--candidates", paths[0],
                               "--qrels", paths[1], *options], capture_output=True, text=True, timeout=harness.PATIENCE)


def as_lines(*queries):
    return b"".join(json.dumps(query).encode() + b"\n" for query in queries)


GOOD = as_lines(*QUERIES)
GRADES = b"1 0 b 3\n2 0 c 1\n"


def refused(candidates, qrels, *words, options=("--as-given",)):
    result = run(candidates, qrels, *options)
    assert result.returncode == 2 and result.stdout == "", result
    assert "Traceback" not in result.stderr, result.stderr
    for word in ("evaluate", *words):
        assert word in result.stderr, (word, result.stderr)


@case
def files_that_are_not_what_they_should_be_are_told_by_name_and_line():
    refused(None, GRADES, "candidates: No such file")
    refused(GOOD, None, "qrels: No such file")
    refused(b"", GRADES, "candidates: the file is empty")
    refused(GOOD, b"\n", "qrels: the file is empty")
    refused(b"qid,query,docid,text\n1,one,a,A\n", GRADES, "candidates:1: not JSON", "one JSON object a line")
    refused(GOOD + b"{\n", GRADES, "candidates:4: not JSON")
    refused(b"[]\n", GRADES, "candidates:1: `query` is missing")
    refused(b"7\n", GRADES, "candidates:1: `query` is missing")
    refused(b"\x1f\x8b\x08\xff\n", GRADES, "candidates: not a text file")
    refused(GOOD, b"1,0,b,3\n", "qrels:1: expected the 4 fields")
    refused(GOOD, b"query-id\tcorpus-id\tscore\n", "qrels:1: expected the 4 fields", "found 3")
    refused(GOOD, b"1 0 b 0.5\n", "qrels:1: the grade, '0.5', is not a whole number")
    refused(GOOD, b"9 0 b 1\n", "no query of the candidates has a judgment", "'1'", "'9'")


@case
def members_of_candidates_are_checked():
    good = {"qid": "1", "query": "q", "candidates": [{"docid": "a", "text": "A"}]}
    for change, words in (({"query": None}, "`query` is missing"), ({"query": 7}, "`query` is not a string"),
                          ({"candidates": "a"}, "`candidates` is not a list"), ({"candidates": ["a"]}, "`text` is missing"),
                          ({"candidates": [{"docid": "a", "text": 1}]}, "`text` is not a string"),
                          ({"qid": None}, "`qid` is missing"), ({"qid": 1.5}, "`qid` is neither"), ({"qid": True}, "`qid` is neither"),
                          ({"candidates": [{"text": "A"}]}, "`docid` is missing"),
                          ({"candidates": [{"docid": [], "text": "A"}]}, "`docid` is neither")):
        refused(as_lines({**good, **change}), GRADES, words)


@case
def options_that_cannot_be_are_refused():
    refused(GOOD, GRADES, "--relevant", options=("--relevant", "0"))
    refused(GOOD, GRADES, "--url", "localhost:8080", options=("--url", "localhost:8080"))


@case
def ids_may_be_numbers():
    numbered = as_lines({"qid": 1, "query": "one", "candidates": [{"docid": 10, "text": "A"}, {"docid": 11, "text": "B"}]})
    result = run(numbered, b"1 0 11 3\n", "--as-given")
    assert result.returncode == 0 and "MRR@10    0.5000" in result.stdout, result


@case
def labels_of_0_and_1_have_an_mrr():
    for grades, options, rank, told in ((b"1 0 a 0\n1 0 b 1\n", (), "0.5000", ">= 1"), (b"1 0 a 1\n1 0 b 2\n", (), "0.5000", ">= 2"),
                                        (b"1 0 a 1\n1 0 b 2\n", ("--relevant", "1"), "1.0000", ">= 1"),
                                        (b"1 0 a 1\n1 0 b 1\n", ("--relevant", "2"), "0.0000", ">= 2")):
        result = run(GOOD, grades, "--as-given", *options)
        assert f"MRR@10    {rank}" in result.stdout and told in result.stdout, (grades, options, result)


@case
def no_server_is_an_error_and_no_traceback():
    result = run(GOOD, GRADES, "--url", f"http://127.0.0.1:{harness.free_port()}")
    assert result.returncode == 1 and "Traceback" not in result.stderr and "refused" in result.stderr, result


if __name__ == "__main__":
    sys.exit(harness.main())
