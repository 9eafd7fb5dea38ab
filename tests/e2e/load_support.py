"""What the tests of bench/load and bench/sweep share: the program, and a file of candidates."""

import json
import os
import random

import harness

WORDS = "river bread oven stone water house light baker field winter".split()


def program():
    path = os.path.join(os.path.dirname(harness.binary()), "..", "bench", "load", "load")
    if os.environ.get("RR_SLOW"):
        raise harness.Skip("what is measured here is time, which sanitizers stretch")
    if not os.path.exists(path):
        raise harness.Skip("bench/load was not built")
    return path


def candidates(folder, queries=7, texts=12):
    path = os.path.join(folder, "candidates.jsonl")
    choose = random.Random(1)
    with open(path, "w", encoding="utf-8") as file:
        for q in range(queries):
            listed = [{"docid": f"d{i}", "text": f"{q} {i} " + " ".join(choose.choices(WORDS, k=9))}
                      for i in range(texts)]
            file.write(json.dumps({"qid": f"q{q}", "query": WORDS[q], "candidates": listed}) + "\n")
    return path
