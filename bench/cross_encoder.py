#!/usr/bin/env python3
"""Prepares the models under comparison, each once, into a cache folder: a cross-encoder in
all-MiniLM-L6-v2's shape (its weights under a random, seeded classifier: its scores rank nothing, its
speed is a cross-encoder's), and what the other engines read. A process of its own, because exporting
needs torch, whose memory is not to be counted as theirs."""

import argparse
import itertools
import json
import os
import shutil

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
MAX_TOKENS = 512
CALIBRATION_QUERIES = 16
CALIBRATION_PAIRS = 192
HEAD_PAIRS = 64

FILES = {
    "model": "cross-encoder",
    "onnx": "cross-encoder.onnx",
    "onnx-fused": "cross-encoder-fused.onnx",
    "onnx-int8": "cross-encoder-int8.onnx",
    "openvino": "cross-encoder-openvino",
    "openvino-int8": "cross-encoder-openvino-int8",
}
MADE_FROM = {"model": None, "onnx": "model", "onnx-fused": "onnx", "onnx-int8": "onnx-fused",
             "openvino": "onnx", "openvino-int8": "openvino"}


def path(cache, artifact):
    return os.path.join(cache, FILES[artifact])


def load_bert(cache, **options):
    from transformers import BertForSequenceClassification
    return BertForSequenceClassification.from_pretrained(path(cache, "model"), **options).eval()


def make_model(arguments, target):
    """The random head is scaled so that logits have mean 0 and deviation 1 over some pairs: a
    difference of logits then says how much of their spread it is."""
    import torch
    from transformers import BertForSequenceClassification
    torch.manual_seed(7)
    model = BertForSequenceClassification.from_pretrained(arguments.source, num_labels=1).eval()
    feeds = itertools.islice(calibration_feeds(arguments, arguments.source), HEAD_PAIRS)
    with torch.inference_mode():
        tensors = [{name: torch.from_numpy(value) for name, value in feed.items()} for feed in feeds]
        logits = torch.cat([model(**inputs).logits for inputs in tensors])
        model.classifier.weight /= logits.std()
        model.classifier.bias.copy_((model.classifier.bias - logits.mean()) / logits.std())
    model.save_pretrained(target)
    for name in TOKENIZER_FILES:
        if os.path.exists(os.path.join(arguments.source, name)):
            shutil.copy(os.path.join(arguments.source, name), target)


def make_onnx(arguments, target):
    import torch
    model = load_bert(arguments.cache, attn_implementation="eager")
    ids = torch.ones(2, 16, dtype=torch.long)
    axes = {name: {0: "batch", 1: "length"} for name in INPUTS}
    torch.onnx.export(model, (ids, torch.ones_like(ids), torch.zeros_like(ids)), target,
                      input_names=list(INPUTS), output_names=["logits"],
                      dynamic_axes={**axes, "logits": {0: "batch"}}, opset_version=17, dynamo=False)


def make_onnx_fused(arguments, target):
    """With ONNX Runtime's own fusions for transformers."""
    from onnxruntime.transformers import optimizer
    with open(os.path.join(path(arguments.cache, "model"), "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    fused = optimizer.optimize_model(path(arguments.cache, "onnx"), model_type="bert",
                                     num_heads=config["num_attention_heads"],
                                     hidden_size=config["hidden_size"])
    fused.save_model_to_file(target)


def make_onnx_int8(arguments, target):
    """Dynamic quantisation: int8 weights a channel, activations quantised as they come."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    # Shape inference ends at the fused operators, so the type behind them has to be said.
    quantize_dynamic(path(arguments.cache, "onnx-fused"), target, per_channel=True,
                     weight_type=QuantType.QInt8,
                     extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})


def make_openvino(arguments, target):
    import openvino
    model = openvino.convert_model(path(arguments.cache, "onnx"))
    openvino.save_model(model, os.path.join(target, "model.xml"), compress_to_fp16=False)


def calibration_feeds(arguments, tokenizer_directory):
    """Pairs of the file's last queries, spread evenly; no batch, so no padding."""
    import numpy
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(os.path.join(tokenizer_directory, "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    with open(arguments.candidates, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file if line.strip()][-CALIBRATION_QUERIES:]
    by_query = ([(row["query"], c["text"]) for c in row["candidates"]] for row in rows)
    by_rank = itertools.zip_longest(*by_query)
    pairs = [pair for rank in by_rank for pair in rank if pair][:CALIBRATION_PAIRS]
    for query, text in pairs:
        encoding = tokenizer.encode(query, text)
        values = (encoding.ids, encoding.attention_mask, encoding.type_ids)
        yield {name: numpy.array([value], numpy.int64) for name, value in zip(INPUTS, values)}


def make_openvino_int8(arguments, target):
    """Post-training quantisation with calibration on texts that are not timed."""
    import nncf
    import openvino
    model = openvino.Core().read_model(os.path.join(path(arguments.cache, "openvino"), "model.xml"))
    feeds = list(calibration_feeds(arguments, path(arguments.cache, "model")))
    quantised = nncf.quantize(model, nncf.Dataset(feeds), model_type=nncf.ModelType.TRANSFORMER,
                              subset_size=len(feeds))
    openvino.save_model(quantised, os.path.join(target, "model.xml"), compress_to_fp16=False)


MAKERS = {"model": make_model, "onnx": make_onnx, "onnx-fused": make_onnx_fused,
          "onnx-int8": make_onnx_int8, "openvino": make_openvino, "openvino-int8": make_openvino_int8}


def missing(cache, artifacts):
    """What is to be made, in order, so that `artifacts` are there."""
    order = []
    for artifact in artifacts:
        while artifact and not os.path.exists(path(cache, artifact)) and artifact not in order:
            order.append(artifact)
            artifact = MADE_FROM[artifact]
    return [artifact for artifact in FILES if artifact in order]


def make(arguments, artifact):
    """Under another name first: what an interrupted run leaves is not taken for a model."""
    target = path(arguments.cache, artifact)
    part = os.path.join(arguments.cache, "part-" + os.path.basename(target))
    shutil.rmtree(part, ignore_errors=True)
    os.makedirs(arguments.cache, exist_ok=True)
    if not target.endswith(".onnx"):
        os.makedirs(part)
    MAKERS[artifact](arguments, part)
    os.replace(part, target)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True, help="all-MiniLM-L6-v2's directory")
    parser.add_argument("--cache", required=True)
    parser.add_argument("--candidates", required=True,
                        help="JSON lines whose last queries scale the head and calibrate int8")
    parser.add_argument("artifact", nargs="+", choices=list(FILES))
    arguments = parser.parse_args()
    for artifact in missing(arguments.cache, arguments.artifact):
        make(arguments, artifact)


if __name__ == "__main__":
    main()
