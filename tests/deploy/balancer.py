"""HAProxy with the deployed deploy/haproxy.cfg before servers on loopback, and steady load through it."""

import csv
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

import harness
from harness import PATIENCE
from load_support import WORDS, program

CONFIGURATION = os.path.join(ROOT, "deploy", "haproxy.cfg")


def version():
    """Of HAProxy, as (3, 0)."""
    said = subprocess.run([haproxy(), "-v"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in re.search(r"version (\d+)\.(\d+)", said).groups())


def haproxy():
    path = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if path is None:
        raise harness.Skip("there is no haproxy here; deploy/setup --tests installs it")
    return path


class Balancer:
    """A running HAProxy; its servers by address, or further variables of the configuration."""

    def __init__(self, addresses=(), **variables):
        self.port, self.metrics_port = harness.free_port(), harness.free_port()
        self.log_file = tempfile.NamedTemporaryFile(prefix="haproxy-", suffix=".log")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RERANKD_")}
        environment.update({f"RERANKD_SERVER_{i}": address for i, address in enumerate(addresses, start=1)})
        environment.update(RERANKD_BIND=f"127.0.0.1:{self.port}", RERANKD_METRICS_BIND=f"127.0.0.1:{self.metrics_port}",
                           **variables)
        self.process = subprocess.Popen([haproxy(), "-f", CONFIGURATION], env=environment, stdin=subprocess.DEVNULL,
                                        stdout=self.log_file, stderr=self.log_file)
        harness.eventually(self.answers, "HAProxy")

    def answers(self):
        assert self.process.poll() is None, f"HAProxy ended at once:\n{self.log()}"
        try:
            return self.request("GET", "/live").status == 200
        except OSError:
            return False

    def log(self):
        with open(self.log_file.name, encoding="utf-8", errors="replace") as file:
            return file.read()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            unusual = [line for line in self.log().splitlines() if " 200 " not in line or "/+" in line]
            print("\n#   ".join(["# HAProxy's log of what was unusual ends with", *unusual[-20:]]))
        ended = self.process.poll()
        self.process.kill()
        self.process.wait()
        self.log_file.close()
        assert ended is None or kind is not None, f"HAProxy ended by itself: {ended}"

    def connect(self):
        return harness.Connection(self.port)

    def request(self, method, path, body=None, headers=None):
        with self.connect() as connection:
            connection.send_request(method, path, body, headers)
            return connection.response(method)

    def metrics(self):
        with harness.Connection(self.metrics_port) as connection:
            connection.send_request("GET", "/metrics")
            answer = connection.response()
        assert answer.status == 200, answer
        found = re.findall(r"^(haproxy_\w+)\{(.*?)\} (\S+)$", answer.body.decode(), re.M)
        return {(name, labels): float(value) for name, labels, value in found}

    def of_server(self, number, metric):
        """A figure of the server with this number, from 1."""
        return self.metrics()[f"haproxy_server_{metric}", f'proxy="rerankd",server="rerankd-{number}"']

    def state(self, number):
        """UP, DOWN, NOLB (drained) or MAINT."""
        found = [labels for (name, labels), value in self.metrics().items()
                 if name == "haproxy_server_status" and f'server="rerankd-{number}"' in labels and value == 1]
        return re.search(r'state="(\w+)"', found[0]).group(1)

    def wait_for_state(self, number, state):
        harness.eventually(lambda: self.state(number) == state, f"server {number} to be {state}")

    def sent_again(self):
        """How often requests were sent again so far: retries and, among them or not, other servers chosen."""
        figures = self.metrics()
        return {kind: int(figures[f"haproxy_backend_{kind}_warnings_total", 'proxy="rerankd"'])
                for kind in ("retry", "redispatch")}


def candidates(path, texts, words, queries=4):
    """A file for bench/load: as many texts for a query, of as many words each."""
    choose = random.Random(1)
    with open(path, "w", encoding="utf-8") as file:
        for q in range(queries):
            listed = [{"text": f"{q} {i} " + " ".join(choose.choices(WORDS, k=words))} for i in range(texts)]
            file.write(json.dumps({"query": WORDS[q], "candidates": listed}) + "\n")
    return path


class Ended:
    """A request of the load: seconds on the clock of time.monotonic, milliseconds, and how it ended."""

    def __init__(self, start, line):
        self.intended = start + float(line["intended_s"])
        self.latency = float(line["latency_ms"])
        self.outcome = line["outcome"]
        self.ended = self.intended + self.latency / 1000


class Load:
    """Steady open-loop load of bench/load; `finish` tells how each request ended."""

    def __init__(self, port, folder, name, rate, texts, words, seconds):
        file = candidates(os.path.join(folder, name + ".jsonl"), texts, words)
        self.journal = os.path.join(folder, name + ".csv")
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            [program(), "--url", f"http://127.0.0.1:{port}", "--candidates", file, "--sizes", str(texts), "--rate",
             str(rate), "--duration", str(seconds), "--timeout-ms", "30000", "--journal", self.journal, "--quiet"],
            stdin=subprocess.DEVNULL)

    def wait_until(self, seconds):
        """Until so long after the begin."""
        time.sleep(max(0, self.begun + seconds - time.monotonic()))

    def finish(self):
        assert self.process.wait(4 * PATIENCE) == 0, "the load generator failed"
        with open(self.journal, encoding="utf-8") as file:
            return [Ended(self.begun, line) for line in csv.DictReader(file)]


def p99(requests):
    times = sorted(request.latency for request in requests)
    return times[min(len(times) - 1, int(len(times) * 0.99))]
