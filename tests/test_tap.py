#!/usr/bin/env python3
"""How tap.py counts: each kind of test program, alive, dead and quiet."""

import argparse
import sys

import tap

CASES = [
    # name, output, status, timed out, (passed, failed, skipped)
    ("all pass", "1..2\nok 1 - a\nok 2 - b\n", 0, False, (2, 0, 0)),
    ("one fails", "1..2\nok 1 - a\nnot ok 2 - b\n# why\n", 1, False, (1, 1, 0)),
    ("a skip", "1..1\nok 1 - a # SKIP no data\n", 0, False, (0, 0, 1)),
    ("a skip as cmocka writes it", "1..2\nok 1 - a\nnot ok 2 # SKIP b\n", 0, False, (1, 0, 1)),
    ("died after the first", "1..3\nok 1 - a\n", -11, False, (1, 2, 0)),
    ("quietly stopped early", "1..3\nok 1 - a\n", 0, False, (1, 2, 0)),
    ("no plan", "ok 1 - a\n", 0, False, (1, 1, 0)),
    ("no output", "", 0, False, (0, 1, 0)),
    ("an empty plan", "1..0\n", 0, False, (0, 1, 0)),
    ("skipped as a whole", "1..0 # SKIP no model\n", 0, False, (0, 0, 1)),
    ("bad status only", "1..1\nok 1 - a\n", 99, False, (1, 1, 0)),
    ("too slow", "1..1\nok 1 - a\n", -9, True, (1, 1, 0)),
    ("two groups", "1..1\nok 1 - a\n1..1\nok 1 - b\n", 0, False, (2, 0, 0)),
    ("a group's line is no test", "1..1\nok 1 - a\n# ok - tests\n", 0, False, (1, 0, 0)),
    ("plan at the end", "ok 1 - a\nok 2 - b\n1..2\n", 0, False, (2, 0, 0)),
    ("more than announced", "1..1\nok 1 - a\nok 2 - b\n", 0, False, (2, 1, 0)),
]


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    bad = 0
    print(f"1..{len(CASES)}")
    for number, (name, output, status, timed_out, expected) in enumerate(CASES, start=1):
        outcome = tap.Outcome(name)
        tap.judge(output, status, timed_out, outcome)
        counts = (outcome.passed, len(outcome.failures), len(outcome.skipped))
        if counts != expected:
            bad += 1
            print(f"# counted {counts}, expected {expected}")
        print(f"{'ok' if counts == expected else 'not ok'} {number} - counting: {name}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
