#!/usr/bin/env python3
"""One peer in a process of its own, so that its memory and CPU time are its own. Reads and writes
lines of JSON; the only argument is the peer's description (see peers.PEERS).

  first line out                            {"ready": {"version", "settings"}} or {"error": TEXT}
  {"keep": KEY, "query": Q, "texts": [..]}  {"kept": KEY}
  {"score": KEY, "batch": N}                {"wall": s, "cpu": s, "scores": [..] or null}

Times are taken here: the pipe is not counted, tokenizing is."""

import argparse
import json
import os
import resource
import sys
import time

MAX_TOKENS = 512


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Tokenizing:
    """The tokenizer alone; and what the engines that take token ids share: texts sorted by length,
    each batch padded to its longest."""

    def __init__(self, peer):
        import tokenizers
        self.version = tokenizers.__version__
        self.settings = "no model, no batches"
        path = os.path.join(peer["tokenizer"], "tokenizer.json")
        self.tokenizer = tokenizers.Tokenizer.from_file(path)
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)

    def encode(self, query, texts):
        return self.tokenizer.encode_batch([(query, text) for text in texts])

    def score(self, query, texts, batch):
        self.encode(query, texts)


class Batching(Tokenizing):
    def score(self, query, texts, batch):
        import numpy
        encodings = self.encode(query, texts)
        rows = [(e.ids, e.type_ids) for e in encodings]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
        scores = [0.0] * len(texts)
        for begin in range(0, len(order), batch):
            part = order[begin:begin + batch]
            ids = numpy.zeros((len(part), len(rows[part[-1]][0])), numpy.int64)
            mask = numpy.zeros_like(ids)
            types = numpy.zeros_like(ids)
            for row, i in enumerate(part):
                length = len(rows[i][0])
                ids[row, :length] = rows[i][0]
                mask[row, :length] = 1
                types[row, :length] = rows[i][1]
            feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
            for i, logit in zip(part, self.forward(feeds).reshape(-1)):
                scores[i] = float(logit)
        return scores


class OnnxRuntime(Batching):
    def __init__(self, peer):
        super().__init__(peer)
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = peer["threads"]
        self.session = onnxruntime.InferenceSession(peer["model"], options,
                                                    providers=["CPUExecutionProvider"])
        self.version = onnxruntime.__version__
        self.settings = "sorted by length, fused for transformers"

    def forward(self, feeds):
        return self.session.run(None, feeds)[0]


class OpenVino(Batching):
    def __init__(self, peer):
        super().__init__(peer)
        import openvino
        core = openvino.Core()
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if peer["hint"] == "bf16" and "BF16" not in able:
            raise RuntimeError("no bf16 in this CPU: OpenVINO would emulate it, slower than fp32")
        self.model = core.compile_model(os.path.join(peer["model"], "model.xml"), "CPU", {
            "INFERENCE_NUM_THREADS": peer["threads"],
            "INFERENCE_PRECISION_HINT": peer["hint"],
            "PERFORMANCE_HINT": "LATENCY",
        })
        self.version = openvino.__version__.split("-")[0]
        self.settings = f"sorted by length, hint {peer['hint']}"

    def forward(self, feeds):
        return self.model(feeds)[0]


class Torch:
    """As sentence-transformers runs it, which sorts by length and pads itself."""

    def __init__(self, peer):
        import sentence_transformers
        import torch
        torch.set_num_threads(peer["threads"])
        self.activation = torch.nn.Identity()
        self.model = sentence_transformers.CrossEncoder(
            peer["model"], device="cpu", num_labels=1,
            processor_kwargs={"model_max_length": MAX_TOKENS})
        self.version = f"{torch.__version__}, sentence-transformers {sentence_transformers.__version__}"
        self.settings = "CrossEncoder.predict"

    def score(self, query, texts, batch):
        scores = self.model.predict([(query, text) for text in texts], batch_size=batch,
                                    activation_fn=self.activation, show_progress_bar=False)
        return [float(score) for score in scores]


KINDS = {"tokenizers": Tokenizing, "onnxruntime": OnnxRuntime, "openvino": OpenVino, "torch": Torch}


def answer(engine, requests, line):
    message = json.loads(line)
    if "keep" in message:
        requests[message["keep"]] = message["query"], message["texts"]
        return {"kept": message["keep"]}
    query, texts = requests[message["score"]]
    cpu, begin = cpu_seconds(), time.perf_counter()
    scores = engine.score(query, texts, message["batch"])
    wall = time.perf_counter() - begin
    return {"wall": wall, "cpu": cpu_seconds() - cpu, "scores": scores}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", metavar="DESCRIPTION", help="JSON")
    peer = json.loads(parser.parse_args().peer)
    # The libraries print to standard output too: the pipe becomes a descriptor of its own.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message):
        out.write(json.dumps(message) + "\n")
        out.flush()

    try:
        engine = KINDS[peer["kind"]](peer)
    except Exception as error:  # whatever a library raises, the run goes on without it
        say({"error": f"{type(error).__name__}: {error}"})
        return
    say({"ready": {"version": engine.version, "settings": engine.settings}})
    requests = {}
    for line in sys.stdin:
        try:
            say(answer(engine, requests, line))
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
