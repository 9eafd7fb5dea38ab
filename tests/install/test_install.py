#!/usr/bin/env python3
"""Installs the library into a temporary folder, then compiles, links and runs a program against it as
anybody would: cc rank.c $(pkg-config --cflags --libs rerankd).

RR_BUILD names the meson build folder (build), RR_GOLDEN the golden files (tests/golden); CC the compiler (cc).
"""
import argparse
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
NAMES = ["meson installs", "the installed headers are what the interface needs",
         "pkg-config knows the library", "a program compiles and links", "its scores agree with the reference"]
HEADERS = ["core/scorer.h", "core/base/arena.h", "core/base/cut.h", "core/base/status.h", "core/base/text.h"]


def run(command, **options):
    """Standard output; raises with the error output if the command fails."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError("%s\n%s%s" % (shlex.join(map(str, command)), done.stdout, done.stderr))
    return done.stdout


def sanitizers(build):
    """The flag that the library was built with, so that the program is linked alike."""
    options = json.loads(run(["meson", "introspect", "--buildoptions", build]))
    value = next((o["value"] for o in options if o["name"] == "b_sanitize"), "none")
    value = ",".join(value) if isinstance(value, list) else value
    return ["-fsanitize=" + value] if value not in ("", "none") else []


def steps(build, golden, root):
    run(["meson", "install", "-C", build, "--no-rebuild", "--destdir", root])
    packages = list(root.rglob("rerankd.pc"))
    if len(packages) != 1:
        raise RuntimeError("%d files rerankd.pc were installed" % len(packages))
    yield

    text = packages[0].read_text()
    prefix = re.search(r"^prefix=(.*)$", text, re.M).group(1)
    place = str(root) + prefix
    missing = [h for h in HEADERS if not pathlib.Path(place, "include/rerankd", h).is_file()]
    if missing:
        raise RuntimeError("not installed: " + ", ".join(missing))
    yield

    # The folder it was installed to stands for the real prefix.
    packages[0].write_text(text.replace("prefix=" + prefix, "prefix=" + place, 1))
    search = os.pathsep.join(filter(None, [str(packages[0].parent), os.environ.get("PKG_CONFIG_PATH")]))
    environment = dict(os.environ, PKG_CONFIG_PATH=search)
    flags = shlex.split(run(["pkg-config", "--cflags", "--libs", "rerankd"], env=environment))
    yield

    program = root / "rank"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    run(compiler + [str(HERE / "rank.c"), "-o", str(program)] + sanitizers(build) + flags)
    yield

    case = json.loads((golden / "score/cross-encoder.json").read_text())[0]
    libraries = os.pathsep.join(str(p) for p in {f.parent for f in root.rglob("librerankd.*")})
    output = run([program, golden / "score/cross-encoder", case["query"]] + case["texts"],
                 env=dict(os.environ, LD_LIBRARY_PATH=libraries))
    scores = [float(line) for line in output.split()]
    if len(scores) != len(case["scores"]):
        raise RuntimeError("%d scores instead of %d" % (len(scores), len(case["scores"])))
    worst = max(abs(a - b) for a, b in zip(scores, case["scores"]))
    if not worst <= 1e-4:
        raise RuntimeError("a score differs by %g" % worst)
    yield


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    root = HERE.parent.parent
    build, golden = os.environ.get("RR_BUILD", root / "build"), os.environ.get("RR_GOLDEN", root / "tests" / "golden")
    print("1..%d" % len(NAMES))
    reason = None
    if not os.path.exists(os.path.join(build, "build.ninja")):
        print("Bail out! %s is no build directory: build there, or set RR_BUILD" % build)
        return 2
    if not shutil.which("pkg-config") or not shutil.which("meson"):
        reason = "pkg-config or meson is missing"
    if reason:
        for number, name in enumerate(NAMES, 1):
            print("ok %d - %s # SKIP %s" % (number, name, reason))
        return 0
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        work = steps(build, pathlib.Path(golden), pathlib.Path(folder))
        for number, name in enumerate(NAMES, 1):
            try:
                if failed:
                    raise RuntimeError("not reached")
                next(work)
                print("ok %d - %s" % (number, name))
            except (RuntimeError, OSError, AttributeError) as problem:
                failed = True
                print("not ok %d - %s" % (number, name))
                print("\n".join("# " + line for line in str(problem).splitlines()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
