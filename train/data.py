"""The pairs to train, calibrate and judge by, and which of them are held apart.

A folder with passages.jsonl.gz (`id`, `text`, `src`) and queries.jsonl.gz (`query`, `src`, `pos`, `bm25`: ids of the
relevant passages, and of others that BM25 found for the query, in its order).

Sources fall in three: WEB, like questions put to a search engine, is split by passage into train, dev and test;
ABROAD is only ever judged by; TRAINED is only trained on. Any other source is left out (`sciq` for its licence,
which excludes commercial use, `covidfaq` as too near to `covidqa`, `ares_*` as noisy).

A passage belongs to the part that the hash of its words says, and a query to the part that all its relevant passages
belong to; where they differ it is left out. From training all passages go that are relevant to a query of dev or test
or share a run of RUN words with one, as another source's cut of the same page does, and all queries that are in those too."""

import gzip
import hashlib
import json
import os
import random
import re

WEB = ("nq", "boolq", "selqa")
ABROAD = ("medquad", "covidqa")
TRAINED = ("squad", "squadshift_new_wiki", "mlqa_en", "pubmedqa")
TEST_PERCENT, DEV_PERCENT = 20, 15
RUN = 8


def words(text):
    return re.findall(r"[a-z0-9]+", text.lower())


def part_of(text):
    """test, dev or train, the same for the same words everywhere."""
    number = int.from_bytes(hashlib.sha256(" ".join(words(text)).encode()).digest()[:8], "big") % 100
    return "test" if number < TEST_PERCENT else "dev" if number < TEST_PERCENT + DEV_PERCENT else "train"


def runs(text):
    found = words(text)
    return {" ".join(found[at:at + RUN]) for at in range(max(1, len(found) - RUN + 1))}


def lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read(folder):
    """Texts by passage id, and the queries of every source in use, each with `part`; those of ABROAD are all test."""
    texts = {passage["id"]: passage["text"] for passage in lines(os.path.join(folder, "passages.jsonl.gz"))}
    queries = []
    for query in lines(os.path.join(folder, "queries.jsonl.gz")):
        if query["src"] in ABROAD:
            query["part"] = "test"
        elif query["src"] in TRAINED:
            query["part"] = "train"
        elif query["src"] in WEB:
            parts = {part_of(texts[passage]) for passage in query["pos"]}
            if len(parts) > 1:
                continue
            query["part"] = parts.pop()
        else:
            continue
        query["bm25"] = [passage for passage in query["bm25"] if passage not in query["pos"]]
        if query["pos"] and query["bm25"]:
            queries.append(query)
    return texts, queries


def held_apart(queries, part, source, count, seed=1):
    """`count` queries of a source, the same for the same seed; all there are where there are fewer."""
    known = {}
    for query in queries:
        if query["src"] == source and query["part"] == part:
            known.setdefault(" ".join(words(query["query"])), query)
    chosen = [known[key] for key in sorted(known)]
    random.Random(f"{seed} {part} {source}").shuffle(chosen)
    return chosen[:count]


def training(texts, queries):
    """The queries to train on, without the held-apart passages; one whose relevant passages are gone is left out."""
    held = [query for query in queries if query["part"] != "train"]
    asked = {" ".join(words(query["query"])) for query in held}
    kept_runs = set().union(*(runs(texts[passage]) for query in held for passage in query["pos"]))
    barred = {passage for passage, text in texts.items() if not kept_runs.isdisjoint(runs(text))}
    chosen = []
    for query in queries:
        if query["part"] != "train" or " ".join(words(query["query"])) in asked:
            continue
        query = {**query, "pos": [passage for passage in query["pos"] if passage not in barred],
                 "bm25": [passage for passage in query["bm25"] if passage not in barred]}
        if query["pos"] and query["bm25"]:
            chosen.append(query)
    return chosen
