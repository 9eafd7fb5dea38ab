#!/usr/bin/env python3
"""Ranking quality on judged passages, where there are any (RR_DATA): of the default model, and of the one it was made from."""

import glob
import os
import shutil
import sys
import tempfile

import harness
from evaluation import evaluate, trec
from harness import SLOW, Server, case, default_model

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
# TREC Deep Learning 2019, passages, the BM25 candidates in $RR_DATA.
AS_GIVEN = 0.5058
UNTRAINED = 0.6424  # all-MiniLM-L6-v2, RR_MODEL_DIR
UNTRAINED_AS_SERVED = 0.6530  # by what deploy/rerankd.json says
DEFAULT_MODEL = 0.6704
TOLERANCE = 0.0005


def judged_data():
    folder = os.environ.get("RR_DATA")
    if not folder:
        raise harness.Skip("RR_DATA is not set")
    return (trec.read_candidates(os.path.join(folder, "candidates.jsonl")),
            trec.read_qrels(os.path.join(folder, "qrels.txt")))


def quality_of(model, *arguments):
    if SLOW:
        raise harness.Skip("too slow here")
    queries, judged = judged_data()
    with Server(*arguments, model=model) as server:
        url = f"http://127.0.0.1:{server.port}"
        quality, first, _ = trec.evaluate(
            queries, judged, lambda query, texts: evaluate.rerank(url, query, texts))
    print(f"# nDCG@10 {quality:.4f}, MRR@10 {first:.4f}")
    return quality


@case
def the_candidates_as_given_have_the_known_quality():
    queries, judged = judged_data()
    quality, _, n = trec.evaluate(queries, judged, lambda query, texts: range(len(texts)))
    assert n == 43, n
    assert abs(quality - AS_GIVEN) <= 0.00005, quality


@case
def the_default_model_is_served_where_none_is_named():
    with Server(model="") as server:
        info = server.request("GET", "/info").json()
        told = (info["served_model_name"], info["scoring"], info["calibrated"])
        assert told == ("rerankd-minilm-en-v1", "maxsim", True), info
        scores = server.scores("how do bees make honey", ["A hive is a box.", "Bees turn nectar into honey by drying it."])
        assert 0 < scores[0] < scores[1] < 1, scores


@case
def the_default_model_has_its_known_quality():
    assert abs(quality_of("") - DEFAULT_MODEL) <= TOLERANCE


@case
def the_untrained_model_has_its_known_quality():
    assert abs(quality_of(default_model(), "--scoring", "cosine") - UNTRAINED) <= TOLERANCE


@case
def the_untrained_model_has_its_known_quality_as_it_is_served():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # the server does not stay root
        for path in glob.glob(os.path.join(default_model(), "[!.]*")):
            os.symlink(path, os.path.join(folder, os.path.basename(path)))
        served = os.path.join(folder, "rerankd.json")
        if os.path.lexists(served):
            os.remove(served)
        shutil.copyfile(os.path.join(ROOT, "deploy", "rerankd.json"), served)
        assert abs(quality_of(folder) - UNTRAINED_AS_SERVED) <= TOLERANCE


if __name__ == "__main__":
    sys.exit(harness.main())
