"""A reranking server under bench/load: started or only addressed, driven, watched, stopped."""

import contextlib
import csv
import fcntl
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import machine

STOP_SECONDS = 30
IDLE_CORES = 0.05  # more than this with nothing to do disturbs the others
OTHER_CORES = 0.15  # taken by anything but the servers and bench/load: the figures are not theirs alone


class ServingError(Exception):
    pass


def say(text):
    print(text, file=sys.stderr, flush=True)


class Lock:
    """`with lock:` around each run, so that whoever else measures on this machine does so before or after. It is kept from
    one run to the next until it was held for so many seconds."""

    def __init__(self, text=""):
        """FILE or FILE:SECONDS; '': no lock."""
        head, found, tail = text.rpartition(":")
        self.path, self.seconds = (head, float(tail)) if found else (text, 0.0)
        self.file = None

    def __enter__(self):
        if self.path and not self.file:
            self.file = open(self.path, "w", encoding="ascii")
            fcntl.flock(self.file, fcntl.LOCK_EX)
            self.begin = time.monotonic()

    def __exit__(self, *_):
        if self.file and time.monotonic() - self.begin >= self.seconds:
            self.release()

    def release(self):
        if self.file:
            self.file.close()
            self.file = None


# --- /proc ---------------------------------------------------------------------------------------


