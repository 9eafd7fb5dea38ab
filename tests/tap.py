#!/usr/bin/env python3
"""Runs test programs and counts their single tests.

  tap.py meson BUILD [options]      the tests that a meson build directory knows, but for suite e2e
  tap.py files FILE... [options]    these programs
  tap.py summary TALLY              the last line: N passed, N failed, N skipped; status 1 on failures

Options: --label TEXT, --tally FILE (counts and failures are appended), --jobs N, --wrapper COMMAND (put before
compiled programs), --timeout-factor N, --only WORD (programs and files whose names hold it, and of other files
the cases whose names do).

Programs print TAP. What counts:
  - a test line with the SKIP directive is skipped; cmocka writes those as "not ok", without an error;
  - every test that the plan announces and that is not reported has failed: the program died;
  - a program without a plan, with an empty plan, or that ends badly without a failed test adds one
    failure; several plans in one program (cmocka groups) add up.
"""

import argparse
import concurrent.futures
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time

PLAN = re.compile(r"1\.\.(\d+)\s*(#\s*skip\b.*)?$", re.IGNORECASE)
TEST = re.compile(r"(not )?ok\b(?:\s+(\d+))?(.*)$")
SKIP = re.compile(r"#\s*skip\b\s*(.*)$", re.IGNORECASE)
DEFAULT_SECONDS = 120


class Outcome:
    def __init__(self, name):
        self.name = name
        self.passed = 0
        self.skipped = []
        self.failures = []
        self.output = ""
        self.seconds = 0.0
        self.cpu_seconds = 0.0  # its own and those of what it waited for


def read_tap(output, outcome):
    """Counts the test lines; returns how many tests the plans announce, or None without a plan."""
    planned = None
    for line in output.splitlines():
        plan = PLAN.match(line)
        if plan:
            planned = (planned or 0) + int(plan.group(1))
            if plan.group(2) and plan.group(1) == "0":
                outcome.skipped.append(plan.group(2))
            continue
        test = TEST.match(line)
        if not test:
            continue
        text = test.group(3).strip()
        skip = SKIP.search(text)
        if skip:
            outcome.skipped.append(text)
        elif test.group(1):
            outcome.failures.append(text)
        else:
            outcome.passed += 1
    return planned


def judge(output, status, timed_out, outcome):
    planned = read_tap(output, outcome)
    seen = outcome.passed + len(outcome.skipped) + len(outcome.failures)
    if planned is None or seen == 0:
        outcome.failures.append("no tests were reported")
    elif seen < planned:
        outcome.failures += ["announced, but not reported"] * (planned - seen)
    elif seen > planned and not outcome.skipped:
        outcome.failures.append(f"{seen} tests reported, {planned} announced")
    if timed_out:
        outcome.failures.append("took too long and was ended")
    elif status != 0 and not outcome.failures:
        outcome.failures.append(f"ended with status {status}")


def run_program(name, command, environment, directory, seconds):
    outcome = Outcome(name)
    started = time.monotonic()
    # The two streams are kept apart, so that no message splits a TAP line.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as messages:
        # A session of its own, so that ending it ends whatever it started.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=messages,
                                   env={**os.environ, **environment}, cwd=directory, start_new_session=True)
        late = threading.Event()
        timer = threading.Timer(seconds, lambda: (late.set(), os.killpg(process.pid, signal.SIGKILL)))
        timer.start()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # its number stays its own until the timer is off
        timer.cancel()
        timer.join()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        outcome.seconds = time.monotonic() - started
        outcome.cpu_seconds = used.ru_utime + used.ru_stime
        texts = []
        for stream in (output, messages):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    judge(texts[0], process.returncode, late.is_set(), outcome)
    outcome.output = "".join(texts)
    return outcome


