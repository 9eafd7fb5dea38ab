#!/usr/bin/env python3
"""Fine-tunes the default model's upper layers on the score that it is served with, on the CPU.

  train/train.py --data DIR --model DIR --out DIR [--steps N] [--minutes M]

A step takes --queries questions, each with a relevant passage and --negatives of those that BM25 found; every passage
of the step is scored with every question. The loss is InfoNCE over them, without those that the untrained model puts
above the relevant passage by --margin (many are relevant and unlabelled), and the divergence from the untrained
model's own order, which holds the model to what it knew. --out keeps a checkpoint, from which the same command goes
on. Dev queries are scored every --look steps and whenever it ends; --out/model is the model that did best there, --out/last the last.
The same seed, steps and version of torch give the same weights, up to how sums are rounded."""

import argparse
import json
import math
import os
import random
import sys
import time

import torch

import data
import late

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
import trec  # noqa: E402

WEIGHTS = {"nq": 3, "boolq": 3, "selqa": 3}  # how often a source's queries are met; others: once


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", required=True)
    add("--model", required=True, help="the untrained model's directory")
    add("--out", required=True)
    add("--steps", type=int, default=1000)
    add("--minutes", type=float, default=180, help="of this run, at most; a later one goes on")
    add("--upper", type=int, default=2, help="layers that are trained (default: 2)")
    add("--queries", type=int, default=24)
    add("--negatives", type=int, default=3)
    add("--rate", type=float, default=3e-5)
    add("--temperature", type=float, default=0.05)
    add("--margin", type=float, default=0.02)
    add("--anchor", type=float, default=1.0, help="weight of the divergence from the untrained model")
    add("--max-length", type=int, default=160, help="tokens of a passage")
    add("--look", type=int, default=150)
    add("--dev", type=int, default=60, help="dev queries of each source")
    add("--seed", type=int, default=1)
    add("--threads", type=int, default=2)
    add("--keep-tokens", type=int, default=3_000_000, help="lower layers' rows kept, 768 bytes each")
    return parser.parse_args()


def order_of(queries, seed):
    """Queries in the order in which they are met."""
    rng = random.Random(seed)
    pool = [index for index, query in enumerate(queries) for _ in range(WEIGHTS.get(query["src"], 1))]
    rng.shuffle(pool)
    return pool


def batch_of(queries, texts, order, step, arguments):
    """Questions, passages (the relevant ones first), and which passages are relevant to which question."""
    rng = random.Random(f"{arguments.seed} {step}")
    at = step * arguments.queries
    chosen, met = [], set()
    while len(chosen) < arguments.queries:
        query = queries[order[at % len(order)]]
        at += 1
        positive = rng.choice(query["pos"])
        if positive not in met:
            met.add(positive)
            chosen.append((query, positive))
    passages = [positive for _, positive in chosen]
    for query, _ in chosen:
        passages += rng.sample(query["bm25"], min(arguments.negatives, len(query["bm25"])))
    passages = list(dict.fromkeys(passages))
    relevant = torch.tensor([[passage in query["pos"] for passage in passages] for query, _ in chosen])
    return [query["query"] for query, _ in chosen], [texts[passage] for passage in passages], relevant


def loss_of(student, teacher, relevant, arguments):
    positives = torch.arange(len(student))
    allowed = ~relevant & (teacher <= teacher[positives, positives][:, None] + arguments.margin)
    allowed[positives, positives] = True
    contrast = (student / arguments.temperature).masked_fill(~allowed, -1e9)
    info = torch.nn.functional.cross_entropy(contrast, positives)
    anchor = torch.nn.functional.kl_div(torch.log_softmax(student / arguments.temperature, 1),
                                        torch.log_softmax(teacher / arguments.temperature, 1),
                                        reduction="batchmean", log_target=True)
    return info, anchor


@torch.no_grad()
def look(layers, lower, dev, texts):
    """nDCG@10 of each source's dev queries, and the mean of those."""
    figures = {}
    for source, queries in dev.items():
        values = []
        for query in queries:
            passages = query["pos"] + query["bm25"]
            scores = late.hybrid(late.vectors(layers, lower.rows([query["query"]])),
                                 late.vectors(layers, lower.rows([texts[passage] for passage in passages])))[0]
            grades = [int(index < len(query["pos"])) for index in torch.argsort(-scores, stable=True).tolist()]
            values.append(trec.ndcg(grades, grades))
        figures[source] = sum(values) / len(values)
    return figures, sum(figures.values()) / len(figures)


