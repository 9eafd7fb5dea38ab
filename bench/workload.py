"""The requests: built from a file of queries and candidates, never written anywhere."""

import json
import os
from collections import namedtuple

import cross_encoder

# `key` names the case to the engines; `sample` is the key of the (smaller) case its batch size is
# chosen on; `length`: tokens of each passage, None where they are as given; `tokens`: of all pairs.
Case = namedtuple("Case", "section key sample query texts length tokens")

LENGTH_CANDIDATES = 100
TUNING_CANDIDATES = 100
TUNING_LENGTH_CANDIDATES = 24


class Workload:
    def __init__(self, path, line, model_directory):
        from tokenizers import Tokenizer
        with open(path, encoding="utf-8") as file:
            self.rows = [json.loads(text) for text in file if text.strip()]
        if line >= len(self.rows):
            raise SystemExit(f"{path}: no line {line}")
        self.rows = self.rows[line:] + self.rows[:line]
        self.query = self.rows[0]["query"]
        # Each text once: equal candidates may be scored once, which is not what is measured here.
        self.texts = list(dict.fromkeys(c["text"] for row in self.rows for c in row["candidates"]))
        self.tokenizer = Tokenizer.from_file(os.path.join(model_directory, "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    def tokens(self, query, texts):
        """Of all pairs, each cut at the model's most; what padding adds is not counted."""
        encodings = self.tokenizer.encode_batch([(query, text) for text in texts])
        return sum(min(len(encoding.ids), cross_encoder.MAX_TOKENS) for encoding in encodings)

    def case(self, section, key, sample, query, texts, length=None):
        return Case(section, key, sample, query, texts, length, self.tokens(query, texts))

    def first(self, count):
        if count > len(self.texts):
            raise SystemExit(f"the file has {len(self.texts)} different passages, not {count}")
        return self.texts[:count]

    def request(self, count):
        sample = f"count {min(count, TUNING_CANDIDATES)}"
        return self.case("request", f"count {count}", sample, self.query, self.first(count))

    def candidates(self, counts):
        return [self.request(count)._replace(section="candidates") for count in counts]

    def of_length(self, start, length):
        """From text `start` on, joined and cut to `length` tokens. A cut inside a word changes no token
        before it, as WordPiece takes the longest pieces from the left."""
        joined, at = self.texts[start], start
        while True:
            encoding = self.tokenizer.encode(joined, add_special_tokens=False)
            if len(encoding.ids) >= length:
                return joined[:encoding.offsets[length - 1][1]]
            at += 1
            joined += " " + self.texts[at % len(self.texts)]

    def lengths(self, lengths):
        cases = []
        for length in lengths:
            passages = {}
            for start in range(len(self.texts)):
                passages[self.of_length(start, length)] = None
                if len(passages) == LENGTH_CANDIDATES:
                    break
            cases.append(self.case("lengths", f"length {length}", f"length sample {length}", self.query,
                                   list(passages), length))
        return cases

    def fidelity(self, queries, count):
        """The first queries of the file, each with its own candidates."""
        cases = []
        for number, row in enumerate(self.rows[:queries]):
            texts = [c["text"] for c in row["candidates"]][:count]
            sample = f"count {min(count, TUNING_CANDIDATES)}"
            cases.append(self.case("fidelity", f"query {number}", sample, row["query"], texts))
        return cases

    def sample(self, case):
        """The texts that stand for the case while a batch size is sought."""
        return case.texts[:TUNING_CANDIDATES if case.length is None else TUNING_LENGTH_CANDIDATES]
