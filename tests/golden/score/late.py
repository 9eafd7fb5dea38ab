#!/usr/bin/env python3
"""Makes the small ColBERT of this folder and the reference scores of late interaction beside it, here and over
bi-encoder-mean and bi-encoder-cls, in float32.

    python late.py

Needs torch, transformers and safetensors. The ColBERT is computed as the published code has it, from BertModel up:
[unused0] or [unused1] behind [CLS], queries filled up with [MASK], which others attend to or not, a projection
without bias, vectors of unit length, a document's punctuation left out. A score is the mean over the query's tokens
of the largest product with a token of the document: ColBERT's own is the sum.
"""
import argparse
import json
import string

if __name__ == "__main__":  # --help and mistakes before the imports that not everybody has
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()

import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch.nn.functional import normalize  # noqa: E402
from transformers import AutoModel, BertModel, BertTokenizerFast  # noqa: E402

import generate  # noqa: E402
from generate import HERE, PASSAGES, QUERIES, cases, config, long_text, randomize, write  # noqa: E402

QUERY_LENGTH, DOCUMENT_LENGTH, DIM = 24, 60, 20


def save_colbert(name, seed, attend, architecture, metadata):
    """Without metadata there is no artifact.metadata: then lengths are ColBERT's own."""
    vocabulary = generate.vocabulary
    generate.vocabulary = lambda: vocabulary() + ["[unused0]", "[unused1]"]
    try:
        model = randomize(BertModel(config(num_hidden_layers=2, architectures=[architecture]),
                                    add_pooling_layer=False), seed)
        folder = HERE / name
        generate.save(folder, model, lambda weight: "bert." + weight)
    finally:
        generate.vocabulary = vocabulary
    generator = torch.Generator().manual_seed(seed + 1)
    linear = torch.randn((DIM, 32), generator=generator) * 0.3
    state = {"bert." + key: value.contiguous() for key, value in model.state_dict().items()
             if value.dtype == torch.float32}
    save_file(state | {"linear.weight": linear}, folder / "model.safetensors", {"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    settings = json.loads((folder / "config.json").read_text())
    settings["architectures"] = [architecture]
    write(folder / "config.json", settings)
    if metadata:
        write(folder / "artifact.metadata", {
            "query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_token": "[Q]", "doc_token": "[D]",
            "ncells": None, "dim": DIM, "similarity": "cosine", "attend_to_mask_tokens": attend,
            "mask_punctuation": True, "query_maxlen": QUERY_LENGTH, "doc_maxlen": DOCUMENT_LENGTH})
    return model, linear, BertTokenizerFast.from_pretrained(str(folder), model_max_length=512)


class Colbert:
    def __init__(self, model, linear, tokenizer, attend, query_length, document_length):
        self.model, self.linear, self.tokenizer, self.attend = model, linear, tokenizer, attend
        self.lengths = query_length, document_length
        self.skipped = {tokenizer.encode(symbol, add_special_tokens=False)[0] for symbol in string.punctuation}

    def tokens(self, text, marker, length, **options):
        # ". " holds the marker's place.
        batch = self.tokenizer([". " + text], truncation=True, max_length=length, return_tensors="pt", **options)
        batch["input_ids"][:, 1] = self.tokenizer.convert_tokens_to_ids(marker)
        return batch["input_ids"], batch["attention_mask"]

    def vectors(self, ids, mask):
        with torch.no_grad():
            hidden = self.model(ids, attention_mask=mask).last_hidden_state
            return normalize(hidden @ self.linear.T, p=2, dim=2)[0]

    def query(self, text):
        ids, mask = self.tokens(text, "[unused0]", self.lengths[0], padding="max_length")
        ids[ids == self.tokenizer.pad_token_id] = self.tokenizer.mask_token_id
        if self.attend:
            mask[ids == self.tokenizer.mask_token_id] = 1
        return self.vectors(ids, mask)

    def document(self, text):
        ids, mask = self.tokens(text, "[unused1]", self.lengths[1])
        kept = [i for i, id in enumerate(ids[0].tolist())
                if id not in self.skipped and id != self.tokenizer.pad_token_id]
        return self.vectors(ids, mask)[kept]


def maxsim(query, document):
    return (query @ document.T).max(dim=1).values.mean().item()


def right_hand_cases():
    fitting = [case for case in cases() if case["side"] == "right"]
    return fitting + [{"name": "marks and masks in a text", "side": "right", "query": "what is [MASK] , [PAD] of a mill ?",
                       "texts": ["[PAD] bread , [MASK] .", "...", "?!", "town, (stone); \"iron\"", *PASSAGES[:3]]},
                      {"name": "a query as long as may be, truncated by one", "side": "right",
                       "query": long_text(22, 9), "texts": PASSAGES + [long_text(58, 2)]}]


def colbert(name, seed, attend, architecture, metadata):
    parts = save_colbert(name, seed, attend, architecture, metadata)
    lengths = (QUERY_LENGTH, DOCUMENT_LENGTH) if metadata else (32, 220)
    reference = Colbert(*parts, attend, *lengths)
    results = right_hand_cases()
    for case in results:
        query = reference.query(case["query"])
        case["scores"] = [maxsim(query, reference.document(text)) for text in case["texts"]]
    write(HERE / (name + ".json"), results)


def plain(name, pooling, max_length):
    """Late interaction over a bi-encoder's tokens between [CLS] and [SEP], or over those where there are no others."""
    folder = str(HERE / name)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = BertTokenizerFast.from_pretrained(folder, model_max_length=512)

    def encode(text):
        batch = tokenizer([text], truncation=True, max_length=max_length, return_tensors="pt")
        with torch.no_grad():
            rows = model(**batch).last_hidden_state[0]
        inner = rows[1:-1] if len(rows) > 2 else rows
        return normalize(inner, dim=1), normalize(rows.mean(0) if pooling == "mean" else rows[0], dim=0)

    found = {"maxsim": [], "hybrid": []}
    for case in [case for case in cases() if case["side"] == "right"]:
        query, query_vector = encode(case["query"])
        texts = [encode(text) for text in case["texts"]]
        late = [maxsim(query, tokens) for tokens, _ in texts]
        both = [(2 * score + float(query_vector @ vector)) / 3 for score, (_, vector) in zip(late, texts)]
        found["maxsim"].append(case | {"scores": late})
        found["hybrid"].append(case | {"scores": both})
    for kind, results in found.items():
        write(HERE / f"{name}-{kind}.json", results)


if __name__ == "__main__":
    torch.set_num_threads(1)
    colbert("colbert", 11, False, "HF_ColBERT", True)
    colbert("colbert-attending", 12, True, "BertModel", True)
    colbert("colbert-bare", 13, False, "HF_ColBERT", False)
    plain("bi-encoder-mean", "mean", 128)
    plain("bi-encoder-cls", "cls", 512)
