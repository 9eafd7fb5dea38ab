#!/usr/bin/env python3
"""deploy/quickstart and deploy/setup in a clone of their own, with stand-ins for what installs and builds: who runs it, what it is
asked for, what it says, and whose server it stops."""

import atexit
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

import harness  # noqa: E402
from harness import Skip, case  # noqa: E402

NOBODY, DAEMON = 65534, 1
LINES = 900  # of what a build prints
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
MODEL = os.path.join("models", "rerankd-minilm-en-v1")


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o755)


class Clone:
    """The repository as far as the quick start wants it, built. `with` ends its server."""

    def __init__(self, folder=None, user=None):
        self.top = tempfile.mkdtemp(prefix="quickstart-", dir=folder)
        atexit.register(shutil.rmtree, self.top, ignore_errors=True)
        os.chmod(self.top, 0o755)
        self.root = os.path.join(self.top, "clone")
        self.bin = os.path.join(self.top, "bin")
        self.shared = os.path.join(self.top, "shared")
        self.user = user
        self.started = []
        for name in ("quickstart", "example", "example.json"):
            self.copy(os.path.join("deploy", name))
        shutil.copytree(os.path.join(ROOT, MODEL), os.path.join(self.root, MODEL))
        write(os.path.join(self.root, "deploy", "setup"), "#!/bin/sh\n")
        os.makedirs(os.path.join(self.root, "build", "server"))
        shutil.copy(harness.binary(), os.path.join(self.root, "build", "server", "rerankd"))
        write(os.path.join(self.root, "build", "build.ninja"), "")
        self.stub("ninja", f"i=0; while [ $i -lt {LINES} ]; do i=$((i + 1)); echo \"[$i/{LINES}] Compiling\"; done")
        self.stub("meson", "exit 1")
        if user is not None:
            subprocess.run(["chown", "-R", f"{user}:{user}", self.root], check=True)

    def copy(self, name):
        target = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(os.path.join(ROOT, name), target)

    def stub(self, name, text):
        write(os.path.join(self.bin, name), f"#!/bin/sh\n{text}\n")

    def run(self, *arguments, user=None, shell=(), environment=None, program="deploy/quickstart"):
        user = self.user if user is None else user
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        return subprocess.run([*become, *shell, program, *arguments], cwd=self.root, text=True, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=harness.PATIENCE, check=False,
                              env={"PATH": f"{self.bin}:{PATH}", "HOME": "/nonexistent", "RERANKD_SHARED": self.shared,
                                   **(environment or {})})

    def start(self, *arguments, **options):
        """The process and its port, a free one unless the arguments say which."""
        port = () if "--port" in arguments else ("--port", str(harness.free_port()))
        result = self.run(*port, *arguments, **options)
        assert result.returncode == 0, (arguments, result)
        with open(os.path.join(self.root, ".cache", "rerankd.pid"), encoding="ascii") as file:
            pid = int(file.read().split()[0])
        self.started.append(pid)
        return pid, int(re.search(r"goes on at http://\S+:(\d+)", result.stdout).group(1)), result

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.run("--stop", user=0)
        program = os.path.join(self.root, "build", "server", "rerankd").encode()
        for pid in self.started:  # what --stop has missed
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
                if file.read().startswith(program):
                    os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.top, ignore_errors=True)


