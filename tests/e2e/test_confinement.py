#!/usr/bin/env python3
"""What the server gives away: root's rights, capabilities, system calls; and that it works without them."""

import gzip
import json
import os
import pwd
import shutil
import signal
import stat
import sys

import harness
import hub as hubs
from harness import Server, Skip, case, run_binary, small_model

GOOD = {"query": "bridge", "texts": ["The bridge is of stone.", "bread " * 200]}
SOMEBODY = 12345
NO_CAPABILITIES = "0" * 16
SERVING = 2  # filters of a server that wrote no files: that of rings, and the list of what is allowed


def need_root():
    if os.geteuid() != 0:
        raise Skip("needs root")


def threads(server):
    """The lines of /proc/PID/task/TID/status of every thread, by name."""
    folder = f"/proc/{server.process.pid}/task"
    states = []
    for thread in os.listdir(folder):
        with open(f"{folder}/{thread}/status", encoding="ascii", errors="replace") as lines:
            states.append(dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line))
    assert len(states) > 1, states
    return states


def need_filter(server):
    if "this build has a sanitizer" in server.log():
        raise Skip("sanitizers make calls of their own")
    if "system calls are not filtered" in server.log():
        raise Skip("the kernel does not filter here")


def check_filtered(server, filters):
    for state in threads(server):
        assert state["Seccomp"] == "2", state
        assert state["NoNewPrivs"] == "1", state
        assert int(state.get("Seccomp_filters", filters)) == filters, state


def check_user(server, uid, gid):
    for state in threads(server):
        assert state["Uid"].split() == [str(uid)] * 4, state
        assert state["Gid"].split() == [str(gid)] * 4, state
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            # A sanitizer may have a thread that hears no signal: root's own rights stay in it.
            if uid != 0 or not harness.SLOW or state["Pid"] == str(server.process.pid):
                assert state[name] == NO_CAPABILITIES, state
    state = next(state for state in threads(server) if state["Pid"] == str(server.process.pid))
    if uid != 0:
        assert state["Groups"].strip() == "", state
        assert state["CapBnd"] == NO_CAPABILITIES, state


def open_folder():
    """A folder that everybody can look into and write to."""
    folder = harness.temporary_folder("rerankd-confined-")
    os.chmod(folder, 0o777)
    return folder


def readable_model():
    """The small model where everybody can read it, wherever the checkout lies."""
    model = os.path.join(open_folder(), "model")
    shutil.copytree(small_model(), model, copy_function=shutil.copyfile)
    os.chmod(model, 0o755)
    for name in os.listdir(model):
        os.chmod(os.path.join(model, name), 0o755 if os.path.isdir(os.path.join(model, name)) else 0o644)
    return model


@case
def system_calls_are_filtered_by_default_in_every_thread():
    with Server() as server:
        need_filter(server)
        check_filtered(server, SERVING)
        server.check_alive()
        check_filtered(server, SERVING)


