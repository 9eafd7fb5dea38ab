#!/usr/bin/env python3
"""Makes calibrated.json: maps of rerankd.json with scores and the probabilities that they stand for, to 60 digits, with
decimal numbers and nothing of this project's code.

    python calibrated.py
"""
import argparse
import decimal
import json
import pathlib
import struct

decimal.getcontext().prec = 60

MAPS = [
    {"scores": [0.0, 1.0], "logits": [-6.0, 4.5]},
    {"scores": [0.125, 0.25, 0.5, 0.75], "logits": [-7.0, -4.0, -0.5, 6.0]},
    {"scores": [-1.0, -0.999999, 1.0], "logits": [-1000.0, 0.0, 1000.0]},
]
SCORES = [-1.0, -0.5, 0.0, 0.0625, 0.125, 0.1875, 0.25, 0.3, 0.4375, 0.5, 0.625, 0.75, 0.9, 1.0, 1.5]


def probability(points, score):
    """score: the float32 that the library is given, exactly."""
    x = decimal.Decimal(score)
    scores = [decimal.Decimal(value) for value in points["scores"]]
    logits = [decimal.Decimal(value) for value in points["logits"]]
    right = next((i for i in range(1, len(scores) - 1) if x < scores[i]), len(scores) - 1)
    share = (x - scores[right - 1]) / (scores[right] - scores[right - 1])
    logit = logits[right - 1] + share * (logits[right] - logits[right - 1])
    return float(1 / (1 + (-logit).exp()))


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    floats = [struct.unpack("f", struct.pack("f", score))[0] for score in SCORES]
    made = [{"calibration": points, "pairs": [[score, probability(points, score)] for score in floats]}
            for points in MAPS]
    path = pathlib.Path(__file__).resolve().parent / "calibrated.json"
    path.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