def meson_tests(build, wrapper, factor):
    listing = subprocess.run(["meson", "introspect", "--tests", build], check=True,
                             stdout=subprocess.PIPE).stdout
    for test in json.loads(listing):
        if any(suite.split(":")[-1] == "e2e" for suite in test["suite"]):
            continue
        compiled = not test["cmd"][0].endswith((".py", "python3"))
        environment = {"CMOCKA_MESSAGE_OUTPUT": "TAP", **test["env"]}
        seconds = (test["timeout"] or DEFAULT_SECONDS) * factor
        yield (test["name"], (wrapper if compiled else []) + test["cmd"], environment,
               test["workdir"], seconds)


def file_tests(files, factor):
    for path in files:
        yield (os.path.relpath(path), [sys.executable, path], {}, None, DEFAULT_SECONDS * 3 * factor)


def only(programs, word):
    """Of these programs those that are meant by the word: by their own name, or by the names of cases in them."""
    wanted = word.lower().replace(" ", "_")
    for program in programs:
        name, command, *rest = program
        if wanted in name.lower() or wanted in name.lower().replace("-", "_"):
            yield program
        elif name.endswith(".py") and any(wanted in case.lower() for case in cases_of(command[-1])):
            yield (f"{name} {word}", [*command, wanted.replace("_", " ")], *rest)


def cases_of(path):
    with open(path, encoding="utf-8") as source:
        return re.findall(r"^@case\ndef (\w+)\(", source.read(), re.MULTILINE)


def report(outcome, label):
    counts = f"{outcome.passed} passed"
    if outcome.failures:
        counts += f", {len(outcome.failures)} FAILED"
    if outcome.skipped:
        counts += f", {len(outcome.skipped)} skipped"
    print(f"[{label}] {outcome.name}: {counts} ({outcome.seconds:.1f} s, of a CPU {outcome.cpu_seconds:.1f} s)")
    for skipped in outcome.skipped:
        print(f"    skipped: {skipped}")
    if outcome.failures:
        for failure in outcome.failures:
            print(f"    FAILED: {failure}")
        lines = outcome.output.splitlines()
        print("    output" + (", its last 200 lines:" if len(lines) > 200 else ":"))
        for line in lines[-200:]:
            print("    | " + line)
    sys.stdout.flush()


def run_all(programs, label, jobs, tally):
    passed = failed = skipped = 0
    failures = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        pending = [pool.submit(run_program, *program) for program in programs]
        for future in concurrent.futures.as_completed(pending):
            outcome = future.result()
            report(outcome, label)
            passed += outcome.passed
            failed += len(outcome.failures)
            failures += [f"#[{label}] {outcome.name}: {failure}" for failure in outcome.failures]
            skipped += len(outcome.skipped)
    if passed + failed + skipped == 0:
        print(f"[{label}] FAILED: there was nothing to run")
        failed = 1
    if tally:
        with open(tally, "a", encoding="utf-8") as out:
            out.write("".join(line + "\n" for line in [*failures, f"{passed} {failed} {skipped}"]))
    return 1 if failed else 0


def summary(tally):
    totals = [0, 0, 0]
    with open(tally, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("#"):
                print("FAILED:", line[1:].rstrip())  # once more, where all can be seen at once
                continue
            totals = [total + int(count) for total, count in zip(totals, line.split())]
    print("{} passed, {} failed, {} skipped".format(*totals))
    return 1 if totals[1] or not totals[0] else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["meson", "files", "summary"])
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--label", default="tests")
    parser.add_argument("--tally")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--wrapper", default="")
    parser.add_argument("--timeout-factor", type=float, default=1)
    parser.add_argument("--leave-out", default="", help="meson: names of tests, separated by commas")
    parser.add_argument("--only", default="", metavar="WORD")
    options = parser.parse_args()
    if options.what == "summary":
        return summary(options.paths[0])
    if options.what == "meson":
        left_out = options.leave_out.split(",")
        programs = [program for program in meson_tests(options.paths[0], shlex.split(options.wrapper),
                                                       options.timeout_factor)
                    if program[0] not in left_out]
    else:
        programs = list(file_tests(options.paths, options.timeout_factor))
    if options.only:
        programs = list(only(programs, options.only))
        if not programs:
            return 0
    return run_all(programs, options.label, options.jobs, options.tally)


if __name__ == "__main__":
    sys.exit(main())