@case
def a_server_under_the_filter_serves_every_coding_metrics_new_keys_and_the_end():
    folder = open_folder()
    keys = os.path.join(folder, "keys")
    with open(keys, "w", encoding="ascii") as file:
        file.write("one\n")
    with Server("--api-key-file", keys, unix_socket=os.path.join(folder, "socket")) as server:
        need_filter(server)
        key = {"Authorization": "Bearer one"}
        plain = server.rerank(GOOD, key)
        assert plain.status == 200, plain
        packed = gzip.compress(json.dumps(GOOD).encode())
        assert server.rerank(packed, {"Content-Encoding": "gzip", **key}).json() == plain.json()
        big = {**GOOD, "texts": ["bread and water"] * 500, "return_text": True}
        for coding in ("gzip", "zstd"):
            answer = server.rerank(big, {"Accept-Encoding": coding, **key})
            assert answer.status == 200 and answer.headers["content-encoding"] == coding, answer
        assert any(name.startswith("te_request") for name in server.metrics())
        with open(keys, "w", encoding="ascii") as file:
            file.write("two\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log(lambda line: "SIGHUP: 1 API keys" in line)
        assert server.rerank(GOOD, {"Authorization": "Bearer two"}).status == 200
        assert server.rerank(GOOD, key).status == 401
        check_filtered(server, SERVING)
    assert not os.path.exists(os.path.join(folder, "socket"))


@case
def the_filter_is_narrower_once_a_download_is_over():
    home = open_folder()
    files = {}
    for entry in os.scandir(small_model()):
        if entry.is_file():
            with open(entry.path, "rb") as file:
                files[entry.name] = file.read()
    with hubs.Hub("team/small", files) as hub:
        environment = {"HF_ENDPOINT": hub.url, "HF_HOME": home, "HOME": home, "NO_PROXY": "127.0.0.1"}
        with Server(model="team/small", environment=environment) as server:
            need_filter(server)
            check_filtered(server, SERVING + 1)
            server.check_alive()
            if os.geteuid() == 0:
                blobs = os.path.join(home, "hub", "models--team--small", "blobs")
                assert os.stat(blobs).st_uid != 0 and os.listdir(blobs), "it was not root that downloaded"
    shutil.rmtree(home)


@case
def the_filter_is_a_choice():
    with Server("--seccomp", "off") as server:
        assert all(state["Seccomp"] == "0" for state in threads(server))
        assert "system calls are not filtered: --seccomp off" in server.log()
    with Server() as server:
        need_filter(server)
    with Server("--seccomp", "on") as server:
        check_filtered(server, SERVING)
        server.check_alive()


@case
def no_environment_gives_the_event_loop_a_ring():
    for wish in ("1", "0"):
        with Server(environment={"UV_USE_IO_URING": wish}) as server:
            need_filter(server)
            folder = f"/proc/{server.process.pid}/fd"
            if os.geteuid() == 0:  # who else may not look
                files = [os.readlink(os.path.join(folder, name)) for name in os.listdir(folder)]
                assert files and not any("io_uring" in name for name in files), files
            server.check_alive()


@case
def root_becomes_nobody_and_reads_keys_again():
    need_root()
    model = readable_model()
    keys = os.path.join(os.path.dirname(model), "keys")
    with open(keys, "w", encoding="ascii") as file:
        file.write("one\n")
    os.chmod(keys, 0o644)
    with Server("--api-key-file", keys, model=model) as server:
        account = pwd.getpwnam("nobody")
        check_user(server, account.pw_uid, account.pw_gid)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log(lambda line: "SIGHUP: 1 API keys" in line)
        assert server.rerank(GOOD, {"Authorization": "Bearer one"}).status == 200


@case
def root_stays_root_without_capabilities_where_nobody_cannot_read():
    need_root()
    model = readable_model()
    os.chmod(os.path.join(model, "model.safetensors"), 0o600)
    with Server(model=model) as server:
        check_user(server, 0, 0)
        (line,) = server.wait_for_log(lambda line: "stays root" in line)
        assert "WARN" in line and "model.safetensors" in line and "--user" in line, line
        server.check_alive()


@case
def a_user_that_is_asked_for_is_become_and_owns_the_socket():
    need_root()
    path = os.path.join(open_folder(), "socket")
    with Server("--user", f"{SOMEBODY}:{SOMEBODY + 1}", model=readable_model(), unix_socket=path) as server:
        check_user(server, SOMEBODY, SOMEBODY + 1)
        about = os.lstat(path)
        assert (about.st_uid, about.st_gid) == (SOMEBODY, SOMEBODY + 1), about
        assert stat.S_IMODE(about.st_mode) == 0o600, oct(about.st_mode)
        server.check_alive()
    assert not os.path.exists(path)
    with Server("--user", "root", model=readable_model()) as server:
        check_user(server, 0, 0)
        server.check_alive()


@case
def capabilities_that_another_user_was_given_go_once_it_listens():
    need_root()
    if shutil.which("setpriv") is None:
        raise Skip("no setpriv")
    starter = os.path.join(open_folder(), "start")
    with open(starter, "w", encoding="utf-8") as script:
        script.write(f"#!/bin/sh\nexec setpriv --reuid {SOMEBODY} --regid {SOMEBODY} --clear-groups --inh-caps "
                     f"+net_bind_service --ambient-caps +net_bind_service '{harness.binary()}' \"$@\"\n")
    os.chmod(starter, 0o755)
    before = harness.binary()
    os.environ["RERANKD_BIN"] = starter
    try:
        server = Server(model=readable_model())
    finally:
        os.environ["RERANKD_BIN"] = before
    with server:
        for state in threads(server):
            assert state["Uid"].split()[0] == str(SOMEBODY), state
            if not harness.SLOW or state["Pid"] == str(server.process.pid):
                assert state["CapPrm"] == state["CapEff"] == state["CapAmb"] == NO_CAPABILITIES, state
        server.check_alive()


@case
def a_user_that_cannot_be_had_ends_the_start():
    result = run_binary("--model-id", small_model(), "--port", "0", "--user", "no-such-user-here")
    assert result.returncode == 1 and "no-such-user-here" in result.stderr, result
    if os.geteuid() != 0:
        result = run_binary("--model-id", small_model(), "--port", "0", "--user", str(SOMEBODY))
        assert result.returncode == 1 and "only root" in result.stderr, result
        return
    model = readable_model()
    os.chmod(model, 0o700)
    result = run_binary("--model-id", model, "--hostname", "127.0.0.1", "--port", "0", "--user", str(SOMEBODY))
    assert result.returncode == 1 and "cannot load the model" in result.stderr, result
    assert "ermission denied" in result.stderr, result


@case
def memory_is_not_for_others_unless_debugging_is_wanted():
    def state(server):
        with open(f"/proc/{server.process.pid}/limits", encoding="ascii") as lines:
            limit = next(line for line in lines if line.startswith("Max core file size")).split()[4]
        return limit, os.stat(f"/proc/{server.process.pid}/mem").st_uid

    with Server(model=readable_model()) as server:
        assert state(server) == ("0", 0), state(server)
    with Server("--core-dumps", model=readable_model()) as server:
        owner = int(threads(server)[0]["Uid"].split()[0])
        assert state(server)[1] == owner, (state(server), owner)


if __name__ == "__main__":
    sys.exit(harness.main())