def children_of(pid):
    found = []
    for task in _list(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
            found += [int(child) for child in file.read().split()]
    return found


def _list(path):
    try:
        return os.listdir(path)
    except OSError:
        return []


def tree(pid):
    """The process and all that descend from it."""
    pids = [pid]
    for at in pids:  # grows meanwhile
        pids += children_of(at)
    return pids


def resident_mb(pid):
    """Of the whole tree, in 10^6 bytes; what processes share counts in each of them."""
    total = 0
    for at in tree(pid):
        with contextlib.suppress(OSError), open(f"/proc/{at}/status", encoding="utf-8") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
    return total * 1024 / 1e6


def cpu_seconds(pid):
    ticks = 0
    for at in tree(pid):
        with contextlib.suppress(OSError), open(f"/proc/{at}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


# --- a server ------------------------------------------------------------------------------------


class Server:
    def __init__(self, name, url, command=None, environment=None, options=(), settings=""):
        """command: a list, or None for a server that runs already; options: of bench/load; settings: for people."""
        self.name, self.url, self.command, self.environment = name, url, command, environment
        self.options, self.settings = list(options), settings
        self.overload_options = []  # and these in the overload experiment; {deadline}: milliseconds
        self.process = self.log = None

    def load(self, arguments, *options):
        """One run of bench/load: its report."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "report.json")
            command = [arguments.load, "--url", self.url, "--candidates", arguments.candidates, "--quiet", "--json", path,
                       "--label", self.name, *arguments.further, *self.options, *options]
            result = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if result.returncode not in (0, 1):  # 1: no right answer
                raise ServingError(f"{self.name}: {result.stderr.strip() or result.returncode}")
            with open(path, encoding="utf-8") as file:
                return json.load(file)

    def expect_running(self):
        if self.process and self.process.poll() is not None:
            raise ServingError(f"{self.name}: its command ended with status {self.process.returncode}\n{self.log_end()}")

    def log_end(self):
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").splitlines()
        return "\n".join(line[:300] for line in lines[-15:])

    def start(self, arguments):
        """Starts its command, if it has one, and waits until it answers rightly."""
        if self.command:
            say(f"{self.name}: starting" + (f" ({self.settings})" if self.settings else ""))
            self.log = tempfile.TemporaryFile()
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                            start_new_session=True, env=self.environment)
        deadline = time.monotonic() + (arguments.start_seconds if self.command else 0)
        while True:
            report = self.load(arguments, "--connections", "1", "--requests", "1")
            if report["counts"]["right"] == 1:
                return
            self.expect_running()
            if time.monotonic() >= deadline:
                raise ServingError(f"{self.name}: no right answer: {report['failures']}")
            time.sleep(0.2)

    def stop(self):
        if not self.process:
            return
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                pass
        with contextlib.suppress(ProcessLookupError):  # it, or what is left of a session that we made
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()
        self.process = self.log = None

    def resident_mb(self):
        """None where we did not start it."""
        return resident_mb(self.process.pid) if self.process else None


def check_idle(servers, seconds=2.0):
    """Says which of the started servers keep the cores busy with nothing to do. {name: cores}."""
    started = [server for server in servers if server.process]
    before = {server.name: cpu_seconds(server.process.pid) for server in started}
    time.sleep(seconds if started else 0)
    cores = {server.name: (cpu_seconds(server.process.pid) - before[server.name]) / seconds for server in started}
    for name, busy in cores.items():
        if busy > IDLE_CORES:
            say(f"warning: {name} takes {busy:.2f} cores with nothing to do: the others are slower for it")
    return cores


class Watch:
    """Cores that are busy with anything but these servers and what this process runs; machine.Watch's idea, for trees."""

    def __init__(self, servers):
        self.pids = [server.process.pid for server in servers if server.process]
        self.known = bool(servers) and len(self.pids) == len(servers)  # others are not told apart from the rest
        self.cpus = os.sched_getaffinity(0)
        self.begin, self.foreign = time.monotonic(), self._foreign()

    def _foreign(self):
        own = sum(os.times()[:4]) + sum(cpu_seconds(pid) for pid in self.pids)
        return machine.busy_seconds(self.cpus) - own if self.known else 0

    def cores(self):
        """None where it cannot be known."""
        seconds = time.monotonic() - self.begin
        return max(0.0, (self._foreign() - self.foreign) / seconds) if self.known else None


def is_disturbed(row):
    return (row.get("other_cores") or 0) > OTHER_CORES


def undisturbed(arguments, servers, run):
    """(what run() returns, other cores meanwhile): again, up to --again times, where something else kept the cores busy."""
    for left in range(arguments.again, -1, -1):
        watch = Watch(servers)
        result = run()
        others = watch.cores()
        if others is None or others <= OTHER_CORES or not left:
            break
        say(f"other processes took {others:.2f} cores: again")
    return result, others


def row_of(phase, server, rate, reports):
    """One line of the results from one or more reports of bench/load: medians, but the failures of all."""
    answered = [report for report in reports if report["counts"]["right"] > 0]

    def median(*keys):
        values = []
        for report in answered:
            value = report
            for key in keys:
                value = value[key]
            values.append(value)
        # A run without an answer has no latency: half of them, and there is none to tell.
        return statistics.median(values) if 2 * len(values) > len(reports) else None

    failures = {}
    for report in reports:
        for kind, count in report["failures"].items():
            failures[kind] = failures.get(kind, 0) + count
    offered = [report["rates"].get("offered_rate") for report in reports]
    return {"phase": phase, "server": server, "rate": rate, "kept": False,
            "offered": None if None in offered else statistics.median(offered),
            "p50_ms": median("latency_ms", "p50"), "p99_ms": median("latency_ms", "p99"),
            "max_ms": median("latency_ms", "max"),
            "right_rate": statistics.median(report["rates"]["right_rate"] for report in reports),
            "goodput": statistics.median(report["rates"]["goodput"] for report in reports),
            "error_share": statistics.median(report["rates"]["error_share"] for report in reports),
            "dropped": sum(report["counts"]["dropped"] for report in reports),
            "failures": "; ".join(f"{kind}: {count}" for kind, count in sorted(failures.items()))}


def write(path, text):
    with open(path + ".part", "w", encoding="utf-8", newline="") as file:
        file.write(text)
    os.replace(path + ".part", path)


def write_csv(path, columns, rows):
    with open(path + ".part", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
                         for row in rows)
    os.replace(path + ".part", path)
