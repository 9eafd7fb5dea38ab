#!/usr/bin/env python3
"""Makes the small models of this folder and the reference scores beside them.

    python generate.py [--minilm DIRECTORY]

Needs torch, transformers, sentence-transformers and safetensors. Weights are random (fixed seeds) and
large enough that scores spread. --minilm also renews minilm.json from an all-MiniLM-L6-v2 directory.
"""
import argparse
import json
import pathlib
import shutil

if __name__ == "__main__":  # --help and mistakes before the imports that not everybody has
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minilm", metavar="DIRECTORY")
    options = parser.parse_args()

import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402
from transformers import (AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel,  # noqa: E402
                          BertTokenizerFast)

HERE = pathlib.Path(__file__).resolve().parent

WORDS = """
the a an of in on at to and or not is are was were be by for from with as it this that what where when
who how why which river bridge water stone iron city town village house garden tree leaf flower seed
bread salt flour oven baker mill wheat sheep wool cloth loom thread needle ship sail harbor island storm
wind rain snow winter summer spring autumn morning evening night light lamp candle star moon sun planet
orbit comet glass lens mirror telescope clock hour minute year day week old new long short high low deep
wide narrow fast slow warm cold dry wet heavy bright dark green blue red white black open close build
make take give find keep carry turn rise fall grow run walk swim fly read write count measure weigh book
page letter word map road wheel cart horse dog cat bird fish bee honey apple pear plum cheese milk tea
one two three four five six seven eight nine ten hundred thousand
""".split()
PIECES = ["##s", "##ed", "##ing", "##er", "##est", "##ly", "##ness", "##less", "##ful", "##able"]

PASSAGES = [
    "The old stone bridge over the river was built by the town in the year nine hundred.",
    "Bread is flour, water and salt; the baker keeps the oven warm all night.",
    "A telescope is a long tube with a lens or a mirror that makes a far planet bright.",
    "Sheep give wool, and wool makes thread for the loom.",
    "when the storm rises, ships turn to the harbor of the island",
    "Bees carry honey; a bee flies from flower to flower in the garden.",
    "How deep is the water at the mill? Measure it in the morning.",
    "unheard zzyzx words (like quokka) fall to pieces!",
    "Winter: short day, long night, cold wind, deep snow.",
    "x",
]
QUERIES = ["who built the bridge over the river", "bread", "how does a telescope make a planet bright?"]


def long_text(size, start):
    return " ".join(WORDS[(start + i * 7 + i * i) % len(WORDS)] for i in range(size))


def vocabulary():
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    marks = list(".,;:!?()'\"-") + [str(d) for d in range(10)]
    words = [w for w in dict.fromkeys(WORDS) if len(w) > 1]
    return (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + marks + letters +
            ["##" + c for c in letters] + words + PIECES)


def randomize(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if "LayerNorm.weight" in name:
            weight.data = 1.0 + 0.2 * noise
        elif name.endswith("bias"):
            weight.data = 0.1 * noise
        elif "classifier" in name:
            weight.data = 0.5 * noise
        elif "embeddings" in name:
            weight.data = 0.5 * noise
        else:
            weight.data = 0.3 * noise
    return model.eval()


def config(**changes):
    return BertConfig(**({"vocab_size": len(vocabulary()), "hidden_size": 32, "num_attention_heads": 4,
                          "intermediate_size": 64, "max_position_embeddings": 512, "type_vocab_size": 2,
                          "architectures": ["BertModel"]} | changes))


def save(folder, model, rename=lambda name: name, dtype=torch.float32):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n")
    tokenizer = BertTokenizerFast.from_pretrained(str(folder), model_max_length=512)
    tokenizer.save_pretrained(folder)
    model.config.save_pretrained(folder)
    tensors = {rename(name): tensor.to(dtype).contiguous() for name, tensor in model.state_dict().items()
               if tensor.dtype == torch.float32}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)


def write(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=True) + "\n")


