#!/usr/bin/env python3
"""bench/sweep and bench/tune with servers that they start themselves, and the overload experiment: on a made-up load
generator for what they compute, on a stand-in for TEI for how servers are started, watched and stopped."""

import csv
import fcntl
import importlib.machinery
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
import xml.etree.ElementTree

import harness
from harness import PATIENCE, case
from load_support import candidates, program

BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench")
sys.path.insert(0, BENCH)

import overload  # noqa: E402
import rerankers  # noqa: E402
import serving  # noqa: E402

# Answers like bench/load. A server named http://CAPACITY/KIND: `polite` refuses what is beyond its capacity, `naive`
# answers it too late.
MADE_UP = '''#!{python}
import json, sys
arguments = sys.argv[1:]
option = lambda name: arguments[arguments.index(name) + 1]
capacity, kind = option("--url").split("//")[1].split("/")
capacity = float(capacity)
print(json.dumps(arguments), file=open({log!r}, "a"))
rate = float(option("--rate")) if "--rate" in arguments else None
beyond = rate is not None and rate > capacity
good = capacity if kind == "polite" else 0
offered = 1000
counts = {{"right": 1 if "--requests" in arguments else offered, "dropped": 0}}
failures = {{"status 429": 400, "status 503": 20, "reset": 7}} if beyond and kind == "polite" else {{}}
rates = {{"right_rate": capacity, "goodput": good if beyond else rate or capacity, "error_share": 0,
         "good_share": (good if beyond else rate or capacity) / (rate or capacity)}}
with open(option("--json"), "w") as out:
    json.dump({{"counts": counts, "failures": failures, "latency_ms": {{"p50": 10, "p99": 1e5 if beyond else 20, "max": 30}},
               "rates": rates}}, out)
'''

# Speaks TEI's /health and /rerank; says beside itself how it was called. Leaves a child of its own behind.
STAND_IN = '''#!{python}
import http.server, json, subprocess, sys
child = subprocess.Popen(["sleep", "1000"])
with open(sys.argv[0] + ".said", "a") as said:
    print(json.dumps({{"arguments": sys.argv[1:], "child": child.pid}}), file=said)

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(b"")
    def do_POST(self):
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["texts"]
        self.answer(json.dumps([{{"index": i, "score": 1 - i / len(texts)}} for i in range(len(texts))]).encode())
    def log_message(self, *_):
        pass

option = lambda name: sys.argv[sys.argv.index(name) + 1]
http.server.ThreadingHTTPServer((option("--hostname"), int(option("--port"))), Handler).serve_forever()
'''


def script(folder, name, text, **values):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.format(python=sys.executable, **values))
    os.chmod(path, 0o755)
    return path


def call(name, *arguments, status=0):
    result = subprocess.run([sys.executable, os.path.join(BENCH, name), *arguments], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=8 * PATIENCE, text=True,
                            env=harness.clean_environment())
    assert result.returncode == status, result
    return result


def lines_of_json(path):
    with open(path, encoding="utf-8") as file:
        return [rerankers.json.loads(line) for line in file]


def rows_of(path):
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def is_gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"  # nobody here waits for orphans
    except FileNotFoundError:
        return True


