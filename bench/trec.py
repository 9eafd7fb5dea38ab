"""Measures of ranking quality on TREC candidates and judgments.

Candidates: one JSON line a query with `qid`, `query` and `candidates`, a list of {docid, text}.
Judgments: TREC qrels, "qid 0 docid grade"; a passage that was not judged has grade 0.

nDCG@10 has linear gain (the grade) and discount log2(rank + 1). Its ideal is the best order of all of
the query's judged passages, as in trec_eval, whether or not they are among the candidates, or the best
order of the candidates themselves, which a reranker can reach. MRR@10 is 1 / rank of the first relevant
passage, 0 if none is among the ten."""

import json
import math

DEPTH = 10


def discounted_gain(grades):
    """Sum of grade / log2(rank + 1) over the first ten."""
    return sum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades[:DEPTH], start=1))


def ndcg(grades, ideal_pool):
    """`grades` in ranked order; `ideal_pool`: the grades that the best possible order may use."""
    ideal = discounted_gain(sorted(ideal_pool, reverse=True))
    return discounted_gain(grades) / ideal if ideal > 0 else 0.0


def reciprocal_rank(grades, relevant):
    for rank, grade in enumerate(grades[:DEPTH], start=1):
        if grade >= relevant:
            return 1.0 / rank
    return 0.0


def read_qrels(path):
    judged = {}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            fields = line.split()
            if not fields:
                continue
            if len(fields) != 4:
                raise ValueError(f"{path}:{number}: expected 4 fields, found {len(fields)}")
            judged.setdefault(fields[0], {})[fields[2]] = max(0, int(fields[3]))
    return judged


def read_candidates(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def evaluate(queries, judged, order_of, relevant=2, ideal="judged", progress=None):
    """Mean nDCG@10, mean MRR@10 and the number of queries; `order_of(query, texts)` is the ranker."""
    ndcgs, ranks = [], []
    for number, query in enumerate(queries, start=1):
        grades = judged.get(query["qid"])
        if grades is None:
            continue
        candidates = query["candidates"]
        given = [grades.get(candidate["docid"], 0) for candidate in candidates]
        order = order_of(query["query"], [candidate["text"] for candidate in candidates])
        ranked = [given[index] for index in order]
        ndcgs.append(ndcg(ranked, given if ideal == "candidates" else list(grades.values())))
        ranks.append(reciprocal_rank(ranked, relevant))
        if progress:
            progress(number, len(queries))
    if not ndcgs:
        raise ValueError("no query of the candidates has a judgment")
    return sum(ndcgs) / len(ndcgs), sum(ranks) / len(ranks), len(ndcgs)
