#!/usr/bin/env python3
"""Cross-compiles the kernels for aarch64 and runs their tests under qemu, on an emulated CPU with every
extension and on one with none. Without OpenBLAS, and with a small stand-in for cmocka (cmocka.h here),
as neither is to be had for a foreign machine without further ado.

Prints TAP: one test a program and CPU, and one for the products that must have run there. Skipped
where the cross compiler or qemu is missing. $RR_AARCH64_CC overrides the compiler.
"""

import argparse
import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
CC = os.environ.get("RR_AARCH64_CC", "aarch64-linux-gnu-gcc")
QEMU = "qemu-aarch64"
SYSROOT = "/usr/aarch64-linux-gnu"

FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-O3", "-I.", "-Wall", "-Wextra", "-Wshadow", "-Wconversion",
         "-Wno-sign-conversion", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wvla", "-Werror",
         "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd"]

# As in core/kernel/arm/meson.build.
SETS = {"NEON": [], "DOTPROD": ["-march=armv8.2-a+dotprod"], "I8MM": ["-march=armv8.2-a+i8mm"],
        "BF16": ["-march=armv8.2-a+bf16"]}
SET_SOURCES = {"tile_fp32_neon": "NEON", "tile_bf16_neon": "NEON", "tile_bf16_bfmmla": "BF16",
               "tile_int8_dotprod": "DOTPROD", "tile_int8_i8mm": "I8MM"}
FOLDERS = ("core/kernel", "core/kernel/arm", "core/kernel/portable")
FOREIGN = re.compile(r"openblas")

EVERYTHING = "max"
NOTHING = "cortex-a53"
CPUS = {EVERYTHING: ["fp32-neon", "bf16-neon", "bf16-bfmmla", "int8-dotprod", "int8-i8mm"],
        NOTHING: ["fp32-neon", "bf16-neon"]}
# Test programs that need nothing but the kernels. (test_gemm.c compares with OpenBLAS.)
PROGRAMS = [f"tests/kernels/test_{name}.c" for name in ("kernels_formats", "attention", "math", "maxsim", "rowops")]
PROPERTIES = 4  # tests that test_kernels_formats has of each product
SECONDS = 300


def run(command, seconds=SECONDS):
    process = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, timeout=seconds, check=False)
    return process.returncode, process.stdout.decode(errors="replace")


def compile_all(directory, pool):
    """Objects of the kernels, and a program a test; returns the programs' paths by name."""
    built = [f"-DRR_BUILT_{name}" for name in SETS]
    jobs = []
    sources = [path for folder in FOLDERS for path in glob.glob(f"{folder}/*.c", root_dir=ROOT)
               if not FOREIGN.search(path)]
    for source in sources + ["core/base/alloc.c", "core/base/status.c", "tests/kernels/agree.c"]:
        name = os.path.basename(source)[:-2]
        flags = SETS[SET_SOURCES[name]] + ["-fno-schedule-insns"] if name in SET_SOURCES else []
        jobs.append((f"{directory}/{name}.o", [source, "-c"] + flags + built))
    list(pool.map(lambda job: build(*job), jobs))
    objects = [target for target, _ in jobs]
    programs = {}
    links = []
    for pattern in PROGRAMS:
        for source in sorted(glob.glob(pattern, root_dir=ROOT)):
            name = os.path.basename(source)[:-2]
            programs[name] = f"{directory}/{name}"
            links.append((programs[name], ["-Itests/kernels/aarch64", source] + objects +
                          ["-lm", "-lpthread"]))
    list(pool.map(lambda job: build(*job), links))
    return programs


def build(target, arguments):
    status, output = run([CC] + FLAGS + arguments + ["-o", target])
    if status != 0 or output:
        raise RuntimeError(f"{os.path.basename(target)} does not compile:\n{output}")


def missing_tools():
    return [tool for tool in (CC, QEMU) if shutil.which(tool) is None]


class Tap:
    def __init__(self):
        self.count = 0
        self.failed = False

    def result(self, good, name, output=""):
        self.count += 1
        self.failed |= not good
        print(f"{'ok' if good else 'not ok'} {self.count} - {name}")
        if not good:
            print("".join(f"# {line}\n" for line in output.splitlines()[-60:]), end="")
        sys.stdout.flush()


def passed(output, product):
    """How many tests of a product ran and passed."""
    return len(re.findall(rf"^ok \d+ - \S+ \({re.escape(product)}\)$", output, re.MULTILINE))


def test_cpu(tap, pool, programs, cpu):
    # The CPU without extensions runs nothing that the other has not run: fewer sizes will do.
    options = [] if cpu == EVERYTHING else ["-E", "RR_SLOW=1"]
    commands = {name: [QEMU, "-cpu", cpu, "-L", SYSROOT] + options + [path]
                for name, path in programs.items()}
    results = dict(zip(commands, pool.map(run, commands.values())))
    for name, (status, output) in results.items():
        good = status == 0 and "\nok " in output
        tap.result(good, f"{name} on an emulated {cpu}", output)
    everything = "".join(output for _, output in results.values())
    for product in CPUS[cpu]:
        tap.result(passed(everything, product) >= PROPERTIES, f"{product} ran on an emulated {cpu}")
    others = set(CPUS[EVERYTHING]) - set(CPUS[cpu])
    tap.result(not any(passed(everything, product) for product in others),
               f"no other product ran on an emulated {cpu}")


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    missing = missing_tools()
    if missing:
        print(f"ok 1 - aarch64 kernels # SKIP there is no {' and no '.join(missing)} here")
        print("1..1")
        return 0
    tap = Tap()
    with tempfile.TemporaryDirectory(prefix="aarch64-") as directory, \
            concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            programs = compile_all(directory, pool)
            tap.result(True, "the kernels compile for aarch64 without a warning")
            for cpu in CPUS:
                test_cpu(tap, pool, programs, cpu)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            tap.result(False, "the kernels compile and run for aarch64", str(error))
    print(f"1..{tap.count}")
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
