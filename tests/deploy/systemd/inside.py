"""Run as root under systemd in a machine of its own, which ends with it: the shipped units, started, hung, reloaded,
restarted. Prints a line of JSON for each check."""

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

if __name__ == "__main__":  # --help and mistakes before anything of the machine is looked for
    argparse.ArgumentParser(description=__doc__).parse_args()

sys.path.insert(0, "/tests/e2e")
sys.dont_write_bytecode = True

import hub as hubs  # noqa: E402

MODEL = "/srv/model"
BI_ENCODER = "/srv/bi-encoder"  # has documents to keep
ENVIRONMENT = "/etc/default/rerankd"
DROP_IN = "/etc/systemd/system/rerankd.service.d/test.conf"
BODY = json.dumps({"query": "what", "texts": ["this", "that"]})
PATIENCE = 30

checks = []


def check(function):
    checks.append(function)
    return function


def run(*command, status=0):
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if status is not None:
        assert result.returncode == status, (command, result)
    return result.stdout.strip()


def shown(name, unit="rerankd.service"):
    return run("systemctl", "show", "--value", "-p", name, unit)


def eventually(probe, what):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = probe()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}: {run('systemctl', 'status', 'rerankd', status=None)}")


def configure(service="", **variables):
    """The environment file as it is shipped and these variables; a drop-in for the unit."""
    os.makedirs(os.path.dirname(ENVIRONMENT), exist_ok=True)
    with open("/units/rerankd.default", encoding="utf-8") as shipped, open(ENVIRONMENT, "w", encoding="utf-8") as file:
        file.write(shipped.read() + "".join(f"{name}={value}\n" for name, value in variables.items()))
    os.makedirs(os.path.dirname(DROP_IN), exist_ok=True)
    with open(DROP_IN, "w", encoding="utf-8") as file:
        file.write(f"[Service]\n{service}\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "reset-failed")


def ask(method="POST", path="/rerank", headers=None, at=None):
    connection = http.client.HTTPConnection("127.0.0.1", 3000, timeout=PATIENCE)
    if at is not None:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(at)
    with contextlib.closing(connection):
        connection.request(method, path, BODY if method == "POST" else None,
                           {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        response.read()
        return response.status


def process():
    with open(f"/proc/{shown('MainPID')}/status", encoding="ascii") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def files(directory):
    found = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                found[os.path.relpath(os.path.join(folder, name), directory)] = file.read()
    return found


@check
def it_is_started_once_it_is_ready_and_has_no_rights():
    configure(MODEL_ID=MODEL)
    run("systemctl", "start", "rerankd")
    assert ask("GET", "/ready") == 200 and ask() == 200  # at once: `start` has waited for it
    assert shown("StatusText") == f"serving {MODEL}", shown("StatusText")
    state = process()
    assert state["Uid"].split()[0] != "0" and state["CapEff"] == state["CapBnd"] == "0" * 16, state
    assert state["Seccomp"] == "2" and state["NoNewPrivs"] == "1", state
    log = run("journalctl", "-b", "-u", "rerankd", "-o", "cat")
    assert "with filtered system calls" in log and "ERROR" not in log and "WARN" not in log, log
    run("systemctl", "stop", "rerankd")
    assert shown("Result") == "success", shown("Result")


@check
def keys_are_read_again_by_reload():
    with open("/etc/keys", "w", encoding="ascii") as file:
        file.write("first\n")
    configure(MODEL_ID=MODEL, API_KEY_FILE="/etc/keys")
    run("systemctl", "start", "rerankd")
    assert ask() == 401 and ask(headers={"Authorization": "Bearer first"}) == 200
    with open("/etc/keys", "w", encoding="ascii") as file:
        file.write("second\n")
    run("systemctl", "reload", "rerankd")
    eventually(lambda: ask(headers={"Authorization": "Bearer second"}) == 200, "the new key")
    run("systemctl", "stop", "rerankd")


@check
def models_by_name_and_documents_are_kept_in_its_directory():
    with hubs.Hub("team/model", files(BI_ENCODER)) as hub:
        configure(MODEL_ID="team/model", HF_ENDPOINT=hub.url, DOCUMENTS="/var/lib/rerankd/documents",
                  DOCUMENTS_BYTES=1 << 20)
        run("systemctl", "start", "rerankd")
        assert ask() == 200
        run("systemctl", "stop", "rerankd")
    assert os.path.isdir("/var/lib/rerankd/hub/models--team--model")
    assert os.path.getsize("/var/lib/rerankd/documents") == 1 << 20
    assert os.stat("/var/lib/rerankd/").st_mode & 0o777 == 0o700
    configure(MODEL_ID="team/model", HF_HUB_OFFLINE="true")
    run("systemctl", "start", "rerankd")
    assert ask() == 200
    run("systemctl", "stop", "rerankd")


@check
def loading_may_take_longer_than_the_units_limit():
    with hubs.Hub("team/slow", files(MODEL)) as hub:
        hub.faults["model.safetensors"] = hubs.Fault(hubs.trickle(1000, seconds=4, size=10000))
        configure("TimeoutStartSec=2", MODEL_ID="team/slow", HF_ENDPOINT=hub.url)
        started = time.monotonic()
        run("systemctl", "start", "rerankd")
        assert time.monotonic() - started > 2, "the load was too short to show anything"
        assert ask() == 200
        run("systemctl", "stop", "rerankd")


@check
def stopping_may_take_longer_than_the_units_limit():
    configure("TimeoutStopSec=1", MODEL_ID=MODEL, DRAIN_DELAY=2)
    run("systemctl", "start", "rerankd")
    stopper = subprocess.Popen(["systemctl", "stop", "rerankd"])
    eventually(lambda: ask("GET", "/ready") == 503, "the server to be unready")
    assert ask() == 200 and ask("GET", "/live") == 200
    assert stopper.wait(PATIENCE) == 0
    assert shown("Result") == "success" and "fini" not in shown("ActiveState"), shown("Result")


@check
def a_server_that_hangs_is_started_anew():
    configure("WatchdogSec=1", MODEL_ID=MODEL)
    run("systemctl", "start", "rerankd")
    time.sleep(2)  # it is well for two of these
    assert shown("NRestarts") == "0" and ask() == 200
    before = shown("MainPID")
    os.kill(int(before), signal.SIGSTOP)
    eventually(lambda: shown("MainPID") not in (before, "0") and shown("ActiveState") == "active", "a new process")
    assert shown("NRestarts") == "1" and ask() == 200
    run("systemctl", "stop", "rerankd")


@check
def a_wrong_option_is_not_tried_again():
    configure(MODEL_ID=MODEL, DTYPE="float7")
    run("systemctl", "start", "rerankd", status=1)
    time.sleep(1.5)  # longer than RestartSec
    assert (shown("ActiveState"), shown("ExecMainStatus"), shown("NRestarts")) == ("failed", "2", "0")


@check
def across_restarts_of_a_server_with_sockets_nobody_is_refused():
    configure(MODEL_ID=MODEL, PORT=1, DRAIN_DELAY=0)
    run("systemctl", "start", "rerankd.socket")
    assert shown("ActiveState") == "inactive"
    assert ask() == 200  # which starts the server
    assert ask() == 200 and ask(at="/run/rerankd.socket") == 200
    asking, seen, errors = threading.Event(), [], []

    def client():
        while not asking.is_set():
            try:
                seen.append(ask())
            except OSError as error:
                errors.append(repr(error))

    clients = [threading.Thread(target=client) for _ in range(4)]
    for one in clients:
        one.start()
    for _ in range(3):
        run("systemctl", "restart", "rerankd")
        time.sleep(0.3)
    asking.set()
    for one in clients:
        one.join()
    run("systemctl", "stop", "rerankd.socket", "rerankd.service")
    counts = {status: seen.count(status) for status in set(seen)}
    assert not errors and set(counts) == {200} and len(seen) > 100, (errors, counts)


@check
def an_account_of_that_name_is_taken_and_its_group_opens_files():
    run("useradd", "--system", "--no-create-home", "--user-group", "rerankd")
    with open("/etc/keys", "w", encoding="ascii") as file:
        file.write("secret\n")
    os.chmod("/etc/keys", 0o640)
    run("chown", "root:rerankd", "/etc/keys")
    configure(MODEL_ID=MODEL, API_KEY_FILE="/etc/keys")
    run("systemctl", "start", "rerankd")
    assert ask(headers={"Authorization": "Bearer secret"}) == 200
    assert process()["Uid"].split()[0] == run("id", "-u", "rerankd")
    run("systemctl", "stop", "rerankd")


def main():
    run("systemctl", "disable", "--now", "rerankd.socket", "rerankd.service")  # a new machine enables all that there is
    for function in checks:
        try:
            function()
            problem = None
        except Exception:
            problem = traceback.format_exc()
            problem += run("journalctl", "-b", "-u", "rerankd", "-o", "cat", "-n", "15", status=None)
            run("systemctl", "stop", "rerankd.socket", "rerankd.service", status=None)
        print(json.dumps({"name": function.__name__, "problem": problem}), flush=True)


if __name__ == "__main__":
    main()
