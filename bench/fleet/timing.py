"""What the parts of bench/fleet/measure share: processes, connections, CPU time of a request."""

import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

import peers
import servers
import trec

COUNTS = (1, 10, 30, 100)
HEADERS = {"Content-Type": "application/json"}
CACHES = ["--cache-bytes=33554432"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Program(peers.Engine):
    """Any server with a port, stopped at the end."""

    def __init__(self, command, port, **options):
        super().__init__(command[0], 2)
        if not shutil.which(command[0]):
            raise SystemExit(f"measure: no {command[0]} here: install it, or leave the section out")
        self.port = port
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **options)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"measure: {command[0]} ended with {self.process.returncode}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"measure: {command[0]} does not listen")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def rerankd(arguments, dtype, model, *options):
    server = peers.Rerankd(arguments.server, dtype, model, arguments.threads, [*arguments.server_option, *options])
    return server if servers.attempt(server, lambda: server.start() or True) else None


class Client:
    """One connection; what a request costs the server's process."""

    def __init__(self, server, port=None, tls=None):
        self.server = server
        kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
        self.connection = kind("127.0.0.1", port or server.port, timeout=600, **({"context": tls} if tls else {}))

    def ask(self, body, **headers):
        """CPU seconds of the server's process, the reply and its headers."""
        cpu = self.server.cpu_seconds()
        self.connection.request("POST", "/rerank", body, {**HEADERS, **headers})
        response = self.connection.getresponse()
        reply = response.read()
        if response.status != 200:
            raise SystemExit(f"measure: {response.status} {reply[:200]}")
        return self.server.cpu_seconds() - cpu, reply, response.headers

    def cost(self, bodies, **headers):
        """Mean CPU seconds of these requests, one after the other."""
        return sum(self.ask(body, **headers)[0] for body in bodies) / len(bodies)


def summary(seconds):
    return {"cpu_ms": round(1000 * min(seconds), 4), "cpu_median_ms": round(1000 * statistics.median(seconds), 4)}


def in_turns(rounds, loads):
    """{name: function returning seconds} run in every round: {name: summary}."""
    found = {name: [] for name in loads}
    for number in range(rounds):
        names = list(loads)
        for name in names if number % 2 == 0 else names[::-1]:
            found[name].append(loads[name]())
    return {name: summary(taken) for name, taken in found.items()}


def body_of(query, texts):
    return json.dumps({"query": query, "texts": texts}).encode()


def lists(arguments, count):
    """(query, texts) of the file's queries."""
    for row in trec.read_candidates(arguments.candidates):
        texts = list(dict.fromkeys(c["text"] for c in row["candidates"]))[:count]
        if len(texts) == count:
            yield row["query"], texts


def threads_of(process):
    """{thread's name and id: CPU seconds}"""
    found = {}
    for task in os.listdir(f"/proc/{process.pid}/task"):
        with open(f"/proc/{process.pid}/task/{task}/schedstat", encoding="ascii") as file:
            nanoseconds = int(file.read().split()[0])
        found[task] = nanoseconds / 1e9
    return found


def run_load(arguments, port, size, connections, *options):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "report.json")
        result = subprocess.run([arguments.load, "--url", f"http://127.0.0.1:{port}", "--candidates", arguments.candidates,
                                 "--sizes", str(size), "--quiet", "--json", path,
                                 *(["--connections", str(connections)] if connections else []),
                                 *(options or ["--requests", str(arguments.requests)])],
                                stderr=subprocess.PIPE, text=True)
        if result.returncode != 0:
            raise SystemExit(f"measure: bench/load: {result.stderr}")
        with open(path, encoding="utf-8") as file:
            return json.load(file)
