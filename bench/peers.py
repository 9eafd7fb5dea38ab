"""The engines under comparison, each in a process of its own: the peers behind worker.py's pipe,
rerankd behind HTTP. All score one query against many texts, tokenizing included."""

import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import namedtuple

import cross_encoder

# What a peer's worker loads: its class there, the prepared model, and OpenVINO's precision hint.
PEERS = {
    "onnxruntime fp32": {"kind": "onnxruntime", "model": "onnx-fused"},
    "onnxruntime int8": {"kind": "onnxruntime", "model": "onnx-int8"},
    "openvino fp32": {"kind": "openvino", "model": "openvino", "hint": "f32"},
    "openvino bf16": {"kind": "openvino", "model": "openvino", "hint": "bf16"},
    "openvino int8": {"kind": "openvino", "model": "openvino-int8", "hint": "f32"},
    "openvino int8+bf16": {"kind": "openvino", "model": "openvino-int8", "hint": "bf16"},
    "torch fp32": {"kind": "torch", "model": "model"},
    "tokenizers": {"kind": "tokenizers", "model": "model"},
}
DTYPES = ("float32", "bfloat16", "int8", "auto")
# Which peers a dtype of rerankd is set against.
RIVALS = {
    "rerankd float32": ("openvino fp32", "onnxruntime fp32", "torch fp32"),
    "rerankd bfloat16": ("openvino bf16", "openvino fp32"),
    "rerankd int8": ("openvino int8+bf16", "openvino int8", "onnxruntime int8"),
}
START_SECONDS = 300
ANSWER_SECONDS = 1800

Run = namedtuple("Run", "wall cpu scores inference")


class EngineError(Exception):
    """The engine is left out of the rest of the comparison."""


def select_names(text):
    """`openvino` takes all whose names begin so."""
    chosen = []
    for wanted in filter(None, (part.strip() for part in text.split(","))):
        found = [wanted] if wanted in PEERS else [name for name in PEERS if name.startswith(wanted)]
        if not found:
            raise SystemExit(f"no peer named '{wanted}': {', '.join(PEERS)}")
        chosen += [name for name in found if name not in chosen]
    return chosen


def environment():
    """Nothing from the caller that would pick other kernels, another number of threads, or a score cache; and no
    document cache unless an option asks for it: what repeats requests would measure that."""
    dropped = re.compile(r"OPENBLAS_|OMP_|MKL_|KMP_|ONEDNN_|DNNL_|OV_|ORT_|RAYON_|CACHE_BYTES$")
    kept = {name: value for name, value in os.environ.items() if not dropped.match(name)}
    return {**kept, "DOCUMENT_CACHE_BYTES": "0"}


def peer_environment(threads):
    """Their libraries fetch nothing and report nothing (CI, NNCF_CI: OpenVINO's telemetry)."""
    return {**environment(), "OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads),
            "TOKENIZERS_PARALLELISM": "true", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
            "CI": "true", "NNCF_CI": "1"}


