#!/usr/bin/env python3
"""Whether the C files are as clang-format makes them with .clang-format, and no line of them is too long. Prints TAP.

The version of clang-format is that of requirements-format.txt: the one in the path where that is it, else one from PyPI
in an environment of its own under .cache. Where it cannot be had the first check is skipped with the reason.

  test_format.py          checks
  test_format.py --fix    formats all C files in place
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import venv

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(HERE, "clients"))
sys.dont_write_bytecode = True

import install  # noqa: E402

REQUIREMENTS = os.path.join(HERE, "requirements-format.txt")
VERSION = re.search(r"^clang-format==(\S+)$", install.read(REQUIREMENTS), re.MULTILINE).group(1)
ENVIRONMENT = os.path.join(ROOT, ".cache", "clang-format")
TOPS = ("core", "proto", "server", "bench", "tests")
COLUMNS = 100
FIX = "python3 tests/test_format.py --fix"


def sources():
    for top in TOPS:
        for folder, _, names in os.walk(os.path.join(ROOT, top)):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(folder, name), ROOT)


def is_pinned(program):
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return False
    return re.search(rf"\bversion {re.escape(VERSION)}\b", told) is not None


def clang_format():
    """The program in the pinned version; installed when it is first asked for. install.Unreachable."""
    for program in (shutil.which("clang-format"), os.path.join(ENVIRONMENT, "bin", "clang-format")):
        if program and is_pinned(program):
            return program
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    venv.create(ENVIRONMENT, with_pip=True)
    try:
        install.call(os.path.join(ENVIRONMENT, "bin", "pip"), "install", "--quiet", "--no-deps", "--only-binary", ":all:",
                     "--requirement", REQUIREMENTS)
    except RuntimeError as error:
        if "No matching distribution" in str(error):
            raise install.Unreachable(f"pip finds no clang-format {VERSION}") from None
        raise
    if not is_pinned(program):
        raise RuntimeError(f"{program} is not version {VERSION}")
    return program


def unformatted(program, files):
    """Problems; clang-format names every place, of which a file's first is told."""
    result = subprocess.run([program, "--style=file", "--dry-run", *files], cwd=ROOT, capture_output=True, text=True,
                            check=False)
    if result.returncode != 0:
        return [f"clang-format ended with status {result.returncode}: {result.stderr[-500:]}"]
    first = {}
    for path, line in re.findall(r"^(\S[^:\n]*):(\d+):\d+: warning:", result.stderr, re.MULTILINE):
        first.setdefault(path, line)
    return [f"{path}: not formatted, first in line {line}" for path, line in first.items()]


def long_lines(files):
    for path in files:
        lines = install.read(os.path.join(ROOT, path)).splitlines()
        long = [number for number, line in enumerate(lines, start=1) if len(line) > COLUMNS and "://" not in line]
        if long:
            yield f"{path}: {len(long)} lines of more than {COLUMNS} columns, first line {long[0]}"


def check(number, name, problems):
    problems = list(problems)
    for problem in problems:
        print("# " + problem)
    if problems:
        print(f"# {FIX} formats all")
    print(f"{'not ok' if problems else 'ok'} {number} - {name}")
    return not problems


def check_format(number, files):
    name = f"C files are as clang-format {VERSION} makes them"
    try:
        return check(number, name, unformatted(clang_format(), files))
    except install.Unreachable as reason:
        print(f"ok {number} - {name} # SKIP {reason}")
        return True
    except (RuntimeError, subprocess.CalledProcessError) as error:
        return check(number, name, str(error).splitlines())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fix", action="store_true", help="format all C files in place")
    options = parser.parse_args()
    files = list(sources())
    if options.fix:
        try:
            return subprocess.run([clang_format(), "--style=file", "-i", *files], cwd=ROOT, check=False).returncode
        except install.Unreachable as reason:
            print(f"test_format.py: {reason}", file=sys.stderr)
            return 1
    print("1..3")
    results = [check(1, "there are sources to read", [] if len(files) > 100 else [f"only {len(files)}"]),
               check_format(2, files),
               check(3, f"lines of C have at most {COLUMNS} columns", long_lines(files))]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
