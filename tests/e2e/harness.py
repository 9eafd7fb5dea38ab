"""Starts the real server, talks to it over raw sockets, and prints TAP.

A test file decorates functions with @case and ends with `sys.exit(harness.main())`.

The environment, whose defaults let a file be run by hand: RERANKD_BIN the server (build/server/rerankd); RR_GOLDEN the folder with the small models
(tests/golden); RR_MODEL_DIR all-MiniLM-L6-v2 (.cache/models/all-MiniLM-L6-v2, if deploy/get-model was run);
RR_DATA judged passages; RR_SLOW=1 asks for fewer repeats.
"""

import argparse
import atexit
import glob
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

SLOW = os.environ.get("RR_SLOW") == "1"
PATIENCE = 240 if SLOW else 60  # seconds until a wait has failed; no test measures time
SANITIZER = re.compile(r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:")

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.environ.setdefault("RR_GOLDEN", os.path.join(ROOT, "tests", "golden"))

cases = []


class Skip(Exception):
    pass


class NoServer(Exception):
    """Nothing was built. Not a reason to skip: a file whose every case is skipped would look as if it had passed."""


def case(function):
    """The function's name, in words, is the test's name."""
    cases.append(function)
    return function


def read_arguments(switches=()):
    """What the test program was called with; --help is answered, and mistakes are told, before anything is done."""
    program = sys.modules["__main__"]
    environment = "The environment" + __doc__.partition("The environment")[2]
    parser = argparse.ArgumentParser(description=f"{(program.__doc__ or '').strip()}\n\n{environment}",
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, text in switches:
        parser.add_argument(name, action="store_true", help=text)
    parser.add_argument("words", nargs="*", metavar="WORD", help="run only the cases whose names hold all of the words")
    return parser.parse_args()


def chosen(words):
    found = [function for function in cases if all(word.lower() in title(function).lower() for word in words)]
    if words and not found:
        print(f"{sys.argv[0]}: no case's name holds: {' '.join(words)}", file=sys.stderr)
        sys.exit(2)
    return found


def title(function):
    return function.__name__.replace("_", " ")


def main(switches=()):
    functions = chosen(read_arguments(switches).words)
    failed = 0
    print(f"1..{len(functions)}", flush=True)
    for number, function in enumerate(functions, start=1):
        name = title(function)
        try:
            function()
            print(f"ok {number} - {name}", flush=True)
        except Skip as reason:
            print(f"ok {number} - {name} # SKIP {reason}", flush=True)
        except NoServer as reason:
            print(f"not ok {number} - {name}\nBail out! {reason}", flush=True)
            return 2
        except Exception:
            failed += 1
            print(f"not ok {number} - {name}")
            print("# " + traceback.format_exc().strip().replace("\n", "\n# "), flush=True)
    stop_shared()
    return 1 if failed else 0


# --- models ---------------------------------------------------------------------------------------


def golden_model(kind):
    """The directory of the small random model: kind is `cross-encoder` or `bi-encoder`."""
    wanted = "BertForSequenceClassification" if kind == "cross-encoder" else "BertModel"
    for folder in sorted(glob.glob(os.path.join(os.environ.get("RR_GOLDEN", ""), "score", "*", ""))):
        folder = os.path.dirname(folder)
        if folder.endswith(("-sharded", "__pycache__")):
            continue
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            if json.load(file).get("architectures") == [wanted]:
                return folder
    raise Skip(f"no {kind} among the golden files")


def default_model():
    directory = os.environ.get("RR_MODEL_DIR")
    if directory:
        return directory
    directory = os.path.join(os.environ.get("RERANKD_CACHE", os.path.join(ROOT, ".cache")), "models", "all-MiniLM-L6-v2")
    if not os.path.exists(os.path.join(directory, "config.json")):
        raise Skip("RR_MODEL_DIR is not set, and deploy/get-model was not run")
    return directory


def small_model():
    return golden_model("cross-encoder")


# --- the server -----------------------------------------------------------------------------------


def binary():
    path = os.environ.get("RERANKD_BIN")
    if path:
        if shutil.which(path) is None:
            raise NoServer(f"RERANKD_BIN: there is no program {path}")
        return path
    path = os.path.join(ROOT, "build", "server", "rerankd")
    if not os.path.exists(path):
        raise NoServer(f"there is no {path}: build it (meson setup build && ninja -C build), "
                       "or set RERANKD_BIN to the server's program")
    return path


def clean_environment(extra=None):
    """The caller's environment without anything that is also an option of the server, or its service manager's."""
    options = ("MODEL_ID", "SERVED_MODEL_NAME", "HOSTNAME", "PORT", "DTYPE", "THREADS", "API_KEY",
               "TOKENIZATION_WORKERS", "MAX_CONCURRENT_REQUESTS", "MAX_BATCH_TOKENS", "JSON_OUTPUT",
               "MAX_CLIENT_BATCH_SIZE", "PAYLOAD_LIMIT", "REQUEST_MEMORY", "AUTO_TRUNCATE", "LOG_LEVEL", "REVISION",
               "HF_TOKEN", "HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE",
               "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN_PATH", "PACK_CACHE",
               "API_KEY_FILE", "CORS_ALLOW_ORIGIN", "UNIX_SOCKET", "RERANKD_USER", "SECCOMP",
               "CORE_DUMPS", "IDLE_TIMEOUT", "CLIENT_TIMEOUT", "CACHE_BYTES", "DOCUMENT_CACHE_BYTES", "DOCUMENTS", "DOCUMENTS_BYTES", "MAX_QUEUE_MS", "MAX_QUEUE_TOKENS",
               "DEFAULT_TIMEOUT_MS", "SLOW_REQUEST_MS", "DRAIN_DELAY", "DRAIN_TIMEOUT", "HEALTH_TIMEOUT_MS",
               "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID",
               "SHARED_CACHE", "RERANKD_SHARED_CACHE_PASSWORD", "RERANKD_SHARED_CACHE_SECRET",
               "SHARED_CACHE_PREFIX", "SHARED_CACHE_TIMEOUT_MS", "SHARED_CACHE_TTL")
    environment = {name: value for name, value in os.environ.items()
                   if name not in options and not name.startswith(("OTEL_", "OTLP_"))}
    environment.update(extra or {})
    return environment


def run_binary(*arguments, environment=None, program=None):
    """Runs the server, or a copy of it, where it is expected to end by itself."""
    return subprocess.run([program or binary(), *arguments], env=clean_environment(environment),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=PATIENCE, text=True)


def temporary_folder(prefix="rerankd-"):
    """A folder that is gone when the test program ends."""
    folder = tempfile.mkdtemp(prefix=prefix)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running server; `with Server(...) as server` stops it and checks how it ended."""

    def __init__(self, *arguments, model=None, environment=None, wait=True, unix_socket=None, port=None):
        model = small_model() if model is None else model  # "": the server's own choice
        self.port = port or free_port()
        self.unix_socket = unix_socket
        self.asked_to_end = False
        self.log_file = tempfile.NamedTemporaryFile(prefix="rerankd-", suffix=".log")
        # Reference values are float32's; what --dtype's default chooses depends on the CPU.
        if "--dtype" not in arguments and "DTYPE" not in (environment or {}):
            arguments = ("--dtype", "float32", *arguments)
        command = [binary(), "--hostname", "127.0.0.1", "--port", str(self.port), *arguments]
        command += ["--model-id", model] if model else []
        command += ["--unix-socket", unix_socket] if unix_socket else []
        self.process = subprocess.Popen(command, env=clean_environment(environment),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=self.log_file)
        if wait:
            self.wait_until_healthy()

    def wait_until_healthy(self):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended at once:\n{self.log_end()}")
            try:
                if self.request("GET", "/health").status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        self.kill()
        raise AssertionError(f"the server did not become healthy:\n{self.log_end()}")

    def log(self):
        with open(self.log_file.name, encoding="utf-8", errors="replace") as file:
            return file.read()

    def log_end(self):
        return "\n".join(self.log().splitlines()[-20:])

    def wait_for_log(self, predicate):
        """Log lines are written by a thread of their own: waits until one satisfies the predicate."""
        return eventually(lambda: [line for line in self.log().splitlines() if predicate(line)],
                          "a log line")

    def terminate(self, number=signal.SIGTERM):
        """Once: a second signal means at once, without finishing."""
        if not self.asked_to_end and self.process.poll() is None:
            self.process.send_signal(number)
        self.asked_to_end = True

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def wait_for_end(self):
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not end after SIGTERM:\n{self.log_end()}") from None

    def stop(self):
        self.terminate()
        status = self.wait_for_end()
        log, end = self.log(), self.log_end()
        self.log_file.close()
        assert not SANITIZER.search(log), log[SANITIZER.search(log).start():]
        assert status == 0, f"the server ended with status {status}:\n{end}"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        else:
            self.kill()
            print("# the server's log ends with\n#   " + self.log_end().replace("\n", "\n#   "))
            self.log_file.close()

    def connect(self):
        return Connection(self.port, self.unix_socket)

    def request(self, method, path, body=None, headers=None):
        with self.connect() as connection:
            connection.send_request(method, path, body, headers)
            return connection.response(method)

    def rerank(self, body, headers=None):
        """POSTs a dict, or bytes as they are."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        return self.request("POST", "/rerank", body, headers)

    def scores(self, query, texts, **options):
        """The scores in the order of the texts."""
        response = self.rerank({"query": query, "texts": texts, **options})
        assert response.status == 200, response
        by_index = {entry["index"]: entry["score"] for entry in response.json()}
        assert sorted(by_index) == list(range(len(texts))), response
        return [by_index[index] for index in range(len(texts))]

    def check_alive(self):
        assert self.process.poll() is None, f"the server is gone:\n{self.log()}"
        response = self.rerank({"query": "still", "texts": ["there"]})
        assert response.status == 200, response

    def metrics(self):
        """The samples by name with labels, as they stand in the text."""
        response = self.request("GET", "/metrics")
        assert response.status == 200, response
        samples = {}
        for line in response.body.decode().splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


shared_server = None


def shared():
    """One server for all cases of a file that leave it as it was."""
    global shared_server
    if shared_server is None:
        shared_server = Server()
    return shared_server


def stop_shared():
    """After the last case; a bad end has no case of its own, so it fails the program."""
    if shared_server is not None:
        shared_server.stop()


# --- the client -----------------------------------------------------------------------------------


class Response:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers  # names in lower case
        self.body = body

    def json(self):
        return json.loads(self.body.decode("utf-8"))

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:300]!r}"


