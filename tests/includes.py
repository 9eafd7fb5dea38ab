#!/usr/bin/env python3
"""The structure of the sources, read from the files: which folder includes which, how long files and
functions are, that each folder says what it is."""

import argparse
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FUNCTION_LINES = 80
FILE_LINES = 800
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')

# What a machine's kernels see of core/kernel.
KERNEL_CONTRACTS = [f"core/kernel/{name}.h" for name in (
    "bf16", "blocked", "gemm", "isa", "kernel", "maxsim_rows", "quantize", "rowops_math", "tile_fp32")]
KERNEL_ROOMS = ("core/kernel/x86/", "core/kernel/arm/", "core/kernel/portable/")

# A file may include the folders (or the single headers) of the longest entry that begins its path.
ALLOWED = {
    "core/base/": ["core/base/"],
    "core/token/": ["core/token/", "core/base/"],
    "core/kernel/": [*KERNEL_CONTRACTS, "core/kernel/cpu_features.h", "core/kernel/selfcheck.h",
                     "core/kernel/x86/rowops_avx512.h", "core/base/"],
    **{room: [room, *KERNEL_CONTRACTS, "core/base/"] for room in KERNEL_ROOMS},
    "core/files/": ["core/files/", "core/kernel/kernel.h", "core/base/"],
    "core/model/": ["core/model/", "core/files/", "core/kernel/", "core/base/"],
    # What puts the rooms of core together, behind the header that the server sees.
    "core/score/": ["core/score/", "core/scorer.h", *(f"core/{room}/" for room in (
        "model", "files", "token", "kernel", "base"))],
    "core/score/unique": ["core/score/unique.h", "core/base/"],
    "core/scorer.h": ["core/base/"],
    "proto/": ["proto/", "core/base/"],  # of proto/dialects/ the table alone: COLLECTS_DIALECTS
    "proto/dialects/": ["proto/", "core/base/"],
    # The rooms of the server, from below: each may include those that are named, and proto and core/base.
    **{f"server/{room}/": [f"server/{room}/", *(f"server/{other}/" for other in others.split()), "proto/", "core/scorer.h",
                           "core/base/"]
       for room, others in {
           "base": "",
           "observe": "base",
           "system": "base observe",
           "http": "base observe",
           "sched": "base observe",
           "cache": "base",
           "redis": "base observe cache",
           "otlp": "base observe http",
           "options": "base observe system cache redis",
           "models/hub": "base observe",  # fetching models knows nothing of serving them
           "models": "base observe sched cache redis options models/hub",
           "metrics": "base observe sched cache redis otlp",
           "request": "base observe http sched cache redis metrics",
           "routes": "base observe http cache options models otlp metrics request",
       }.items()},
    "server/": ["server/", "proto/", "core/scorer.h", "core/base/"],  # what puts the rooms together
    # The load generator knows a server by its wire format alone.
    "bench/load/": ["bench/load/", "core/base/"],
    "bench/split/": ["core/scorer.h", "core/base/"],
}
# Headers that the build makes: they have no file among the sources.
GENERATED = {"server/base/version.h": "server/base/version.h.in",
             "proto/dialects/list.h": "proto/dialects/list.h.in"}
HTTP_AND_LOOP = ("microhttpd.h", "uv.h", "curl/curl.h")
# What the loop knows of a request under way: no file that runs on other threads can name it.
LOOP_ALONE = {"server/request/own.h": ("server/request/rerank.c", "server/request/reply.c",
                                      "server/request/ask.c")}
# Files are opened by core/base/file.c, which does not wait and takes regular files alone. The others open what the kernel makes,
# or belong to tools.
OPENING = re.compile(r"(?<![\w.>])(?:open|openat|fopen|freopen|creat)\(")
MAY_OPEN = ("core/base/file.c", "core/base/cpu.c", "server/system/memory_limit.c", "server/observe/process_stats.c", "bench/")
# Dialects are known by what they declare: only the table sees how, and a dialect's name stands in its own files and
# nowhere else. (`documents` and `infinity` are also words.)
DIALECT_ROOM = "proto/dialects/"
COLLECTS_DIALECTS = "proto/dialect.c"
DIALECT_WORDS = ("documents", "infinity")
MAY_NAME_DIALECTS = ("bench/load/dialect.c", "bench/load/options.c")


def sources():
    for top in ("core", "proto", "server", "bench"):
        for folder, _, names in os.walk(os.path.join(ROOT, top)):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(folder, name), ROOT)


