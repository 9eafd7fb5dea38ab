#!/usr/bin/env python3
"""The units in deploy/: what systemd's own tools say of them, and what becomes of them under a real systemd, which is
started as the first process of a container (systemd-nspawn) over this machine's /usr."""

import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

import harness  # noqa: E402
from harness import Skip, case  # noqa: E402

UNITS = ("rerankd.service", "rerankd.socket")
EXPOSURE = 15  # tenths; systemd calls up to 2.0 "OK", a service without any of this is 9.6
SECONDS = 200


def tool(name):
    found = shutil.which(name)
    if found is None:
        raise Skip(f"{name} is not installed")
    return found


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)


def units_with_this_binary():
    """Copies whose program exists here."""
    folder = harness.temporary_folder()
    for name in UNITS:
        with open(os.path.join(ROOT, "deploy", name), encoding="utf-8") as file:
            text = file.read()
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text.replace("/usr/bin/rerankd", harness.binary()))
    return [os.path.join(folder, name) for name in UNITS]


@case
def the_units_are_well_formed():
    result = run(tool("systemd-analyze"), "verify", "--man=no", *units_with_this_binary())
    assert result.returncode == 0 and result.stdout + result.stderr == "", result


@case
def the_service_is_hardly_exposed():
    result = run(tool("systemd-analyze"), "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager",
                 os.path.join(ROOT, "deploy", "rerankd.service"))
    assert result.returncode == 0, result.stdout[-1500:] + result.stderr


def calls_of(group, seen=None):
    """The system calls of a group like @network-io."""
    seen = set() if seen is None else seen
    listed = run(tool("systemd-analyze"), "syscall-filter", group).stdout.splitlines()[1:]
    calls = set()
    for line in map(str.strip, listed):
        if line.startswith("@") and line not in seen:
            seen.add(line)
            calls |= calls_of(line, seen)
        elif line and line[0] not in "@#":
            calls.add(line)
    return calls


@case
def the_unit_allows_every_system_call_that_the_server_allows_itself():
    allowed = set()
    with open(os.path.join(ROOT, "deploy", "rerankd.service"), encoding="utf-8") as file:
        for value in re.findall(r"^SystemCallFilter=(.*)$", file.read(), re.MULTILINE):
            named = value.lstrip("~").split()
            calls = set().union(*(calls_of(name) if name.startswith("@") else {name} for name in named))
            allowed = allowed - calls if value.startswith("~") else allowed | calls
    with open(os.path.join(ROOT, "server", "system", "sandbox_calls.h"), encoding="utf-8") as file:
        lists = re.findall(r"calls_(?!never)\w+\[\] = \{(.*?)NULL\}", file.read(), re.DOTALL)
    with open(os.path.join(ROOT, "server", "system", "sandbox.c"), encoding="utf-8") as file:
        by_argument = set(re.findall(r'SCMP_ACT_ALLOW\b[^;"]*"(\w+)"', file.read()))
    wanted = by_argument.union(*(re.findall(r'"(\w+)"', names) for names in lists))
    assert len(lists) >= 4 and {"seccomp", "mmap"} <= wanted | {"seccomp"} and len(wanted) > 90, wanted
    assert not (wanted | {"seccomp", "capset"}) - allowed, (wanted | {"seccomp", "capset"}) - allowed


@case
def systemd_socket_activate_passes_its_sockets():
    port = harness.free_port()
    path = os.path.join(harness.temporary_folder(), "socket")
    program = [tool("systemd-socket-activate"), "-l", f"127.0.0.1:{port}", "-l", path]
    with subprocess.Popen([*program, harness.binary(), "--model-id", harness.small_model(), "--user", "root"],
                          env=harness.clean_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        def ready(*where):
            with contextlib.suppress(OSError), harness.Connection(*where) as connection:
                connection.send_request("GET", "/ready")
                return connection.response().status == 200

        try:
            harness.eventually(lambda: ready(port), "the server behind the port")
            harness.eventually(lambda: ready(None, path), "the server behind the path")
        finally:
            process.terminate()
        assert process.wait(harness.PATIENCE) == 0


# --- under a real systemd -------------------------------------------------------------------------


def container(folder):
    """The command that starts one; it ends by itself."""
    if os.geteuid() != 0:
        raise Skip("a container needs root")
    upper, out = os.path.join(folder, "usr"), os.path.join(folder, "out")
    for directory in (out, os.path.join(upper, "bin"), os.path.join(upper, "lib", "systemd", "system")):
        os.makedirs(directory)
    shutil.copy(harness.binary(), os.path.join(upper, "bin", "rerankd"))
    for name in UNITS:
        shutil.copy(os.path.join(ROOT, "deploy", name), os.path.join(upper, "lib", "systemd", "system", name))
    shutil.copy(os.path.join(ROOT, "tests", "deploy", "systemd", "inside.service"),
                os.path.join(upper, "lib", "systemd", "system"))
    binds = {"/etc/alternatives": "/etc/alternatives", "/etc/ld.so.cache": "/etc/ld.so.cache",
             harness.small_model(): "/srv/model", harness.golden_model("bi-encoder"): "/srv/bi-encoder",
             os.path.join(ROOT, "tests"): "/tests",
             os.path.join(ROOT, "deploy"): "/units"}
    return [tool("systemd-nspawn"), "--quiet", "--directory=/", "--volatile=yes", "--boot", "--private-network",
            "--register=no", "--keep-unit", "--console=pipe", "--settings=no", "--link-journal=no",
            f"--machine=rerankd-test-{os.getpid()}", f"--overlay-ro=/usr:{upper}:/usr", f"--bind={out}:/out",
            *(f"--bind-ro={source}:{target}" for source, target in binds.items() if os.path.exists(source)),
            "systemd.unit=inside.service", "systemd.firstboot=off",
            "systemd.mask=systemd-networkd-wait-online.service"]  # there is no other network


@functools.cache
def results():
    """What inside.py says, by check; one start for all of them."""
    folder = harness.temporary_folder()
    command = container(folder)
    started = time.monotonic()
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS)
    print(f"# a machine with systemd ran for {time.monotonic() - started:.1f} s", flush=True)
    path = os.path.join(folder, "out", "results")
    lines = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    else:
        raise Skip(f"systemd does not start in a container here: {(ran.stderr or ran.stdout).strip()[-200:]}")
    told = [json.loads(line) for line in lines if line.startswith('{"name"')]
    return {one["name"]: one["problem"] for one in told}, "\n".join(lines[-30:])


def inside(name):
    def function():
        found, end = results()
        assert name in found, f"not done; the machine said last:\n{end}"
        assert found[name] is None, found[name]

    function.__name__ = name
    return case(function)


with open(os.path.join(ROOT, "tests", "deploy", "systemd", "inside.py"), encoding="utf-8") as source:
    for check in re.findall(r"^@check\ndef (\w+)\(", source.read(), re.MULTILINE):
        inside(check)


if __name__ == "__main__":
    sys.exit(harness.main())
