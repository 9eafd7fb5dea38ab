#!/usr/bin/env python3
"""Runs the fuzz targets by libFuzzer, two at a time, and prints TAP: a test a target.

  tests/fuzz/run.py [--seconds N] [--build DIR] [TARGET]...   fuzz
  tests/fuzz/run.py --replay DIR [TARGET]...                  run seeds and corpus once; for builds without libFuzzer
  tests/fuzz/run.py --minimise [TARGET]...                    keep in corpus/ what is needed of all that was found

--seconds: of each target, after its seeds and corpus; else $RR_FUZZ_SECONDS, else 8. --build: a build
directory of clang with -Dfuzz=true (build-fuzz). New inputs are kept in .cache/fuzz/corpus, and each run goes on
from there; what makes a target fail lies in .cache/fuzz/findings, and is handed to the same target as its one
argument to fail again.
"""

import argparse
import concurrent.futures
import glob
import gzip
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
import seeds  # noqa: E402

CACHE = os.path.join(seeds.ROOT, ".cache", "fuzz")
AT_ONCE = 2
# The longest inputs of each, so that time goes to many rather than to large ones.
MAX_BYTES = {"coding": 4096, "headers": 2048, "text": 2048, "tokenizer": 8192, "vocabulary": 4096, "model": 12000}
LIMITS = ["-timeout=20", "-rss_limit_mb=2048", "-malloc_limit_mb=1024", "-print_final_stats=1", "-verbosity=1"]
# A packed corpus is never larger than this; the smallest inputs go first.
CORPUS_BYTES = 32 << 10
ENVIRONMENT = {"ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:allocator_may_return_null=1",
               "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
               "RR_GOLDEN": seeds.GOLDEN}


def unpack(target, folder):
    """Writes the target's seeds and its corpus as files."""
    os.makedirs(folder)
    for i, content in enumerate(seeds.TARGETS[target]()):
        with open(os.path.join(folder, "seed-%03d" % i), "wb") as file:
            file.write(content)
    packed = os.path.join(HERE, "corpus", target + ".tar.gz")
    if os.path.exists(packed):
        with tarfile.open(packed) as archive:
            for member in archive.getmembers():
                with open(os.path.join(folder, os.path.basename(member.name)), "wb") as file:
                    file.write(archive.extractfile(member).read())


def pack(target, folder):
    """Makes the target's corpus of a folder's files, the smallest first, always the same bytes for the same files."""
    contents = []
    for path in glob.glob(os.path.join(folder, "*")):
        with open(path, "rb") as file:
            contents.append((os.path.basename(path), file.read()))
    contents.sort(key=lambda item: (len(item[1]), item[0]))
    while True:
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name, content in contents:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        packed = gzip.compress(plain.getvalue(), 9, mtime=0)
        if len(packed) <= CORPUS_BYTES:
            break
        del contents[max(1, int(len(contents) * 0.95 * CORPUS_BYTES / len(packed))):]
    with open(os.path.join(HERE, "corpus", target + ".tar.gz"), "wb") as file:
        file.write(packed)
    return len(contents), len(packed)


def run_target(command, scratch, seconds):
    """Returns the status and what was printed; None where it did not end in time."""
    environment = {**os.environ, **ENVIRONMENT, "TMPDIR": scratch}
    try:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              cwd=scratch, timeout=seconds, check=False)
        return done.returncode, done.stdout.decode("utf-8", "replace")
    except subprocess.TimeoutExpired as late:
        return None, (late.stdout or b"").decode("utf-8", "replace")


def in_memory():
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def dictionary(target):
    path = os.path.join(HERE, "dictionaries", target + ".dict")
    return ["-dict=" + path] if os.path.exists(path) else []


def fuzz(target, build, seconds):
    """Returns (whether it passed, a line that says how much was run, the output)."""
    exe = os.path.join(build, "fuzz_" + target)
    findings = os.path.join(CACHE, "findings", target)
    found = os.path.join(CACHE, "corpus", target)
    os.makedirs(findings, exist_ok=True)
    os.makedirs(found, exist_ok=True)
    limits = LIMITS + ["-max_len=%d" % MAX_BYTES.get(target, 4096), "-artifact_prefix=" + findings + os.sep]
    with tempfile.TemporaryDirectory(dir=in_memory()) as scratch:
        start = os.path.join(scratch, "start")
        unpack(target, start)
        replay, output = run_target([exe, "-runs=0", *limits, start], scratch, 120)
        if replay != 0:
            return False, "seeds and corpus", output
        begin = time.monotonic()
        status, output = run_target([exe, "-seed=%s" % os.environ.get("RR_FUZZ_SEED", "1"), *limits, *dictionary(target),
                                     "-max_total_time=%d" % seconds, found, start], scratch, seconds + 120)
        runs = re.search(r"number_of_executed_units: *(\d+)", output)
        covered = re.findall(r"cov: (\d+)", output)
        line = "%s runs in %.0f s, %s edges, %d inputs" % (runs.group(1) if runs else "no", time.monotonic() - begin,
                                                           covered[-1] if covered else "no", len(os.listdir(start)))
        return status == 0, line, output


def replay(target, build):
    with tempfile.TemporaryDirectory(dir=in_memory()) as scratch:
        start = os.path.join(scratch, "start")
        unpack(target, start)
        status, output = run_target([os.path.join(build, "fuzz_" + target), start], scratch, 150)
        return status == 0, "%d inputs" % len(os.listdir(start)), output


def minimise(target, build):
    exe = os.path.join(build, "fuzz_" + target)
    with tempfile.TemporaryDirectory(dir=in_memory()) as scratch:
        start, least = os.path.join(scratch, "start"), os.path.join(scratch, "least")
        unpack(target, start)
        os.makedirs(least)
        status, output = run_target([exe, "-merge=1", *LIMITS, "-max_len=%d" % MAX_BYTES.get(target, 4096), least, start,
                                     os.path.join(CACHE, "corpus", target)], scratch, 170)
        if status != 0:
            return False, "merge", output
        return True, "%d inputs kept, %d bytes" % pack(target, least), ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=" ".join(seeds.TARGETS))
    parser.add_argument("--seconds", type=int, default=int(os.environ.get("RR_FUZZ_SECONDS", "8")))
    parser.add_argument("--build", default=os.path.join(seeds.ROOT, "build-fuzz"))
    parser.add_argument("--replay", metavar="DIR", help="a folder with targets that were built without libFuzzer")
    parser.add_argument("--minimise", action="store_true")
    options = parser.parse_args()
    targets = options.targets or list(seeds.TARGETS)
    unknown = [target for target in targets if target not in seeds.TARGETS]
    if unknown:
        parser.error("no such target: " + " ".join(unknown))
    build = os.path.join(options.build, "tests", "fuzz")
    if options.replay:
        work, name = (lambda target: replay(target, os.path.abspath(options.replay))), "replay "
    elif options.minimise:
        work, name = (lambda target: minimise(target, build)), "minimise "
    else:
        work, name = (lambda target: fuzz(target, build, options.seconds)), "fuzz "
    print("1..%d" % len(targets), flush=True)
    all_passed = True
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for i, (target, result) in enumerate(zip(targets, pool.map(work, targets)), start=1):
            passed, line, output = result
            all_passed = all_passed and passed
            print("%sok %d - %s%s" % ("" if passed else "not ", i, name, target))
            print("# %s: %s" % (target, line), flush=True)
            if not passed:
                sys.stderr.write(output[-8000:])
    return 0 if all_passed else 1


if __name__ == "__main__":
    sys.exit(main())
