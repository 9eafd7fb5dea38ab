#!/usr/bin/env python3
"""Trains the default model's upper layers to order passages as teachers do, on the CPU.

  train/train.py --data DIR --model DIR --teacher FILE=WEIGHT ... --out DIR [--steps N] [--minutes M]

FILEs are of train/teach: the same lists (a query, a relevant passage, others that BM25 found), scored by several models.
What is learned is their weighted sum, each in units of how much its scores differ within a list, and --label such
units more for the passage that is known to be relevant: many of the others are, too, and unlabelled, which the teachers know.
The loss is the divergence of the student's order from that one, both as probabilities within the list (ListNet,
Cao et al. 2007). A step takes --queries lists. --out keeps a checkpoint, from which the same command goes on. Dev queries
are scored every --look steps and at the end; --out/model is the model that did best there, --out/last the last.
The same seed, steps and version of torch give the same weights, up to how sums are rounded."""

import argparse
import json
import math
import os
import random
import sys
import time


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", required=True)
    add("--model", required=True, help="the untrained model's directory")
    add("--teacher", required=True, action="append", metavar="FILE=WEIGHT",
        help="the last is the untrained model itself: its scores' spread is the student's unit")
    add("--out", required=True)
    add("--steps", type=int, default=1000)
    add("--minutes", type=float, default=180, help="of this run, at most; a later one goes on")
    add("--upper", type=int, default=3, help="layers that are trained (default: 3)")
    add("--queries", type=int, default=16)
    add("--rate", type=float, default=8e-5)
    add("--sharpness", type=float, default=2.0, help="of the probabilities, a unit")
    add("--label", type=float, default=0.75)
    add("--max-length", type=int, default=112, help="tokens of a passage")
    add("--look", type=int, default=200)
    add("--dev", type=int, default=40, help="dev queries of each source")
    add("--seed", type=int, default=1)
    add("--threads", type=int, default=2)
    add("--keep-tokens", type=int, default=6_000_000, help="lower layers' rows kept, 768 bytes each")
    return parser.parse_args()


if __name__ == "__main__":  # --help and mistakes before the imports that not everybody has
    read_arguments()

import torch  # noqa: E402

import data  # noqa: E402
import late  # noqa: E402

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
import trec  # noqa: E402


def spread(lists):
    """The mean standard deviation of a list's scores."""
    return sum(torch.tensor(item["scores"]).std().item() for item in lists) / len(lists)


def read_lists(teachers):
    """Lists with the teachers' sum as scores, and the last teacher's spread."""
    summed, kept = {}, {}
    for teacher in teachers:
        path, weight = teacher.rsplit("=", 1)
        with open(path, encoding="utf-8") as file:
            lists = [json.loads(line) for line in file]
        unit = spread(lists)
        for item in lists:
            key = (item["src"], item["query"], tuple(item["passages"]))
            scores = torch.tensor(item["scores"])
            scores = float(weight) * (scores - scores.mean()) / unit
            summed.setdefault(key, []).append(scores)
            kept[key] = item
    whole = [key for key, scores in summed.items() if len(scores) == len(teachers)]
    return [{**kept[key], "scores": sum(summed[key])} for key in sorted(whole)], unit


def loss_of(student, item, unit, arguments):
    wanted = item["scores"].clone()
    wanted[0] += arguments.label
    return torch.nn.functional.kl_div(torch.log_softmax(arguments.sharpness * student / unit, 0),
                                      torch.log_softmax(arguments.sharpness * wanted, 0), reduction="sum",
                                      log_target=True)


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
        self.lists, self.unit = read_lists(arguments.teacher)
        random.Random(arguments.seed).shuffle(self.lists)
        tokenizer, self.bert, self.layers = late.load(arguments.model, arguments.upper)
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
        at = self.step * arguments.queries
        items = [self.lists[(at + offset) % len(self.lists)] for offset in range(arguments.queries)]
        passages = list(dict.fromkeys(passage for item in items for passage in item["passages"]))
        place = {passage: index for index, passage in enumerate(passages)}
        scores = late.hybrid(late.vectors(self.layers, self.lower.rows([item["query"] for item in items])),
                             late.vectors(self.layers, self.lower.rows([self.texts[passage] for passage in passages])))
        losses = [loss_of(scores[row, [place[passage] for passage in item["passages"]]], item, self.unit, arguments)
                  for row, item in enumerate(items)]
        loss = sum(losses) / len(losses)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.layers.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return loss.item()


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main():
    arguments = read_arguments()
    run = Run(arguments)
    run.resume()
    say(f"{len(run.lists)} lists to train on; from step {run.step}")
    if run.step == 0:
        run.examine()
    begin, losses = time.monotonic(), []
    while run.step < arguments.steps and time.monotonic() - begin < 60 * arguments.minutes:
        losses.append(run.advance())
        if len(losses) == 25:
            say(f"step {run.step}: divergence {sum(losses) / len(losses):.4f}, "
                f"{(time.monotonic() - begin) / 60:.1f} min, {run.lower.tokens} tokens kept")
            losses = []
        if run.step % arguments.look == 0 or run.step == arguments.steps:
            run.examine()
        elif run.step % 50 == 0:
            run.keep()
    if run.looks[-1]["step"] != run.step:
        run.examine()


if __name__ == "__main__":
    main()
