#!/usr/bin/env python3
"""Scores over HTTP against the reference values of the golden files, alone and all at once."""

import json
import os
import sys

import harness
from harness import SLOW, Server, case, default_model, in_parallel

TOLERANCE = 1e-4
GOLDEN = os.path.join(os.environ.get("RR_GOLDEN", ""), "score")


def references(name):
    path = os.path.join(GOLDEN, name + ".json")
    if not os.path.exists(path):
        raise harness.Skip(f"{path} is not there")
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def compare(server, reference):
    # References are logits; for a bi-encoder both kinds of score are the cosine.
    scores = server.scores(reference["query"], reference["texts"], raw_scores=True, truncate=True,
                           truncation_direction=reference["side"])
    worst = max(abs(a - b) for a, b in zip(scores, reference["scores"]))
    assert worst <= TOLERANCE, (reference["name"], worst)
    return worst


def compare_all(name, directory, *arguments):
    wanted = references(name)
    with Server(*arguments, model=directory) as server:
        worst = max(compare(server, reference) for reference in wanted)
        at_once = in_parallel([lambda reference=reference: compare(server, reference)
                               for reference in wanted * (1 if SLOW else 3)])
    print(f"# largest difference {max([worst] + at_once):.1e}")


@case
def a_cross_encoder_gives_the_reference_scores():
    compare_all("cross-encoder", os.path.join(GOLDEN, "cross-encoder"))


@case
def a_cross_encoder_with_split_layers_gives_the_reference_scores():
    compare_all("split", os.path.join(GOLDEN, "split"))
    with Server(model=os.path.join(GOLDEN, "split")) as server:
        assert server.request("GET", "/info").json()["split_layers"] == 2
    with Server(model=os.path.join(GOLDEN, "cross-encoder")) as server:
        assert "split_layers" not in server.request("GET", "/info").json()


@case
def a_bi_encoder_with_mean_pooling_gives_the_reference_scores():
    compare_all("bi-encoder-mean", os.path.join(GOLDEN, "bi-encoder-mean"))


@case
def a_bi_encoder_with_cls_pooling_gives_the_reference_scores():
    compare_all("bi-encoder-cls", os.path.join(GOLDEN, "bi-encoder-cls"))


@case
def the_default_model_gives_the_reference_scores():
    compare_all("minilm", default_model(), "--scoring", "cosine")


@case
def micro_batches_of_any_size_give_the_same_scores():
    for tokens, threads in (("1", "1"), ("513", "2"), ("100000", "1")):
        compare_all("cross-encoder", os.path.join(GOLDEN, "cross-encoder"), "--max-batch-tokens",
                    tokens, "--threads", threads)


if __name__ == "__main__":
    sys.exit(harness.main())
