#!/usr/bin/env python3
"""Ids of every query and passage of TREC DL 2019 against the reference, by digests.

Needs RR_TOKENIZE (the tool build/tests/tools/tokenize), RR_GOLDEN (tests/golden), RR_MODEL_DIR (the model
all-MiniLM-L6-v2) and RR_DATA (the folder with candidates.jsonl); without the last two it is skipped.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GOLDEN = os.environ.get("RR_GOLDEN", os.path.join(ROOT, "tests", "golden"))
TOKENIZE = os.environ.get("RR_TOKENIZE", os.path.join(ROOT, "build", "tests", "tools", "tokenize"))

# Columns of the golden lines behind the qid.
CHECKS = [
    ("queries", [], lambda entry: [entry["query"]]),
    ("passages", [], lambda entry: [candidate["text"] for candidate in entry["candidates"]]),
    ("pairs truncated at 64", ["--max-length", "64"],
     lambda entry: [[entry["query"], candidate["text"]] for candidate in entry["candidates"]]),
    ("pairs truncated at 512", ["--max-length", "512"],
     lambda entry: [[entry["query"], candidate["text"]] for candidate in entry["candidates"]]),
]


def tokenize(model, options, inputs):
    text = "".join(json.dumps(one) + "\n" for one in inputs)
    ran = subprocess.run([TOKENIZE, model, *options], input=text.encode(),
                         stdout=subprocess.PIPE, check=True)
    return ran.stdout.decode().splitlines(keepends=True)


def wrong_queries(entries, golden, column, model, options, inputs_of):
    inputs = [inputs_of(entry) for entry in entries]
    lines = tokenize(model, options, [one for some in inputs for one in some])
    if len(lines) != sum(map(len, inputs)):
        return [f"{len(lines)} lines for {sum(map(len, inputs))} inputs"]
    wrong, start = [], 0
    for entry, some in zip(entries, inputs):
        digest = hashlib.sha256("".join(lines[start:start + len(some)]).encode()).hexdigest()[:16]
        start += len(some)
        if digest != golden[entry["qid"]][column]:
            wrong.append("differs for query " + entry["qid"])
    return wrong


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    model, data = os.environ.get("RR_MODEL_DIR"), os.environ.get("RR_DATA")
    path = os.path.join(data or "", "candidates.jsonl")
    print(f"1..{len(CHECKS)}")
    if not model or not data or not os.path.exists(path):
        for number, (name, _, _) in enumerate(CHECKS, start=1):
            print(f"ok {number} - {name} # SKIP RR_MODEL_DIR or RR_DATA is not there")
        return 0
    with open(os.path.join(GOLDEN, "token", "dl19.txt"), encoding="utf-8") as lines:
        golden = {line.split()[0]: line.split()[1:] for line in lines}
    with open(path, encoding="utf-8") as lines:
        entries = [json.loads(line) for line in lines]
    if not os.path.exists(TOKENIZE):
        print(f"Bail out! there is no {TOKENIZE}: build it, or set RR_TOKENIZE")
        return 2
    failed = 0
    for number, (name, options, inputs_of) in enumerate(CHECKS, start=1):
        wrong = wrong_queries(entries, golden, number - 1, model, options, inputs_of)
        if len(entries) != len(golden):
            wrong.append(f"{len(entries)} queries, {len(golden)} golden lines")
        for problem in wrong:
            print("# " + problem)
        print(f"{'not ok' if wrong else 'ok'} {number} - {name}")
        failed += bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