def module_of(name):
    loader = importlib.machinery.SourceFileLoader(name, os.path.join(BENCH, name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


# --- the overload experiment ----------------------------------------------------------------------


@case
def overload_offers_multiples_of_each_capacity_and_counts_what_is_in_time():
    with tempfile.TemporaryDirectory() as folder:
        log, table, svg = (os.path.join(folder, name) for name in ("log", "points.csv", "overload.svg"))
        path = script(folder, "load", MADE_UP, log=log)
        result = call("sweep", "--load", path, "--candidates", "none", "--server", "polite=http://40/polite", "--server",
                      "naive=http://10/naive", "--p99-ms", "500", "--sections", "overload", "--factors", "0.5,1,2",
                      "--csv", table, "--overload-svg", svg, "--load-option", "polite:--header=a: b")
        rows, calls = rows_of(table), lines_of_json(log)
        picture = xml.etree.ElementTree.parse(svg).getroot()
    found = {(row["server"], float(row["factor"])): row for row in rows}
    assert len(rows) == 6 and {row["phase"] for row in rows} == {"overload"}, rows
    for (server, factor), row in found.items():
        capacity = 40 if server == "polite" else 10
        good = capacity * factor if factor <= 1 else capacity if server == "polite" else 0
        assert (float(row["capacity"]), float(row["rate"]), float(row["goodput"])) == (capacity, capacity * factor, good), row
        refused = 420 if server == "polite" and factor == 2 else 0  # 429 and 503, no other failure
        assert int(row["refused"]) == refused and row["rss_before_mb"] == "", row
    overloads = [call for call in calls if "--rate" in call]
    assert all(call[call.index("--deadline-ms") + 1] == "500" for call in overloads), overloads
    assert [call[call.index("--label") + 1] for call in overloads] == ["polite", "naive", "naive", "polite", "polite", "naive"]
    assert len([call for call in calls if "--header=a: b" in call]) == 1 + 1 + 2 * 3, calls  # ready, capacity, run and drain
    assert sum(element.tag.endswith("polyline") for element in picture.iter()) == 4, "two servers in two panels"
    assert result.stdout.count("polite") == 3 and "420" in result.stdout, result.stdout


@case
def overload_alone_tells_a_server_its_deadline():
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "log")
        arguments = types.SimpleNamespace(load=script(folder, "load", MADE_UP, log=log), candidates="none", further=[], lock=serving.Lock(),
                                          again=0, seconds=1, warmup=0, least_requests=1, deadline_ms=250, connections=1)
        server = serving.Server("rerankd", "http://40/polite")
        server.overload_options = ["--header=x-request-timeout-ms: {deadline}"]
        overload.measure(server, [server], arguments, 40, 2)
        overload.capacity_of(server, [server], arguments)
        calls = lines_of_json(log)
    assert [("--header=x-request-timeout-ms: 250" in call) for call in calls] == [True, False, False], calls


# --- servers that are started -----------------------------------------------------------------------


def sweep_with_stand_in(folder, *arguments):
    stand_in = script(folder, "tei", STAND_IN)
    table = os.path.join(folder, "points.csv")
    result = call("sweep", "--load", program(), "--candidates", candidates(folder), "--model", harness.small_model(),
                  "--rerankd", harness.binary(), "--tei", stand_in, "--threads", "1", "--p99-ms", "100000", "--lowest", "5",
                  "--highest", "10", "--seconds", "0.5", "--warmup", "0", "--least-requests", "10", "--points", "0", "--csv",
                  table, "--cache", folder, *arguments, "--", "--sizes=2")
    return result, rows_of(table), lines_of_json(stand_in + ".said")


@case
def peers_are_started_at_their_settings_and_stopped_with_their_children():
    with tempfile.TemporaryDirectory() as folder:
        result, rows, said = sweep_with_stand_in(folder, "--peers", "rerankd:dtype=float32,tei,small=tei:tokens=512",
                                                 "--sections", "search,overload", "--factors", "0.1")
    assert {row["server"] for row in rows} == {"rerankd", "tei", "small"}, rows
    settings = {row["server"]: row["settings"] for row in rows}
    assert settings["small"].startswith("tei ") and "tokens=512" in settings["small"], settings
    assert "dtype=float32" in settings["rerankd"], settings
    for row in rows:
        assert row["phase"] == "search" or float(row["rss_after_mb"]) > 5, row
        assert not row["failures"], row
    assert len(said) == 2 and said[0]["arguments"] != said[1]["arguments"], said
    for call_ in said:
        given = call_["arguments"]
        assert given[given.index("--model-id") + 1] == harness.small_model(), given
        assert "--auto-truncate" in given and given[given.index("--hostname") + 1] == "127.0.0.1", given
        harness.eventually(lambda pid=call_["child"]: is_gone(pid), "the child to go")
    assert "small" in result.stdout, result.stdout


@case
def nonsense_about_peers_is_refused():
    with tempfile.TemporaryDirectory() as folder:
        path = script(folder, "load", MADE_UP, log=os.path.join(folder, "log"))
        common = ("sweep", "--load", path, "--candidates", "none", "--p99-ms", "500")
        model = ("--model", harness.small_model(), "--tei", script(folder, "tei", STAND_IN))
        for arguments, status, said in (
                (("--peers", "tei"), 2, "wants --model"),
                (("--peers", "vespa", *model), 1, "no peer 'vespa'"),
                (("--peers", "tei:pages=4", *model), 1, "no setting 'pages=4'"),
                (("--peers", "tei,tei", *model), 2, "comes twice"),
                (("--peers", "tei", "--model", folder), 1, "is no model"),
                (("--peers", "rerankd", *model, "--rerankd", "/nowhere"), 1, "no program '/nowhere'"),
                (("--peers", "tei", *model, "--tei", "/nowhere"), 1, "no program '/nowhere'"),
                ((), 2, "--server or --peers"),
                (("--server", "a=1", "--sections", "curve"), 2, "--sections"),
                (("--server", "a=1", "--factors", "1,0"), 2, "--factors")):
            assert said in call(*common, *arguments, status=status).stderr, (arguments, said)


@case
def a_server_that_ends_at_once_is_quoted():
    with tempfile.TemporaryDirectory() as folder:
        broken = script(folder, "tei", "#!/bin/sh\n# {python}\necho there is no such option >&2\nexit 3\n")
        result = call("sweep", "--load", program(), "--candidates", candidates(folder), "--peers", "tei", "--tei", broken,
                      "--model", harness.small_model(), "--p99-ms", "5", status=1)
    assert "ended with status 3" in result.stderr and "there is no such option" in result.stderr, result


@case
def tune_tries_a_group_after_the_other_and_keeps_the_best():
    module = module_of("tune")

    def chosen(served):
        steps = module.tries({"a": 1, "b": 1}, [[{"a": 1}, {"a": 2}, {"a": 3}], [{"b": 1}, {"b": 2}]])
        tried = []
        try:
            settings = next(steps)
            while True:
                tried.append((settings["a"], settings["b"]))
                settings = steps.send(served.get(tried[-1]))
        except StopIteration as end:
            return end.value, tried

    best, tried = chosen({(1, 1): 5, (2, 1): 9, (3, 1): 7, (2, 2): 10, (1, 2): 100})
    assert best == {"a": 2, "b": 2} and tried == [(1, 1), (2, 1), (3, 1), (2, 2)], (best, tried)
    best, tried = chosen({(3, 1): 1})  # what did not start, or answered nothing, is not chosen
    assert best == {"a": 3, "b": 1}, best
    assert chosen({})[0] is None
    settings = {**rerankers.KINDS["infinity"].defaults, "engine": "torch", "dtype": "float32"}
    axes = module.open_axes("infinity", settings, ["engine", "dtype"])
    assert axes[0] == [{"engine": "torch", "dtype": "float32"}] and len(axes) == 2, axes
    assert len(module.open_axes("infinity", settings, ["batch", "dtype"])[0]) == 2


@case
def tune_measures_what_it_starts():
    with tempfile.TemporaryDirectory() as folder:
        stand_in, table = script(folder, "tei", STAND_IN), os.path.join(folder, "tried.csv")
        result = call("tune", "--load", program(), "--candidates", candidates(folder), "--model", harness.small_model(), "--tei",
                      stand_in, "--seconds", "0.3", "--warmup", "0", "--connections", "2", "--csv", table, "tei:concurrent=99", "--", "--sizes=2")
        rows, said = rows_of(table), lines_of_json(stand_in + ".said")
    axes = rerankers.KINDS["tei"].axes
    assert len(rows) == len(said) == len(axes[0]) + len(axes[1]) - 1, rows
    assert all(float(row["right_rate"]) > 0 and float(row["end_mb"]) > 0 and not row["failures"] for row in rows), rows
    assert all("concurrent=99" in row["settings"] for row in rows), rows
    assert rerankers.parse(result.stdout.splitlines()[-1])[1] == "tei", result.stdout


# --- watching -----------------------------------------------------------------------------------------


@case
def memory_and_time_are_those_of_the_whole_tree():
    grown = "data = b'x' * 80_000_000; print('grown', flush=True); import time; time.sleep(1000)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grown!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout.readline() == b"grown\n"
        assert len(serving.tree(process.pid)) == 2
        assert 80 < serving.resident_mb(process.pid) < 200, serving.resident_mb(process.pid)
        assert serving.cpu_seconds(process.pid) > 0
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert serving.resident_mb(process.pid) == 0 and serving.cpu_seconds(process.pid) == 0


@case
def a_server_that_is_busy_with_nothing_is_noticed():
    servers = [serving.Server(name, "") for name in ("busy", "idle", "elsewhere")]
    commands = ("while True: pass", "import time; time.sleep(1000)")
    try:
        for server, command in zip(servers, commands):
            server.process = subprocess.Popen([sys.executable, "-c", command])
        time.sleep(1)  # starting is no idling
        cores = serving.check_idle(servers)
    finally:
        for server in servers[:2]:
            server.process.kill()
            server.process.wait()
    assert set(cores) == {"busy", "idle"} and cores["busy"] > serving.IDLE_CORES > cores["idle"], cores


@case
def what_was_disturbed_is_measured_again():
    ours, theirs = serving.Server("ours", ""), serving.Server("theirs", "")
    busy = [sys.executable, "-c", "while True: pass"]
    arguments = types.SimpleNamespace(again=2)
    calls = []

    def run():
        calls.append(time.sleep(0.5))
        return len(calls)

    stranger = subprocess.Popen(busy)
    try:
        ours.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        assert serving.undisturbed(arguments, [ours], run)[0] == 3
        assert serving.undisturbed(arguments, [ours, theirs], run) == (4, None)  # what is not ours may be a server
    finally:
        for process in (stranger, ours.process):
            process.kill()
            process.wait()


@case
def disturbed_runs_are_in_no_picture():
    sweep = module_of("sweep")
    rows = [{"phase": phase, "server": "a", "rate": rate, "p50_ms": 1.0, "p99_ms": 2.0, "factor": rate, "capacity": 1,
             "goodput": 1, "other_cores": others}
            for phase in ("search", "overload") for rate, others in ((1, 0.0), (2, None), (3, 1.5))]
    for picture, curves in ((sweep.picture(rows, 500), 2), (overload.picture(rows, 500), 2)):
        assert picture.count("<polyline") == curves and picture.count("<circle") == 2 * curves, picture


def is_free(path):
    with open(path, "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False


@case
def runs_wait_for_the_lock_and_keep_it_as_long_as_asked():
    with tempfile.TemporaryDirectory() as folder:
        path, order = os.path.join(folder, "lock"), []
        with open(path, "w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)

            def run():
                with serving.Lock(path):
                    order.append("run")
                    assert not is_free(path)
            thread = threading.Thread(target=run)
            thread.start()
            time.sleep(0.3)
            order.append("released")
        thread.join()
        assert order == ["released", "run"] and is_free(path), order
        kept = serving.Lock(path + ":1000")
        for _ in range(2):
            with kept:
                pass
            assert not is_free(path)
        kept.release()
        assert is_free(path)
        with serving.Lock():
            pass


if __name__ == "__main__":
    sys.exit(harness.main())
