"""Measures of ranking quality on TREC candidates and judgments.

Candidates: one JSON line a query with `qid`, `query` and `candidates`, a list of {docid, text}; ids are strings or whole
numbers. Judgments: TREC qrels, "qid 0 docid grade"; a passage that was not judged has grade 0.

nDCG@10 has linear gain (the grade) and discount log2(rank + 1). Its ideal is the best order of all of
the query's judged passages, as in trec_eval, whether or not they are among the candidates, or the best
order of the candidates themselves, which a reranker can reach. MRR@10 is 1 / rank of the first relevant
passage, 0 if none is among the ten. Relevant is grade 2 and more, as TREC DL has it, and where no judgment is higher than 1
(they are yes or no), grade 1."""

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


def relevant_grade(judged):
    """The least grade that counts as relevant where the caller does not say: see above."""
    return 2 if any(grade > 1 for grades in judged.values() for grade in grades.values()) else 1


def lines_of(path):
    """Pairs of number and line, without empty ones; ValueError where the file is no text, or has no line at all."""
    found = 0
    with open(path, encoding="utf-8-sig") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    found += 1
                    yield number, line
        except UnicodeDecodeError:
            raise ValueError(f"{path}: not a text file in UTF-8 (is it compressed?)") from None
    if not found:
        raise ValueError(f"{path}: the file is empty")


def read_qrels(path):
    judged = {}
    for number, line in lines_of(path):
        fields = line.split()
        if len(fields) != 4:
            raise ValueError(f"{path}:{number}: expected the 4 fields of TREC qrels, \"qid 0 docid grade\", with blanks between "
                             f"them; found {len(fields)}")
        try:
            judged.setdefault(fields[0], {})[fields[2]] = max(0, int(fields[3]))
        except ValueError:
            raise ValueError(f"{path}:{number}: the grade, {fields[3]!r}, is not a whole number") from None
    return judged


def text_of(entry, name):
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, str):
        raise ValueError(f"`{name}` is missing" if value is None else f"`{name}` is not a string")
    return value


def take_id(entry, name):
    """Qrels have ids as text, so a number becomes what stands there."""
    value = entry.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        entry[name] = str(value)
    elif value is not None and not isinstance(value, str):
        raise ValueError(f"`{name}` is neither a string nor a whole number")


def query_of(line):
    try:
        query = json.loads(line)
    except ValueError as error:
        raise ValueError(f"not JSON ({error}); expected one JSON object a line: "
                         '{"qid": ..., "query": ..., "candidates": [{"docid": ..., "text": ...}, ...]}') from None
    text_of(query, "query")
    take_id(query, "qid")
    candidates = query.get("candidates")
    if not isinstance(candidates, list):
        raise ValueError("`candidates` is not a list")
    for candidate in candidates:
        text_of(candidate, "text")
        take_id(candidate, "docid")
    return query


def read_candidates(path):
    """Ids, which only judgments need, may be missing."""
    queries = []
    for number, line in lines_of(path):
        try:
            queries.append(query_of(line))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from None
    return queries


def needed_id(entry, name):
    if entry.get(name) is None:
        raise ValueError(f"candidates: `{name}` is missing, by which the judgments are found")
    return entry[name]


def evaluate(queries, judged, order_of, relevant=None, ideal="judged", progress=None):
    """Mean nDCG@10, mean MRR@10 and the number of queries; `order_of(query, texts)` is the ranker."""
    relevant = relevant_grade(judged) if relevant is None else relevant
    ndcgs, ranks = [], []
    for number, query in enumerate(queries, start=1):
        grades = judged.get(needed_id(query, "qid"))
        if grades is None:
            continue
        candidates = query["candidates"]
        given = [grades.get(needed_id(candidate, "docid"), 0) for candidate in candidates]
        texts = [candidate["text"] for candidate in candidates]
        order = order_of(query["query"], texts) if texts else []
        ranked = [given[index] for index in order]
        ndcgs.append(ndcg(ranked, given if ideal == "candidates" else list(grades.values())))
        ranks.append(reciprocal_rank(ranked, relevant))
        if progress:
            progress(number, len(queries))
    if not ndcgs:
        raise ValueError("no query of the candidates has a judgment" + "".join(
            f"; the first qid of the {name} is {qid!r}"
            for name, ids in (("candidates", (query["qid"] for query in queries)), ("judgments", judged))
            for qid in [next(iter(ids), None)]))
    return sum(ndcgs) / len(ndcgs), sum(ranks) / len(ranks), len(ndcgs)
