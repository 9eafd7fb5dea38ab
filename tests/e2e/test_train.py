#!/usr/bin/env python3
"""The programs in train/ that need no torch, on made-up pairs: what is held apart stays apart, a known map is found
again, and what they write is what the server reads."""

import contextlib
import gzip
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile

import harness
from harness import Server, case

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
GOLDEN = os.path.join(os.environ.get("RR_GOLDEN", ""), "score")
WORDS = "river bridge water stone iron town house garden tree bread salt flour oven ship sail wind rain star moon".split()

sys.path.insert(0, os.path.join(ROOT, "train"))
import data  # noqa: E402


def run(program, *arguments):
    done = subprocess.run([sys.executable, os.path.join(ROOT, "train", program), *arguments], capture_output=True, text=True,
                          timeout=harness.PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_lines(path, rows):
    with (gzip.open if path.endswith(".gz") else open)(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


@contextlib.contextmanager
def made_up_pairs():
    """Passages of 20 words; every third of squad's says what one of nq says, with other words around it."""
    rng = random.Random(1)
    passages, queries = [], []
    for source in ("nq", "boolq", "selqa", "squad", "medquad", "sciq"):
        for number in range(120):
            text = " ".join(rng.choices(WORDS, k=20))
            if source == "squad" and number % 3 == 0:
                text = "so " + passages[number]["text"] + " then"
            passages.append({"id": len(passages), "text": text, "src": source})
            others = rng.sample(range(len(passages)), min(len(passages), 6))
            queries.append({"query": f"{source} {number} " + " ".join(text.split()[:3]), "src": source,
                            "pos": [len(passages) - 1], "neg": [], "bm25": others})
    with tempfile.TemporaryDirectory() as folder:
        write_lines(os.path.join(folder, "passages.jsonl.gz"), passages)
        write_lines(os.path.join(folder, "queries.jsonl.gz"), queries)
        yield folder


@case
def what_is_held_apart_is_never_trained_on():
    with made_up_pairs() as folder:
        texts, queries = data.read(folder)
        parts = {part: [query for query in queries if query["part"] == part] for part in ("train", "dev", "test")}
        assert all(parts.values()) and {query["src"] for query in parts["dev"]} == set(data.WEB)
        assert not any(query["src"] == "sciq" for query in queries)
        assert {query["part"] for query in queries if query["src"] == "medquad"} == {"test"}
        held = {passage for part in ("dev", "test") for query in parts[part] for passage in query["pos"]}
        copies = [passage for passage, text in texts.items() if text.startswith("so ") and
                  any(texts[original] in text for original in held)]
        assert copies
        trained = data.training(texts, queries)
        used = {passage for query in trained for passage in query["pos"] + query["bm25"]}
        assert trained and not used & held and not used & set(copies)
        assert any(text.startswith("so ") for passage, text in texts.items() if passage in used)
        chosen = data.held_apart(queries, "test", "nq", 10)
        assert chosen == data.held_apart(queries, "test", "nq", 10) and len(chosen) == 10
        assert chosen == data.held_apart(queries, "test", "nq", 12)[:10]


@case
def a_gain_that_is_there_is_found_and_one_that_is_not_is_not():
    rng = random.Random(2)
    runs = {"first": [], "same": [], "better": []}
    for number in range(300):
        scores = [rng.random() for _ in range(20)]
        row = {"src": "nq", "query": str(number), "relevant": 1}
        runs["first"].append({**row, "scores": scores})
        runs["same"].append({**row, "scores": [2 * score for score in scores]})
        runs["better"].append({**row, "scores": [scores[0] + 0.3, *scores[1:]]})
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in runs.items():
            write_lines(os.path.join(folder, name), rows)
        said = run("evaluate", *(f"{name}={os.path.join(folder, name)}" for name in runs)).splitlines()
    same, better = ([float(field.strip("[],")) for field in said[said.index(f"nDCG@10, {name} less first") + 1].split()[1:]]
                    for name in ("same", "better"))
    assert same == [0, 0, 0], said
    assert 0 < better[1] < better[0] < better[2], said


@case
def equal_scores_count_against_the_run():
    row = {"src": "nq", "query": "q", "relevant": 1, "scores": [0.5, 0.5, 0.5, 0.25]}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "run")
        write_lines(path, [row])
        said = run("evaluate", f"first={path}").splitlines()
    assert float(said[1].split()[1]) == 0.5 and abs(float(said[3].split()[1]) - 1 / 3) < 0.0001, said


@case
def a_known_map_is_found_again_and_read_by_the_server():
    rng = random.Random(3)

    def rows(count):
        for number in range(count):
            pairs = [(score, rng.random() < 1 / (1 + math.exp(8 - 12 * score)))
                     for score in (rng.random() for _ in range(20))]
            pairs.sort(key=lambda pair: not pair[1])
            yield {"src": "nq", "query": str(number), "relevant": sum(relevant for _, relevant in pairs),
                   "scores": [score for score, _ in pairs]}

    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # the server does not stay root
        write_lines(os.path.join(folder, "fit"), rows(500))
        write_lines(os.path.join(folder, "judge"), rows(500))
        model = os.path.join(folder, "model")
        shutil.copytree(os.path.join(GOLDEN, "bi-encoder-mean"), model)
        said = run("calibrate", "--fit", os.path.join(folder, "fit"), "--judge", os.path.join(folder, "judge"),
                   "--write", os.path.join(model, "rerankd.json"), "--scoring", "maxsim")
        assert "taken: platt" in said, said
        with open(os.path.join(model, "rerankd.json"), encoding="utf-8") as file:
            written = json.load(file)
        low, high = written["calibration"]["logits"]
        assert abs(low + 8) < 0.6 and abs(high - 4) < 0.6, written
        raw, made = (float(said.splitlines()[-1].split()[at]) for at in (3, 4))
        assert made < 0.02 < 0.05 < raw, said
        with Server(model=model) as server:
            info = server.request("GET", "/info").json()
            assert (info["scoring"], info["calibrated"]) == ("maxsim", True), info


@case
def the_server_scores_the_held_apart_lists():
    with made_up_pairs() as folder:
        os.chmod(folder, 0o755)
        out = os.path.join(folder, "out")
        run("score", "--server", harness.binary(), "--data", folder, "--model", os.path.join(GOLDEN, "bi-encoder-mean"),
            "--scoring", "hybrid", "--part", "dev", "--count", "3", "--dtype", "float32", "--out", out)
        with open(out, encoding="utf-8") as file:
            made = [json.loads(line) for line in file]
        texts, queries = data.read(folder)
        wanted = [query for source in data.WEB for query in data.held_apart(queries, "dev", source, 3)]
        assert [row["query"] for row in made] == [query["query"] for query in wanted] and len(made) == 9
        with Server("--scoring", "hybrid", model=os.path.join(GOLDEN, "bi-encoder-mean")) as server:
            for row, query in zip(made, wanted):
                passages = [texts[passage] for passage in query["pos"] + query["bm25"]]
                assert row["relevant"] == 1 and row["scores"] == server.scores(query["query"], passages, truncate=True)


@case
def a_teacher_scores_each_list_once_and_the_same_lists_whoever_it_is():
    with made_up_pairs() as folder:
        os.chmod(folder, 0o755)
        made = {}
        for model, prefix in (("bi-encoder-mean", ""), ("bi-encoder-cls", "so ")):
            out = os.path.join(folder, model)
            command = ("teach", "--server", harness.binary(), "--data", folder, "--model", os.path.join(GOLDEN, model),
                       "--scoring", "hybrid", "--negatives", "3", "--others", "5", "--dtype", "float32",
                       "--passage-prefix", prefix, "--out", out)
            run(*command)
            with open(out, encoding="utf-8") as file:
                lines = file.readlines()
            with open(out, "w", encoding="utf-8") as file:
                file.writelines(lines[:-2])  # as an end in the middle leaves it
            run(*command)
            with open(out, encoding="utf-8") as file:
                assert file.readlines() == lines
            made[model] = [json.loads(line) for line in lines]
        first, other = made.values()
        assert [(row["query"], row["passages"]) for row in first] == [(row["query"], row["passages"]) for row in other]
        assert [row["scores"] for row in first] != [row["scores"] for row in other]
        assert sum(row["src"] not in data.WEB for row in first) == 5 < len(first)
        texts, queries = data.read(folder)
        trained = {query["query"]: query for query in data.training(texts, queries)}
        for row in first:
            query = trained[row["query"]]
            assert row["passages"][0] in query["pos"] and set(row["passages"][1:]) <= set(query["bm25"]), row
            assert len(row["passages"]) == len(row["scores"]) <= 4 and len(set(row["passages"])) == len(row["passages"])
        with Server("--scoring", "hybrid", model=os.path.join(GOLDEN, "bi-encoder-mean")) as server:
            scores = server.scores(first[0]["query"], [texts[passage] for passage in first[0]["passages"]], truncate=True)
            assert first[0]["scores"] == [round(score, 6) for score in scores]


if __name__ == "__main__":
    sys.exit(harness.main())