def save_modules(folder, pooling, max_length):
    write(folder / "modules.json", [
        {"idx": i, "name": str(i), "path": path, "type": "sentence_transformers.models." + kind}
        for i, (path, kind) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling"),
                                          ("2_Normalize", "Normalize")])])
    (folder / "1_Pooling").mkdir()
    write(folder / "1_Pooling" / "config.json", pooling)
    if max_length:
        write(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})


def cases():
    many = [long_text(3 + i % 40, i) for i in range(100)]
    longs = [long_text(700, 5), PASSAGES[0], long_text(600, 11)]
    return [
        {"name": "passages", "side": "right", "query": QUERIES[0], "texts": PASSAGES},
        {"name": "one candidate", "side": "right", "query": QUERIES[2], "texts": PASSAGES[2:3]},
        {"name": "one-token texts", "side": "right", "query": QUERIES[1], "texts": ["bread", "x", "?", "river"]},
        {"name": "empty texts", "side": "right", "query": "", "texts": ["", " \n", "bread"]},
        {"name": "an empty text among others", "side": "right", "query": QUERIES[0], "texts": ["", PASSAGES[0]]},
        {"name": "truncated on the right", "side": "right", "query": QUERIES[0], "texts": longs},
        {"name": "truncated on the left", "side": "left", "query": QUERIES[0], "texts": longs},
        {"name": "both truncated", "side": "right", "query": long_text(650, 3), "texts": longs},
        {"name": "a hundred candidates", "side": "right", "query": QUERIES[2], "texts": many},
    ]


def cross_encoder():
    folder = HERE / "cross-encoder"
    model = randomize(BertForSequenceClassification(config(
        num_hidden_layers=3, num_labels=1, architectures=["BertForSequenceClassification"])), 1)
    save(folder, model)
    results = cases()
    for case in results:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), truncation_side=case["side"])
        case["scores"] = []
        for text in case["texts"]:
            # As a batch of one: a lone pair with an empty second text would be encoded as a single text.
            batch = tokenizer([case["query"]], [text], truncation=True, max_length=512, return_tensors="pt")
            with torch.no_grad():
                case["scores"].append(model(**batch).logits.item())
    write(HERE / "cross-encoder.json", results)


def bi_encoder(name, pooling, rename, seed, dtype=torch.float32, max_length=None, **changes):
    folder = HERE / name
    model = randomize(BertModel(config(num_hidden_layers=2, **changes), add_pooling_layer=False), seed)
    model.to(dtype).float()  # the reference sees the rounded weights
    save(folder, model, rename, dtype)
    save_modules(folder, pooling, max_length)
    results = cases()
    for case in results:
        reference = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
        reference.tokenizer.truncation_side = case["side"]
        encode = lambda text: torch.tensor(reference.encode(text, batch_size=1, show_progress_bar=False))
        query = encode(case["query"])
        vectors = [encode(text) for text in case["texts"]]
        case["scores"] = [float(query @ vector) for vector in vectors]
        case["query_vector"] = query[:8].tolist()
    write(HERE / (name + ".json"), results)


def minilm(directory):
    reference = SentenceTransformer(str(directory), device="cpu")
    results = []
    longest = " ".join(PASSAGES * 12)
    for query in QUERIES:
        texts = PASSAGES + [longest, "", "river"]
        vector = reference.encode(query, batch_size=1, show_progress_bar=False)
        scores = [float(vector @ reference.encode(t, batch_size=1, show_progress_bar=False)) for t in texts]
        results.append({"name": query, "side": "right", "query": query, "texts": texts, "scores": scores,
                        "query_vector": [float(v) for v in vector[:8]]})
    write(HERE / "minilm.json", results)


def old_names(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


if __name__ == "__main__":
    torch.set_num_threads(1)
    cross_encoder()
    bi_encoder("bi-encoder-mean",
               {"word_embedding_dimension": 32, "pooling_mode_cls_token": False,
                "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False,
                "pooling_mode_mean_sqrt_len_tokens": False},
               old_names, 2, max_length=128)
    bi_encoder("bi-encoder-cls", {"embedding_dimension": 32, "pooling_mode": "cls"},
               lambda name: "bert." + name, 3, dtype=torch.float16, hidden_act="gelu_new")
    if options.minilm:
        minilm(options.minilm)
