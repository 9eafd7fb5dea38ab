#!/usr/bin/env python3
"""The Markdown of the repository: links lead to files and headings that are there, pages name files that are there, the
README is short, every page of docs/ is reachable from docs/README.md, lines of prose are short. Comments of C sources name
files that are there too."""

import argparse
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LEFT_OUT = re.compile(r"(\.git|\.cache|\.venv|\.ci|build[^/]*|shared|node_modules|__pycache__)$")
LINK = re.compile(r"\[[^\]\[]*\]\(([^()\s]+)\)")
ENDINGS = r"(?:c|h|py|build|yml|dict|md)"
INCLUDED = re.compile(r'^\s*#\s*include "([^"]+)"', re.MULTILINE)
QUOTED = re.compile(rf"`((?:\.\./)*[\w/-]+\.(?:\[ch\]|{ENDINGS}))`")  # in pages
NAMED = re.compile(rf"(?<![\w/.<*-])([\w/-]+\.(?:\[ch\]|{ENDINGS}))(?![\w(]|\.\w)")  # in comments
COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|(/\*.*?\*/|//[^\n]*)', re.DOTALL)  # a string is no comment
PLACEHOLDER = re.compile(r"[A-Z]{3,}(?!.*\.md$)")  # as in NAME.c
GENERATED = {"server/base/version.h", "proto/dialects/list.h"}  # by the build
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
README_LINES = 200
COLUMNS = 100  # of prose; tables are as wide as their cells
UNWRAPPED = ("CHANGELOG.md", "core/", "proto/", "server/", "tests/proto/")  # not held to it
WRAPPED = ("core/kernel/", "core/token/", "server/README.md", "server/THREATS.md", "server/cache/", "server/models/")


def pages():
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if not LEFT_OUT.match(name))
        for name in sorted(names):
            if name.endswith(".md"):
                yield os.path.relpath(os.path.join(folder, name), ROOT)


def text_of(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def anchors(path):
    """The headings of a page, as GitHub names them."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", CODE.sub("", text_of(path)), re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        count = 0
        while (f"{name}-{count}" if count else name) in found:
            count += 1
        found.add(f"{name}-{count}" if count else name)
    return found


def links(path):
    """Pairs of the file that a link leads to and its heading, or ""."""
    for target in LINK.findall(CODE.sub("", text_of(path))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        yield (os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path), anchor


def broken_links():
    for path in pages():
        for target, anchor in links(path):
            if not os.path.exists(os.path.join(ROOT, target)):
                yield f"{path}: {target} is not there"
            elif anchor and target.endswith(".md") and anchor not in anchors(target):
                yield f"{path}: {target} has no heading #{anchor}"


def sources():
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if not LEFT_OUT.match(name))
        for name in sorted(names):
            if name.endswith((".c", ".h")):
                yield os.path.relpath(os.path.join(folder, name), ROOT)


def is_there(name, of, beside):
    """A path from the root, from server/, from the folder of the file `of` or one above it, or from the folder of one of the
    files `beside`."""
    if PLACEHOLDER.search(os.path.basename(name)):
        return True
    folder = os.path.dirname(of)
    places = {"", "server", folder} | {os.path.dirname(path) for path in beside}
    while folder:
        folder = os.path.dirname(folder)
        places.add(folder)
    found = {os.path.normpath(os.path.join(place, name)) for place in places}
    return bool(found & GENERATED) or any(os.path.exists(os.path.join(ROOT, path)) for path in found)


def spelled_out(name):
    """`name.[ch]` is two files."""
    return [name[:-4] + "c", name[:-4] + "h"] if name.endswith("[ch]") else [name]


def missing_files():
    for path in pages():
        if path != "CHANGELOG.md":  # which tells of files that are gone
            text, folder = text_of(path), os.path.dirname(path)
            quoted = set(QUOTED.findall(text))
            # Short names of what lies beside a file that the page names, or in a folder that it names.
            beside = [name for name in quoted if "/" in name] + [target for target, _ in links(path)]
            beside += [os.path.join(folder, name) for name in re.findall(r"`((?:[\w-]+/)+)`", text)]
            for one in sorted(quoted):
                for name in spelled_out(one):
                    if not is_there(name, path, beside):
                        yield f"{path} names {name}, which is not there"


def missing_in_comments():
    """Short names are of files beside the source, or beside what it includes."""
    every = list(sources())
    for path in every:
        text = text_of(path)
        comments = " ".join(found for found in COMMENT.findall(text) if found)
        beside = INCLUDED.findall(text)
        if path.startswith("tests/"):  # which mirrors the tree
            beside += [source for source in every if source.startswith(path.split("/")[1] + "/")]
        for named in sorted(set(NAMED.findall(comments))):
            for name in spelled_out(named):
                if not is_there(name, path, beside):
                    yield f"{path} names {name}, which is not there"


def long_readme():
    lines = len(text_of("README.md").splitlines())
    if lines > README_LINES:
        yield f"README.md has {lines} lines, at most {README_LINES} are allowed: details belong into docs/"


def unreachable():
    seen, waiting = set(), ["docs/README.md"]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += [target for target, _ in links(path) if target.startswith("docs/") and target.endswith(".md")
                        and os.path.exists(os.path.join(ROOT, target))]
    for path in pages():
        if path.startswith("docs/") and path not in seen:
            yield f"{path}: no link leads to it from docs/README.md"


def long_lines():
    for path in pages():
        if path.startswith(UNWRAPPED) and not path.startswith(WRAPPED):
            continue
        fenced = False
        for number, line in enumerate(text_of(path).splitlines(), start=1):
            fenced ^= line.startswith("```")
            if len(line) > COLUMNS and not fenced and not line.startswith(("|", "![")):
                yield f"{path}:{number}: {len(line)} columns"


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    checks = [("links lead somewhere", broken_links()), ("files that pages name are there", missing_files()),
              ("files that comments name are there", missing_in_comments()),
              ("README.md is short", long_readme()),
              ("each page of docs/ is reachable from docs/README.md", unreachable()),
              (f"prose has at most {COLUMNS} columns", long_lines())]
    print(f"1..{len(checks)}")
    failed = 0
    for number, (name, problems) in enumerate(checks, start=1):
        problems = list(problems)
        failed += bool(problems)
        print(f"{'not ok' if problems else 'ok'} {number} - {name}")
        for problem in problems:
            print(f"# {problem}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
