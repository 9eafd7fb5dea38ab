#!/usr/bin/env python3
"""--scoring over HTTP: late interaction and its mixture with the cosine against reference values, ColBERT checkpoints,
the score cache, what is refused."""

import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile

import harness
from harness import SLOW, Server, case, in_parallel

TOLERANCE = 1e-4
GOLDEN = os.path.join(os.environ.get("RR_GOLDEN", ""), "score")


def references(name):
    with open(os.path.join(GOLDEN, name + ".json"), encoding="utf-8") as file:
        return json.load(file)


def ask(server, reference):
    return server.scores(reference["query"], reference["texts"], truncate=True)


def compare(server, reference):
    worst = max(abs(a - b) for a, b in zip(ask(server, reference), reference["scores"]))
    assert worst <= TOLERANCE, (reference["name"], worst)


def compare_all(model, golden, *arguments):
    """One request after the other, then many at a time: the same scores to the digit."""
    wanted = references(golden)
    with Server("--dtype", "float32", *arguments, model=os.path.join(GOLDEN, model)) as server:
        for reference in wanted:
            compare(server, reference)
        alone = [ask(server, reference) for reference in wanted]
        together = in_parallel([lambda reference=reference: ask(server, reference)
                                for reference in wanted * (1 if SLOW else 3)])
        assert together == alone * (1 if SLOW else 3)
        return server.request("GET", "/info").json()


@case
def a_colbert_is_told_by_its_files_and_gives_the_reference_scores():
    for name in ("colbert", "colbert-attending", "colbert-bare"):
        info = compare_all(name, name)
        assert info["scoring"] == "maxsim", info
        assert info["model_type"] == {"embedding": {"pooling": "none"}}, info


@case
def a_bi_encoder_scores_as_it_is_told():
    for scoring in ("maxsim", "hybrid"):
        for name in ("bi-encoder-mean", "bi-encoder-cls"):
            info = compare_all(name, f"{name}-{scoring}", "--scoring", scoring)
            assert info["scoring"] == scoring, info
    for arguments in ((), ("--scoring", "auto"), ("--scoring", "cosine")):
        with Server("--dtype", "float32", *arguments, model=os.path.join(GOLDEN, "bi-encoder-cls")) as server:
            compare(server, references("bi-encoder-cls")[0])
            assert server.request("GET", "/info").json()["scoring"] == "cosine"


@case
def raw_scores_are_the_same_scores():
    reference = references("colbert")[0]
    with Server("--dtype", "float32", model=os.path.join(GOLDEN, "colbert")) as server:
        raw = server.scores(reference["query"], reference["texts"], raw_scores=True, truncate=True)
        assert raw == ask(server, reference)


def map_of(calibration, score):
    """What core/scorer.h promises of rerankd.json's map."""
    scores, logits = calibration["scores"], calibration["logits"]
    at = max([i for i in range(1, len(scores) - 1) if score >= scores[i]], default=0)
    share = (score - scores[at]) / (scores[at + 1] - scores[at])
    return 1 / (1 + math.exp(-(logits[at] + share * (logits[at + 1] - logits[at]))))