def status_of(pid):
    """/proc/PID/status as a dict, or None where the process has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if status["State"][0] in "ZX" else status


def need_root():
    if os.geteuid() != 0:
        raise Skip("wants root, to be root and others")


def info(port, key="none"):
    return subprocess.run(["curl", "-fs", "--noproxy", "*", "-H", f"Authorization: Bearer {key}", f"http://127.0.0.1:{port}/info"], capture_output=True, text=True,
                          timeout=harness.PATIENCE, check=True).stdout


def start_and_stop(clone):
    pid, port, _ = clone.start()
    assert status_of(pid) and "rerankd-minilm-en-v1" in info(port)
    stopped = clone.run("--stop")
    assert stopped.returncode == 0 and "has stopped" in stopped.stdout, stopped
    assert status_of(pid) is None, "the server runs on"
    again = clone.run("--stop")
    assert again.returncode == 0 and "No server" in again.stdout, again


@case
def it_starts_and_stops_a_server():
    with Clone() as clone:
        start_and_stop(clone)


@case
def a_user_starts_and_stops_a_server():
    need_root()
    with Clone(user=DAEMON) as clone:
        start_and_stop(clone)


@case
def port_0_is_any_that_is_free():
    with Clone() as clone:
        pid, port, _ = clone.start("--port", "0")
        assert port > 0 and status_of(pid) and info(port)


@case
def run_again_it_replaces_its_server():
    with Clone(user=DAEMON if os.geteuid() == 0 else None) as clone:
        first, port, _ = clone.start()
        second, same, _ = clone.start("--port", str(port))
        assert status_of(first) is None and status_of(second) and same == port, (first, second)
        third, other, _ = clone.start()
        assert status_of(second) is None and status_of(third) and other != port, (second, third)


@case
def another_users_server_is_told_and_stays():
    need_root()
    with Clone() as clone:
        pid, _, _ = clone.start()
        os.chmod(os.path.join(clone.root, ".cache"), 0o755)
        refused = clone.run("--stop", user=DAEMON)
        assert refused.returncode == 1 and f"process {pid}, is another user's" in refused.stderr, refused
        assert status_of(pid) and os.path.exists(os.path.join(clone.root, ".cache", "rerankd.pid"))
        refused = clone.run(user=DAEMON)
        assert refused.returncode == 1 and "daemon may not write to" in refused.stderr, refused


@case
def a_pid_that_is_used_again_is_let_alone():
    with Clone() as clone, subprocess.Popen(["sleep", "600"]) as other:
        try:
            for state in (f"{other.pid} 1 8080", f"{other.pid}", "", "x y z", "0", "-1 1 1"):
                write(os.path.join(clone.root, ".cache", "rerankd.pid"), state + "\n")
                stopped = clone.run("--stop")
                assert stopped.returncode == 0 and "No server" in stopped.stdout, (state, stopped)
                assert other.poll() is None, state
        finally:
            other.send_signal(signal.SIGKILL)


@case
def sh_runs_it_too():
    with Clone() as clone:
        _, _, result = clone.start(shell=["sh"])
        assert result.stderr == "", result


def others_server(stub):
    """A quick start on the port of a server that is not its own."""
    with harness.Server() as other, Clone() as clone:
        if stub:
            clone.stub("python3", '[ "$1" != - ] || { echo "$3"; exit; }\nexec /usr/bin/python3 "$@"')
        result = clone.run("--port", str(other.port))
        assert result.returncode == 1 and str(other.port) in result.stderr, result
        assert "goes on" not in result.stdout, result
        other.check_alive()
        return result


@case
def a_port_that_another_server_has_is_told():
    result = others_server(False)
    assert f"port {result.stderr.split('port ')[1].split()[0]}" in result.stderr and "Choose another" in result.stderr, result


@case
def anothers_health_is_not_taken_for_success():
    """The port is taken between the look at it and the start."""
    result = others_server(True)
    assert "did not start" in result.stderr and "in use" in result.stderr, result


@case
def mistakes_are_named_and_cost_nothing():
    with harness.Server() as other, Clone() as clone:
        pid, port, _ = clone.start()
        for arguments, words in ((["--port"], "--port"), (["--port", "x"], "'x'"), (["--port", "65536"], "'65536'"),
                                 (["--port=99999"], "'99999'"), (["--port", "-1"], "'-1'"), (["--prot", "1"], "'--prot'"),
                                 (["stop"], "'stop'"), (["--port", "0", "--dtype", "int8"], "'--dtype'"),
                                 (["--", "--port", "1"], "--port"), (["--", "--unix-socket=/x"], "--unix-socket"),
                                 (["--", "--version"], "--version"), (["--", "--bogus"], "--bogus"),
                                 (["--", "--threads", "many"], "many"), (["--", "--model-id", "/no/such/model"], "/no/such/model")):
            result = clone.run(*arguments)
            assert result.returncode == 2 and words in result.stderr, (arguments, result)
            assert status_of(pid), f"{arguments}: the server is gone"
        result = clone.run("--port", str(other.port))
        assert result.returncode == 1 and status_of(pid), result
        assert info(port)


@case
def the_servers_options_follow_two_dashes():
    with Clone() as clone:
        _, port, result = clone.start("--", "--served-model-name", "of my own", "--api-key", "secret,other",
                                      "--hostname", "0.0.0.0", "--log-level=error")
        assert "of my own" in info(port, "other") and "Authorization" in result.stdout and "secret" not in result.stdout, result


@case
def a_step_is_a_line_and_the_log_is_kept():
    with Clone() as clone:
        _, _, result = clone.start()
        assert len(result.stdout.splitlines()) < 50 and "Compiling" not in result.stdout and result.stderr == "", result
        assert len(re.findall(r"^==> \w+\n    \d+ s$", result.stdout, re.M)) == 2, result.stdout
        with open(os.path.join(clone.root, ".cache", "quickstart.log"), encoding="utf-8") as file:
            assert f"[{LINES}/{LINES}] Compiling" in file.read()


@case
def a_build_that_fails_shows_the_end_of_its_log():
    with Clone() as clone:
        pid, port, _ = clone.start()
        clone.stub("ninja", f"i=0; while [ $i -lt {LINES} ]; do i=$((i + 1)); echo line $i; done; echo FAILED: main.o; exit 1")
        result = clone.run("--port", str(port))
        assert result.returncode == 1 and "FAILED: main.o" in result.stderr and "quickstart.log" in result.stderr, result
        assert len(result.stderr.splitlines()) < 50 and status_of(pid), result
        clone.stub("meson", "echo ERROR: no compiler; exit 1")
        os.remove(os.path.join(clone.root, "build", "build.ninja"))
        result = clone.run("--port", str(port))
        assert result.returncode == 1 and "ERROR: no compiler" in result.stderr, result


@case
def roots_clone_that_is_closed_to_others_is_served_without_roots_rights():
    need_root()
    with Clone() as clone:
        os.chmod(clone.root, 0o700)
        pid, port, result = clone.start()
        assert status_of(pid)["Uid"].split()[0] == str(NOBODY), status_of(pid)["Uid"]
        assert clone.shared in result.stdout and "Note" not in result.stdout, result.stdout
        assert '"rerankd-minilm-en-v1"' in info(port), info(port)
        files = [os.path.join(folder, name) for folder, folders, names in os.walk(clone.shared) for name in folders + names]
        assert files and all(os.stat(path).st_uid == 0 and not os.stat(path).st_mode & 0o022 for path in files), files
        weights = os.path.join(clone.shared, "rerankd-minilm-en-v1", "model.safetensors")
        before = os.stat(weights).st_mtime_ns
        clone.start()
        assert os.stat(weights).st_mtime_ns == before, "it was copied again"


@case
def a_server_that_stays_root_is_told():
    need_root()
    with Clone() as clone:
        os.chmod(clone.root, 0o700)
        for extra, environment in (((), {"RERANKD_SHARED": "/proc/nothing"}),
                                   (("--", "--model-id", os.path.join(clone.root, MODEL)), {})):
            pid, _, result = clone.start(*extra, environment=environment)
            assert status_of(pid)["Uid"].split()[0] == "0", status_of(pid)["Uid"]
            assert "Note: the server runs as root" in result.stdout and "--user NAME" in result.stdout, result.stdout
            assert "stays root" in result.stdout, result.stdout
        _, _, result = clone.start("--", "--user", "root")
        assert "Note" not in result.stdout, result.stdout


# --- deploy/setup ---


def setup(sudo=None, missing=True, arguments=(), uid="1000"):
    """What the real one says and does to a user on a machine where libuv is missing. `sudo`: a script, None for no sudo."""
    with Clone() as clone:
        clone.copy(os.path.join("deploy", "setup"))
        called = os.path.join(clone.top, "called")
        path = os.path.join(clone.top, "only")  # the machine's programs, but for sudo
        os.mkdir(path)
        for folder in PATH.split(":"):
            for name in os.listdir(folder) if os.path.isdir(folder) else ():
                if name != "sudo" and not os.path.lexists(os.path.join(path, name)):
                    os.symlink(os.path.join(folder, name), os.path.join(path, name))
        if missing:
            clone.stub("pkg-config", f'[ "$2" != libuv ] && exec {shutil.which("pkg-config", path=PATH)} "$@"; exit 1')
        clone.stub("id", f'[ "$1" = -u ] && echo {uid} || echo someone')
        clone.stub("apt-get", f'echo "apt-get $*" >>{called}; echo "apt-get says much"')
        if sudo:
            clone.stub("sudo", sudo)
        result = clone.run(*arguments, program="deploy/setup", environment={"PATH": f"{clone.bin}:{path}"})
        done = ""
        if os.path.exists(called):
            with open(called, encoding="utf-8") as file:
                done = file.read()
        return result, done


@case
def a_user_whom_sudo_refuses_is_told_what_an_administrator_runs():
    for sudo in (None, "echo someone is not in the sudoers file >&2; exit 1", "echo sudo: a terminal is required >&2; exit 1"):
        result, done = setup(sudo)
        assert result.returncode == 1 and not done, (sudo, result, done)
        assert re.search(r"apt-get install .*libuv1-dev", result.stderr) and "administrator" in result.stderr, (sudo, result)


@case
def a_user_whom_sudo_lets_installs():
    result, done = setup('exec "$@"')
    assert result.returncode == 0 and re.search(r"apt-get install .*libuv1-dev", done), (result, done)
    assert "apt-get says much" in result.stderr, result
    result, done = setup('exec "$@"', arguments=("--log", "/dev/null"))
    assert result.returncode == 0 and "apt-get install" in done and "apt-get says much" not in result.stderr, (result, done)


@case
def where_nothing_is_missing_nobody_is_asked():
    result, done = setup("exit 1", missing=False)
    if "Installing" in result.stderr:
        raise Skip("this machine lacks packages")
    assert result.returncode == 0 and result.stderr == "" and not done, (result, done)


if __name__ == "__main__":
    sys.exit(harness.main())