class Connection:
    """A raw connection: what is sent is sent as it is; answers are read one by one."""

    def __init__(self, port, path=None):
        """By TCP, or by the socket at a path."""
        if path is None:
            self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(PATIENCE)
            self.socket.connect(path)
        self.stream = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.close()
        self.socket.close()

    def reset(self):
        """Closes without a farewell: the server's next write or read fails."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def send_request(self, method, path, body=None, headers=None):
        self.send(request_bytes(method, path, body, headers))

    def response(self, method="GET"):
        """The next answer; interim ones (100 Continue) are passed over."""
        while True:
            status, headers = self.head()
            if status >= 200:
                break
        if method == "HEAD" or status in (204, 304):
            return Response(status, headers, b"")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return Response(status, headers, self.chunks())
        if "content-length" in headers:
            size = int(headers["content-length"])
            body = self.stream.read(size)
            assert len(body) == size, f"the body ended after {len(body)} of {size} bytes"
            return Response(status, headers, body)
        return Response(status, headers, self.stream.read())

    def head(self):
        """Status and headers of the next answer, interim or not."""
        line = self.stream.readline(65536)
        if not line:
            raise ConnectionResetError("closed without an answer")
        assert line.startswith(b"HTTP/1.1 "), line
        headers = http.client.parse_headers(self.stream)
        return int(line.split()[1]), {name.lower(): value for name, value in headers.items()}

    def chunks(self):
        body = b""
        while True:
            size = int(self.stream.readline().split(b";")[0], 16)
            body += self.stream.read(size)
            self.stream.readline()
            if size == 0:
                return body

    def at_end(self):
        return self.stream.read(1) == b""


def request_bytes(method, path, body=None, headers=None):
    lines = {"Host": "127.0.0.1"}
    if body is not None:
        lines["Content-Type"] = "application/json"
        lines["Content-Length"] = str(len(body))
    lines.update(headers or {})
    head = f"{method} {path} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return head.encode("latin-1") + b"\r\n" + (body or b"")


# --- helpers --------------------------------------------------------------------------------------


def eventually(probe, what):
    """Waits until the probe gives something true, and returns it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        result = probe()
        if result:
            return result
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}")


def in_parallel(functions):
    """Runs all at once; returns their results, or raises the first error."""
    results = [None] * len(functions)
    errors = []

    def call(index, function):
        try:
            results[index] = function()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=pair) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def expect_error(response, status, error_type, words=""):
    assert response.status == status, response
    answer = response.json()
    assert set(answer) == {"error", "error_type"}, response
    assert answer["error_type"] == error_type, response
    assert words in answer["error"], response
    assert response.headers["content-type"].startswith("application/json"), response


def heavy_body(seed=0, texts=300, words=400):
    """A request that keeps any model busy for a while; most of it is tokenizing and long sequences."""
    text = " ".join(f"word{(seed + i) % 997}" for i in range(words))
    return {"query": f"query {seed}", "texts": [f"{text} {i}" for i in range(texts)]}