@contextlib.contextmanager
def model_with(text, model="bi-encoder-mean"):
    """A copy of a small model with this rerankd.json."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # the server does not stay root
        copy = os.path.join(folder, "model")
        shutil.copytree(os.path.join(GOLDEN, model), copy)
        with open(os.path.join(copy, "rerankd.json"), "w", encoding="utf-8") as file:
            file.write(text)
        yield copy


def check_dialects(server, reference, calibration):
    """Cohere's answer has probabilities, llama.cpp's raw scores, both the same order."""
    body = json.dumps({"query": reference["query"], "documents": reference["texts"]}).encode()
    made, raw = (server.request("POST", path, body).json()["results"] for path in ("/v2/rerank", "/v1/reranking"))
    assert [entry["index"] for entry in made] == [entry["index"] for entry in raw]
    for probable, plain in zip(made, raw):
        assert abs(map_of(calibration, plain["relevance_score"]) - probable["relevance_score"]) <= 1e-6


@case
def a_file_beside_the_model_says_how_it_is_scored_and_makes_probabilities():
    calibration = {"scores": [-0.5, 0.3, 0.9], "logits": [-8, -2, 4]}
    with model_with(json.dumps({"scoring": "hybrid", "calibration": calibration})) as model:
        with Server("--cache-bytes", "1000000", model=model) as server:
            info = server.request("GET", "/info").json()
            assert (info["scoring"], info["calibrated"]) == ("hybrid", True), info
            for reference in references("bi-encoder-mean-hybrid"):
                texts = reference["texts"]
                raw = server.scores(reference["query"], texts, raw_scores=True, truncate=True)
                assert max(abs(a - b) for a, b in zip(raw, reference["scores"])) <= TOLERANCE
                first = ask(server, reference)
                assert max(abs(map_of(calibration, a) - b) for a, b in zip(raw, first)) <= 1e-6
                assert ask(server, reference) == first  # from the cache
            check_dialects(server, references("bi-encoder-mean-hybrid")[0], calibration)
        with Server("--scoring", "cosine", model=model) as server:
            assert server.request("GET", "/info").json()["calibrated"] is False
            compare(server, references("bi-encoder-mean")[0])


@case
def a_file_that_says_nonsense_stops_the_start():
    for text, why in (('{"scoring": "best"}', "scoring must be"),
                      ('{"scoring": "hybrid", "calibration": {"scores": [1, 0], "logits": [0, 1]}}', "scores[1]"),
                      ('{"scoring": "hybrid", "calibration": {"scores": [0, 1], "logits": [0, 1e400]}}', "invalid JSON"),
                      ("{", "invalid JSON")):
        with model_with(text) as model:
            said = refusal(model, "auto")
            assert "rerankd.json" in said and why in said, said


@case
def every_number_format_answers_the_same_alone_and_together():
    reference = references("colbert")[-1]
    for dtype in ("bfloat16", "int8"):
        with Server("--dtype", dtype, model=os.path.join(GOLDEN, "colbert")) as server:
            whole = ask(server, reference)
            for text, score in zip(reference["texts"], whole):
                assert server.scores(reference["query"], [text], truncate=True) == [score], (dtype, text)
            assert max(abs(a - b) for a, b in zip(whole, reference["scores"])) < 0.1


@case
def a_cache_gives_the_same_scores():
    with Server("--dtype", "float32", "--cache-bytes", "1000000", "--scoring", "hybrid",
                model=os.path.join(GOLDEN, "bi-encoder-mean")) as server:
        for reference in references("bi-encoder-mean-hybrid"):
            first = ask(server, reference)
            assert ask(server, reference) == first
            # Some known, some not: the query's vectors are computed again for those.
            more = ["iron town", *reference["texts"], "a new text"]
            assert server.scores(reference["query"], more, truncate=True)[1:-1] == first
            compare(server, reference)
        assert server.metrics()["te_cache_hits"] > 0


@case
def pairs_of_their_own_queries_score_alike():
    reference = references("colbert")[0]
    with Server("--dtype", "float32", model=os.path.join(GOLDEN, "colbert")) as server:
        body = {"text_1": [reference["query"]] * len(reference["texts"]), "text_2": reference["texts"]}
        data = server.request("POST", "/score", json.dumps(body).encode()).json()["data"]
        for entry, score in zip(data, reference["scores"]):
            assert abs(entry["score"] - score) <= TOLERANCE, (entry, score)


@case
def a_pack_cache_serves_every_scoring():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)  # the server does not stay root
        for model, ways in (("bi-encoder-cls", ("cosine", "hybrid", "hybrid", "maxsim", "cosine", "cosine")),
                            ("colbert", ("maxsim", "auto"))):
            copy = os.path.join(folder, model)
            shutil.copytree(os.path.join(GOLDEN, model), copy)
            os.chmod(copy, 0o777)
            for way in ways:
                golden = model if way in ("cosine", "auto") or model == "colbert" else f"{model}-{way}"
                with Server("--dtype", "float32", "--pack-cache", "--scoring", way, model=copy) as server:
                    for reference in references(golden):
                        if reference["side"] == "right":
                            compare(server, reference)
            assert any(name.endswith(".pack") for name in os.listdir(copy)), os.listdir(copy)


def refusal(model, scoring):
    """What the server says as it stops."""
    done = subprocess.run([harness.binary(), "--model-id", os.path.join(GOLDEN, model), "--scoring", scoring,
                           "--hostname", "127.0.0.1", "--port", "0"], capture_output=True, text=True,
                          timeout=harness.PATIENCE)
    assert done.returncode != 0, (model, scoring)
    return done.stderr


@case
def what_a_model_has_not_is_refused_at_start():
    assert "expected auto, cosine, maxsim or hybrid" in refusal("colbert", "l2")
    assert "no vector of a whole text" in refusal("colbert", "cosine")
    assert "no vector of a whole text" in refusal("colbert", "hybrid")
    assert "cross-encoder" in refusal("cross-encoder", "maxsim")


@case
def every_instruction_set_gives_the_reference_scores():
    wanted = references("colbert")
    for isa in ("portable", "avx2", "avx512"):
        with Server("--dtype", "float32", "--isa", isa, model=os.path.join(GOLDEN, "colbert")) as server:
            for reference in wanted:
                compare(server, reference)


if __name__ == "__main__":
    sys.exit(harness.main())