class Engine:
    """A process with the requests it was given. `batches`: whether it has a batch size to choose."""

    batches = False
    settings = version = ""
    process = None

    def __init__(self, name, threads):
        self.name = name
        self.threads = threads
        self.cores = threads
        self.requests = {}

    def spawn(self, command, **options):
        cpus = sorted(os.sched_getaffinity(0))[:self.cores]
        self.process = subprocess.Popen(
            command, preexec_fn=lambda: os.sched_setaffinity(0, cpus), **options)

    def cpu_seconds(self):
        """Of all threads, those that have ended too: the process's CPU clock, to the nanosecond."""
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def peak_memory(self):
        """Bytes: the most that was ever resident, files mapped into memory included."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return 1024 * int(line.split()[1])
        raise EngineError("no peak memory in /proc")

    def keep(self, key, query, texts):
        self.requests[key] = query, texts

    def restart(self):
        """Afresh, so that nothing tried out before counts as memory used."""
        requests = list(self.requests.items())
        self.stop()
        self.start()
        for key, (query, texts) in requests:
            self.keep(key, query, texts)


class Peer(Engine):
    def __init__(self, name, cache, threads):
        super().__init__(name, threads)
        known = PEERS[name]
        self.batches = known["kind"] != "tokenizers"
        self.peer = {**known, "threads": threads, "model": cross_encoder.path(cache, known["model"]),
                     "tokenizer": cross_encoder.path(cache, "model")}
        self.buffer = b""

    def start(self):
        worker = os.path.join(os.path.dirname(os.path.abspath(__file__)), "worker.py")
        self.buffer = b""
        self.log = tempfile.TemporaryFile()
        self.spawn([sys.executable, worker, json.dumps(self.peer)], stdin=subprocess.PIPE,
                   stdout=subprocess.PIPE, stderr=self.log, env=peer_environment(self.threads))
        ready = self.receive(START_SECONDS)["ready"]
        self.version, self.settings = ready["version"], ready["settings"]

    def send(self, message):
        try:
            self.process.stdin.write((json.dumps(message) + "\n").encode())
            self.process.stdin.flush()
        except OSError as error:
            raise EngineError(f"its process has gone: {self.last_words()}") from error

    def receive(self, seconds):
        deadline = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise EngineError(f"no answer in {seconds} seconds")
            part = os.read(self.process.stdout.fileno(), 1 << 16)
            if not part:
                raise EngineError(f"its process has gone: {self.last_words()}")
            self.buffer += part
        line, self.buffer = self.buffer.split(b"\n", 1)
        message = json.loads(line)
        if "error" in message:
            raise EngineError(message["error"])
        return message

    def last_words(self):
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"status {self.process.poll()}"

    def keep(self, key, query, texts):
        super().keep(key, query, texts)
        self.send({"keep": key, "query": query, "texts": texts})
        self.receive(ANSWER_SECONDS)

    def run(self, key, batch):
        self.send({"score": key, "batch": batch})
        reply = self.receive(ANSWER_SECONDS)
        return Run(reply["wall"], reply["cpu"], reply["scores"], None)

    def stop(self):
        if self.process:
            self.process.stdin.close()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()
            self.log.close()
            self.process = None


class Rerankd(Engine):
    """Timed from the client's JSON to the parsed answer; CPU time and memory are the server's."""

    def __init__(self, binary, dtype, directory, threads, options):
        super().__init__(f"rerankd {dtype}", threads)
        self.command = [binary, "--model-id", directory, "--hostname", "127.0.0.1", "--dtype", dtype,
                        "--threads", str(threads), "--log-level", "warn", *options]
        self.options = options

    def launch(self):
        """Does not wait until it answers."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = tempfile.TemporaryFile()
        self.spawn([*self.command, "--port", str(self.port)], stdout=self.log, stderr=self.log,
                   env=environment())

    def expect_running(self):
        status = self.process.poll()
        if status is not None:
            self.log.seek(0)
            said = self.log.read().decode(errors="replace").strip() or f"exit status {status}"
            if status == 2:
                raise EngineError(said)
            raise SystemExit(f"{self.name} did not start (exit status {status}): {said}")

    def start(self):
        self.launch()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.expect_running()
            try:
                if self.request("GET", "/health")[0] == 200:
                    break
            except OSError:
                pass
            time.sleep(0.05)
        else:
            raise SystemExit(f"{self.name} did not become healthy")
        info = json.loads(self.request("GET", "/info")[2])
        self.version = info.get("version", "")
        self.settings = " ".join(["HTTP", *self.options, f"computes in {info.get('model_dtype', '?')}"])

    def request(self, method, path, body=None):
        """On a connection of its own: between two rounds the server may have closed an idle one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def run(self, key, batch):
        query, texts = self.requests[key]
        cpu, begin = self.cpu_seconds(), time.perf_counter()
        body = {"query": query, "texts": texts, "raw_scores": True, "truncate": True}
        try:
            status, headers, reply = self.request("POST", "/rerank", json.dumps(body).encode())
        except OSError as error:
            raise EngineError(str(error)) from error
        reply = json.loads(reply)
        wall = time.perf_counter() - begin
        if status != 200:
            raise EngineError(f"{status} {reply}")
        scores = [0.0] * len(texts)
        for row in reply:
            scores[row["index"]] = row["score"]
        inference = int(headers.get("x-inference-time", 0)) / 1000
        return Run(wall, self.cpu_seconds() - cpu, scores, inference)

    def stop(self):
        if self.process:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.log.close()
            self.process = None
