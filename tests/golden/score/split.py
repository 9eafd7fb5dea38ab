#!/usr/bin/env python3
"""Makes the small cross-encoder with split layers of this folder and the reference scores of its variants beside it,
in float32.

    python split.py

Needs torch, transformers and safetensors. A score is computed from BertModel's own embeddings and layers: a mask that
is block-diagonal over [CLS] query [SEP] and document [SEP] in the split layers, none in the others. `split` is the
plain variant's directory; each split-*.json says what its variant changes in config.json (`config`), beside its cases.
"""
import argparse
import json

if __name__ == "__main__":  # --help and mistakes before the imports that not everybody has
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()

import torch  # noqa: E402
from torch.nn.functional import cosine_similarity, normalize  # noqa: E402
from transformers import AutoTokenizer, BertForSequenceClassification  # noqa: E402

from generate import HERE, cases, config, randomize, save, write  # noqa: E402

LAYERS = 4
VARIANTS = {
    "split": {"split_layers": 2},
    "split-mean-maxsim": {"architectures": ["BertModel"], "split_layers": 3, "split_head": "mean",
                          "split_positions": "restart", "split_residual": "maxsim", "split_residual_weight": 2.5},
    "split-joint-cosine": {"split_layers": 1, "split_head": "cls", "split_positions": "joint",
                           "split_residual": "cosine"},
    "split-cls-maxsim": {"split_layers": 3, "split_residual": "maxsim", "split_residual_weight": -1},
    "split-mean": {"split_layers": 2, "split_head": "mean", "split_residual": "none"},
}


def logit(model, batch, settings):
    ids, types = batch["input_ids"], batch["token_type_ids"]
    length = ids.shape[1]
    cut = ids[0].tolist().index(3) + 1  # behind the first [SEP]
    positions = torch.arange(length)
    if settings.get("split_positions", "restart") == "restart":
        positions[cut:] -= cut
    side = torch.arange(length) >= cut
    apart = torch.where(side[:, None] == side[None, :], 0.0, torch.finfo(torch.float32).min)[None, None]
    bert = model.bert
    rows = bert.embeddings(input_ids=ids, token_type_ids=types, position_ids=positions[None])
    for layer in bert.encoder.layer[:settings["split_layers"]]:
        rows = layer(rows, apart)
    query, document = rows[0, :cut], rows[0, cut:]
    for layer in bert.encoder.layer[settings["split_layers"]:]:
        rows = layer(rows, torch.zeros_like(apart))
    mean = settings.get("split_head", "cls") == "mean"
    score = model.classifier(rows.mean(1) if mean else bert.pooler(rows)).item()
    residual = {"none": lambda: 0.0,
                "cosine": lambda: cosine_similarity(query.mean(0), document.mean(0), dim=0).item(),
                "maxsim": lambda: (normalize(query, dim=1) @ normalize(document, dim=1).T).max(1).values.mean().item()}
    return score + settings.get("split_residual_weight", 1) * residual[settings.get("split_residual", "none")]()


def variant(name, settings, model, folder):
    wanted = cases() if name == "split" else [case for case in cases() if case["name"] != "a hundred candidates"]
    for case in wanted:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), truncation_side=case["side"])
        case["scores"] = []
        for text in case["texts"]:
            batch = tokenizer([case["query"]], [text], truncation=True, max_length=512, return_tensors="pt")
            with torch.no_grad():
                case["scores"].append(logit(model, batch, settings))
    write(HERE / (name + ".json"), wanted if name == "split" else {"config": settings, "cases": wanted})


if __name__ == "__main__":
    torch.set_num_threads(1)
    model = randomize(BertForSequenceClassification(config(
        num_hidden_layers=LAYERS, num_labels=1, architectures=["BertForSequenceClassification"],
        attn_implementation="eager")), 21)
    folder = HERE / "split"
    save(folder, model)
    settings = json.loads((folder / "config.json").read_text())
    settings["architectures"] = ["BertForSequenceClassification"]
    write(folder / "config.json", settings | VARIANTS["split"])
    for name, changes in VARIANTS.items():
        variant(name, changes, model, folder)
