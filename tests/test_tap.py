#!/usr/bin/env python3
"""How tap.py counts: each kind of test program, alive, dead and quiet."""

import argparse
import sys
import tempfile

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

# A word, and what of the programs below is run for it.
CHOICES = [
    ("hub", [("server-hub", ["hub"]), ("FILE hub", ["python3", "FILE", "hub"])]),
    ("server hub", [("server-hub", ["hub"])]),
    ("second one", [("FILE second one", ["python3", "FILE", "second one"])]),
    ("scorer", [("scorer-late", ["late"])]),
    ("a helper", []),
]


def chosen(word):
    with tempfile.NamedTemporaryFile("w", suffix=".py", encoding="utf-8") as file:
        file.write("@case\ndef asks_the_hub():\n    pass\n\n\n@case\ndef second_one():\n    pass\n\n\ndef a_helper():\n    pass\n")
        file.flush()
        programs = [("server-hub", ["hub"]), ("scorer-late", ["late"]), (file.name, ["python3", file.name])]
        return [(name.replace(file.name, "FILE"), [part.replace(file.name, "FILE") for part in command])
                for name, command in tap.only(programs, word)]


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    bad = 0
    print(f"1..{len(CASES) + len(CHOICES)}")
    for number, (name, output, status, timed_out, expected) in enumerate(CASES, start=1):
        outcome = tap.Outcome(name)
        tap.judge(output, status, timed_out, outcome)
        counts = (outcome.passed, len(outcome.failures), len(outcome.skipped))
        if counts != expected:
            bad += 1
            print(f"# counted {counts}, expected {expected}")
        print(f"{'ok' if counts == expected else 'not ok'} {number} - counting: {name}")
    for number, (word, expected) in enumerate(CHOICES, start=len(CASES) + 1):
        found = chosen(word)
        if found != expected:
            bad += 1
            print(f"# chose {found}, expected {expected}")
        print(f"{'ok' if found == expected else 'not ok'} {number} - choosing: {word}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
