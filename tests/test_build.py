#!/usr/bin/env python3
"""What meson says of a library that is missing, and that it finds it once it is installed. A compiler that does not see
http_parser.h stands in for a machine without it."""

import argparse
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SECONDS = 300
COMPILER = r"""#!/bin/sh
# The C compiler; until FOLDER/installed is there, it finds no http_parser.h.
if [ ! -e FOLDER/installed ]; then
  for argument in "$@"; do
    case $argument in
      http_parser.h) exit 1 ;;
      *.c) grep -qs 'http_parser\.h' "$argument" && exit 1 ;;
    esac
  done
fi
exec cc "$@"
"""
NAMES = ["the build says what it leaves out, and what to install", "it looks again after a library was installed",
         "what was installed is found", "without a wish for it nothing is said", "who insists on it is told what to install"]


class Machine:
    """Meson with a compiler that misses a header, in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.build = os.path.join(folder, "build")
        compiler = os.path.join(folder, "cc")
        with open(compiler, "w", encoding="ascii") as file:
            file.write(COMPILER.replace("FOLDER", folder))
        os.chmod(compiler, 0o755)
        self.environment = {**os.environ, "CC": compiler}

    def setup(self, build, *arguments):
        return subprocess.run(["meson", "setup", build, ROOT, "-Dtests=disabled", "-Dhardening=false", *arguments],
                              env=self.environment, capture_output=True, text=True, timeout=SECONDS, check=False)

    def install(self):
        with open(os.path.join(self.folder, "installed"), "wb"):
            pass

    def rules(self):
        with open(os.path.join(self.build, "build.ninja"), encoding="utf-8") as file:
            return file.read()


def steps(machine):
    said = machine.setup(machine.build)
    assert said.returncode == 0, said.stdout[-2000:]
    assert re.search(r"left out: bench/load.*libhttp-parser-dev", said.stdout), said.stdout[-2000:]
    assert "build bench/load/load:" not in machine.rules()
    yield

    generated = re.search(r"^build build\.ninja:(.*)$", machine.rules(), re.M).group(1)
    assert os.path.realpath("/etc/ld.so.cache") in generated.replace("../", "/").replace("//", "/"), generated
    yield

    machine.install()
    said = machine.setup(machine.build, "--reconfigure")
    assert said.returncode == 0 and "left out" not in said.stdout, said.stdout[-2000:]
    assert "build bench/load/load:" in machine.rules()
    yield

    os.remove(os.path.join(machine.folder, "installed"))
    said = machine.setup(os.path.join(machine.folder, "without"), "-Dload=disabled")
    assert said.returncode == 0 and "left out" not in said.stdout, said.stdout[-2000:]
    yield

    said = machine.setup(os.path.join(machine.folder, "insists"), "-Dload=enabled")
    assert said.returncode != 0 and "libhttp-parser-dev" in said.stdout, said.stdout[-2000:]
    yield


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    failed = 0
    print(f"1..{len(NAMES)}")
    with tempfile.TemporaryDirectory() as folder:
        work = steps(Machine(folder))
        for number, name in enumerate(NAMES, start=1):
            try:
                next(work)
                print(f"ok {number} - {name}", flush=True)
            except (AssertionError, AttributeError, StopIteration) as problem:
                failed += 1
                print(f"not ok {number} - {name}")
                print("\n".join("# " + line for line in (str(problem) or "not reached").splitlines()), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
