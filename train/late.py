"""The model in torch: its lower layers, which stay as they are, its upper ones, and the scores that rerankd makes of them."""

import os
import shutil

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, AutoTokenizer


class Lower:
    """What the lower layers make of a text, once a text, in half precision: bounded by `most` tokens kept."""

    def __init__(self, bert, tokenizer, upper, max_length, most):
        self.bert, self.tokenizer, self.max_length, self.most = bert, tokenizer, max_length, most
        self.layers = len(bert.encoder.layer) - upper
        self.kept, self.tokens = {}, 0

    def rows(self, texts):
        missing = sorted({text for text in texts if text not in self.kept}, key=len)
        made = {}
        for at in range(0, len(missing), 32):
            made.update(self.compute(missing[at:at + 32]))
        rows = [made[text] if text in made else self.kept[text] for text in texts]
        for text, row in made.items():
            if self.tokens + len(row) <= self.most:
                self.kept[text] = row
                self.tokens += len(row)
        return rows

    @torch.no_grad()
    def compute(self, texts):
        batch = self.tokenizer(texts, truncation=True, max_length=self.max_length, padding=True, return_tensors="pt")
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.bert.embeddings(input_ids=batch["input_ids"])
            hidden = through(self.bert.encoder.layer[:self.layers], hidden, batch["attention_mask"])
        lengths = batch["attention_mask"].sum(1).tolist()
        return {text: row[:length].to(torch.float16, copy=True) for text, row, length in zip(texts, hidden, lengths)}


def through(layers, hidden, mask):
    """mask: 1 for a token, 0 for padding."""
    bias = (1.0 - mask[:, None, None, :].float()) * -1e9
    for layer in layers:
        hidden = layer(hidden, attention_mask=bias.to(hidden.dtype))
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
    return hidden


def load(directory, upper):
    """The tokenizer, the whole model, and its upper layers, which are to be trained."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    bert = AutoModel.from_pretrained(directory, dtype=torch.float32, attn_implementation="sdpa").eval()
    bert.requires_grad_(False)
    layers = bert.encoder.layer[-upper:]
    layers.requires_grad_(True)
    return tokenizer, bert, layers


def vectors(layers, rows):
    """Token vectors and text vectors of unit length, and which tokens count: not [CLS] and [SEP] where there are others."""
    lengths = torch.tensor([len(row) for row in rows])
    hidden = pad_sequence([row.float() for row in rows], batch_first=True)
    mask = (torch.arange(hidden.shape[1]) < lengths[:, None]).long()
    with torch.autocast("cpu", torch.bfloat16):
        hidden = through(layers, hidden, mask).float()
    whole = torch.nn.functional.normalize((hidden * mask[..., None]).sum(1), dim=-1)
    counts = (torch.arange(hidden.shape[1]) < lengths[:, None] - 1)
    counts[:, 0] = False
    counts = counts | ((lengths <= 2)[:, None] & mask.bool())
    return torch.nn.functional.normalize(hidden, dim=-1), whole, counts


def hybrid(query, text):
    """Scores of each query with each text: (2 MaxSim + cosine) / 3, as core/scorer.h says."""
    tokens, whole, counts = query
    others, other_whole, other_counts = text
    flat, picked = tokens[counts], counts.sum(1)
    best = []
    for document, used in zip(others, other_counts):
        best.append((flat @ document[used].T).amax(1))
    best = torch.stack(best, 1)
    owner = torch.repeat_interleave(torch.arange(len(picked)), picked)
    sums = torch.zeros(len(picked), best.shape[1]).index_add(0, owner, best)
    return (2 * sums / picked[:, None] + whole @ other_whole.T) / 3


def save(directory, source, bert):
    """A model directory as `source` is, with these weights in float32; it appears whole or not at all."""
    from safetensors.torch import load_file, save_file
    work = directory + ".new"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(source, work)
    path = os.path.join(work, "model.safetensors")
    weights, trained = load_file(path), bert.state_dict()
    for name in weights:
        if name in trained and weights[name].is_floating_point():
            weights[name] = trained[name].to(weights[name].dtype).contiguous()
    save_file(weights, path, metadata={"format": "pt"})
    shutil.rmtree(directory, ignore_errors=True)
    os.rename(work, directory)