def lines_of(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as lines:
        return lines.read().splitlines()


def includes(path):
    for number, line in enumerate(lines_of(path), start=1):
        found = INCLUDE.match(line)
        if found:
            yield number, found.group(1) == '"', found.group(2)


def rule_for(path):
    entries = [entry for entry in ALLOWED if path.startswith(entry)]
    return ALLOWED[max(entries, key=len)] if entries else None


def wrong_includes(path):
    allowed = rule_for(path)
    if allowed is None:
        yield f"{path}: no rule says what this folder may include"
        return
    for number, own, included in includes(path):
        if not own:
            continue
        if not os.path.exists(os.path.join(ROOT, GENERATED.get(included, included))):
            yield f"{path}:{number}: {included} is not a path from the root"
        elif not included.startswith(tuple(allowed)):
            yield f"{path}:{number}: {included} is not one of {', '.join(allowed)}"
        elif included.endswith(".c"):
            yield f"{path}:{number}: includes a source file"


def cycles():
    """Headers that include each other in a circle."""
    graph = {path: [name for _, own, name in includes(path) if own] for path in sources()}
    finished = set()

    def visit(path, trail):
        if path in trail:
            yield " -> ".join(trail[trail.index(path):] + [path])
        elif path not in finished:
            for name in graph.get(path, []):
                yield from visit(name, trail + [path])
            finished.add(path)

    for path in graph:
        yield from visit(path, [])


def long_functions(path):
    """A body begins with a line that ends in `{` and began at the margin; it ends with `}` there."""
    begin = None
    for number, line in enumerate(lines_of(path), start=1):
        if begin is None and line[:1].isalpha() and "(" in line and not line.startswith("typedef"):
            begin = number if not line.rstrip().endswith(";") else None
        elif line.startswith("}"):
            if begin is not None and number - begin + 1 > FUNCTION_LINES:
                yield f"{path}:{begin}: a function of {number - begin + 1} lines"
            begin = None
        elif begin is not None and line.rstrip().endswith(";") and not line.startswith((" ", "\t")):
            begin = None


def foreign_headers(path):
    """Only the server, and what drives it, knows HTTP and the event loop."""
    if not path.startswith(("server/", "bench/load/")):
        for number, _, included in includes(path):
            if included in HTTP_AND_LOOP:
                yield f"{path}:{number}: {included} belongs to the server"


def seen_by_threads(path):
    for number, own, included in includes(path):
        if own and path not in LOOP_ALONE.get(included, (path,)):
            yield f"{path}:{number}: {included} is the loop's alone"


def seen_machines(path):
    for number, own, included in includes(path):
        if own and included.startswith(KERNEL_ROOMS) and not path.startswith("core/kernel/"):
            yield f"{path}:{number}: {included} is the kernels' alone; core/kernel/kernel.h picks one"


def opened_files(path):
    if not path.startswith(MAY_OPEN):
        for number, line in enumerate(lines_of(path), start=1):
            if OPENING.search(line) and not line.lstrip().startswith(("/*", "*")):
                yield f"{path}:{number}: opens a file; core/base/file.h does that"


def seen_dialects(path):
    if path.startswith(DIALECT_ROOM) or path == COLLECTS_DIALECTS:
        return
    for number, own, included in includes(path):
        if own and included.startswith(DIALECT_ROOM):
            yield f"{path}:{number}: {included} is the dialects' alone; proto/dialect.h picks one"


def dialect_pattern():
    """Finds the name of any dialect, as its file has it or with a dot within."""
    names = [os.path.splitext(name)[0] for name in os.listdir(os.path.join(ROOT, DIALECT_ROOM)) if name.endswith(".c")]
    told = [r"\.?".join(name) for name in sorted(names) if name not in DIALECT_WORDS]
    assert len(told) > 3, names
    return re.compile(rf"(?:\b|_)({'|'.join(told)})(?:\b|_)", re.IGNORECASE)


def named_dialects(paths):
    pattern = dialect_pattern()
    described = [os.path.join("proto", folder, name) for folder in ("", "dialects")
                 for name in sorted(os.listdir(os.path.join(ROOT, "proto", folder))) if name.endswith(".py")]
    for path in (path for path in [*paths, *described] if path not in MAY_NAME_DIALECTS):
        own = os.path.splitext(os.path.basename(path))[0] if path.startswith(DIALECT_ROOM) else ""
        for number, line in enumerate(lines_of(path), start=1):
            for found in pattern.finditer(line):
                if found.group(1).lower().replace(".", "") != own:
                    yield f"{path}:{number}: names the dialect {found.group(1)}"


def folders_without_readme():
    for folder in sorted({os.path.dirname(path) for path in sources()}):
        if not os.path.exists(os.path.join(ROOT, folder, "README.md")):
            yield f"{folder}: no README.md"


def check(number, name, problems):
    problems = list(problems)
    for problem in problems:
        print("# " + problem)
    print(f"{'not ok' if problems else 'ok'} {number} - {name}")
    return not problems


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    every = list(sources())
    checks = [
        ("there are sources to read", [] if len(every) > 20 else [f"only {len(every)}"]),
        ("includes go one way", (p for path in every for p in wrong_includes(path))),
        ("no headers include each other in a circle", cycles()),
        ("only the server knows HTTP and the loop",
         (p for path in every for p in foreign_headers(path))),
        ("what is the loop's alone is not seen by threads",
         (p for path in every for p in seen_by_threads(path))),
        ("a machine's kernels are included by kernels alone",
         (p for path in every for p in seen_machines(path))),
        ("files are opened in one place", (p for path in every for p in opened_files(path))),
        ("how dialects are declared is seen by them and the table alone",
         (p for path in every for p in seen_dialects(path))),
        ("a dialect is named in its own files alone", named_dialects(every)),
        (f"functions have at most {FUNCTION_LINES} lines",
         (p for path in every for p in long_functions(path))),
        (f"files have at most {FILE_LINES} lines",
         (f"{path}: {len(lines_of(path))} lines" for path in every
          if len(lines_of(path)) > FILE_LINES)),
        ("each code folder has a README.md", folders_without_readme()),
    ]
    print(f"1..{len(checks)}")
    results = [check(number, name, problems)
               for number, (name, problems) in enumerate(checks, start=1)]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
