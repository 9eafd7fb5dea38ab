#!/usr/bin/env python3
"""Writes cross-encoder again as cross-encoder-sharded, its weights in shards as transformers cuts them.

    python shard.py

Needs torch and transformers. The weights themselves are not changed: the tests want the same scores to
the bit.
"""
import argparse
import pathlib
import shutil

if __name__ == "__main__":  # --help and mistakes before the imports that not everybody has
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()

from transformers import BertForSequenceClassification  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
SHARD_SIZE = "80KB"


def main():
    source, target = HERE / "cross-encoder", HERE / "cross-encoder-sharded"
    shutil.rmtree(target, ignore_errors=True)
    BertForSequenceClassification.from_pretrained(source).save_pretrained(target, max_shard_size=SHARD_SIZE)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, target / name)
    for file in target.iterdir():
        file.chmod(0o644)


if __name__ == "__main__":
    main()