class Run:
    def __init__(self, arguments):
        self.arguments = arguments
        torch.manual_seed(arguments.seed)
        torch.set_num_threads(arguments.threads)
        self.texts, queries = data.read(arguments.data)
        self.dev = {source: data.held_apart(queries, "dev", source, arguments.dev) for source in data.WEB}
        self.queries = data.training(self.texts, queries)
        self.order = order_of(self.queries, arguments.seed)
        tokenizer, self.bert, self.layers, self.before = late.load(arguments.model, arguments.upper)
        self.lower = late.Lower(self.bert, tokenizer, arguments.upper, arguments.max_length, arguments.keep_tokens)
        self.optimizer = torch.optim.AdamW(self.layers.parameters(), lr=arguments.rate, weight_decay=0.01)
        self.step, self.best, self.looks = 0, None, []
        self.path = os.path.join(arguments.out, "checkpoint.pt")

    def resume(self):
        os.makedirs(self.arguments.out, exist_ok=True)
        if os.path.exists(self.path):
            kept = torch.load(self.path, weights_only=True)
            self.layers.load_state_dict(kept["layers"])
            self.optimizer.load_state_dict(kept["optimizer"])
            self.step, self.best, self.looks = kept["step"], kept["best"], kept["looks"]

    def keep(self):
        torch.save({"layers": self.layers.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step,
                    "best": self.best, "looks": self.looks}, self.path + ".new")
        os.rename(self.path + ".new", self.path)

    def examine(self):
        figures, mean = look(self.layers, self.lower, self.dev, self.texts)
        self.looks.append({"step": self.step, "mean": mean, **figures})
        say(f"step {self.step}: dev nDCG@10 {mean:.4f} {json.dumps({k: round(v, 4) for k, v in figures.items()})}")
        late.save(os.path.join(self.arguments.out, "last"), self.arguments.model, self.bert)
        if self.best is None or mean > self.best:
            self.best = mean
            late.save(os.path.join(self.arguments.out, "model"), self.arguments.model, self.bert)
        self.keep()

    def advance(self):
        arguments = self.arguments
        done = self.step / arguments.steps
        rate = arguments.rate * min(1.0, (self.step + 1) / (0.08 * arguments.steps)) * 0.5 * (1 + math.cos(math.pi * done))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        questions, passages, relevant = batch_of(self.queries, self.texts, self.order, self.step, arguments)
        query_rows, rows = self.lower.rows(questions), self.lower.rows(passages)
        with torch.no_grad():
            teacher = late.hybrid(late.vectors(self.before, query_rows), late.vectors(self.before, rows))
        student = late.hybrid(late.vectors(self.layers, query_rows), late.vectors(self.layers, rows))
        info, anchor = loss_of(student, teacher, relevant, arguments)
        self.optimizer.zero_grad()
        (info + arguments.anchor * anchor).backward()
        torch.nn.utils.clip_grad_norm_(self.layers.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return info.item(), anchor.item()


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main():
    arguments = read_arguments()
    run = Run(arguments)
    run.resume()
    say(f"{len(run.queries)} queries to train on, {len(run.order)} with repetitions; from step {run.step}")
    if run.step == 0:
        run.examine()
    begin, sums, count = time.monotonic(), [0.0, 0.0], 0
    while run.step < arguments.steps and time.monotonic() - begin < 60 * arguments.minutes:
        losses = run.advance()
        sums, count = [a + b for a, b in zip(sums, losses)], count + 1
        if count == 25:
            say(f"step {run.step}: InfoNCE {sums[0] / count:.4f}, divergence {sums[1] / count:.4f}, "
                f"{(time.monotonic() - begin) / 60:.1f} min, {run.lower.tokens} tokens kept")
            sums, count = [0.0, 0.0], 0
        if run.step % arguments.look == 0 or run.step == arguments.steps:
            run.examine()
        elif run.step % 50 == 0:
            run.keep()
    if run.looks[-1]["step"] != run.step:
        run.examine()


if __name__ == "__main__":
    main()
