#!/usr/bin/env python3
"""Every script of the repository, run with --help, -h and an option that there is not: it tells how it is used, or what is
wrong, and does nothing else. They run in a copy of the sources, with Python's standard library alone, and with stand-ins for
programs that install, build or fetch."""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SECONDS = 20
LEFT_OUT = re.compile(r"(\.git|\.cache|\.venv|\.ci|build[^/]*|shared|__pycache__)$")
# Not for people: dpkg runs the first; the others are parts of tests/clients/run, in surroundings that it makes.
INTERNAL = re.compile(r"deploy/debian/|tests/clients/python/rank_")
FORBIDDEN = ("apt-get", "sudo", "meson", "ninja", "pip", "pip3", "curl", "wget", "git", "mvn", "npm", "node", "buildah", "docker",
             "dpkg-buildpackage", "mmdebstrap", "gcc", "cc", "clang", "systemctl", "nohup", "make", "haproxy", "valgrind", "qemu-aarch64")
UNKNOWN = "--no-such-option"


def scripts():
    """Pairs of path and whether it is for bash: what can be executed, or says `__main__`."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if not LEFT_OUT.match(name))
        for name in sorted(names):
            path = os.path.relpath(os.path.join(folder, name), ROOT)
            with open(os.path.join(folder, name), "rb") as file:
                start = file.read(2)
                text = file.read(1 << 20) if start == b"#!" or name.endswith(".py") else b""
            if (start == b"#!" or b'\nif __name__ == "__main__":' in text) and not INTERNAL.match(path):
                yield path, b"bash" in text.split(b"\n", 1)[0]


class Sandbox:
    def __init__(self, folder):
        self.copy = os.path.join(folder, "sources")
        shutil.copytree(ROOT, self.copy, ignore=lambda _, names: [
            name for name in names if LEFT_OUT.match(name) or name.endswith((".safetensors", ".pyc"))])
        self.called = os.path.join(folder, "called")
        bin_folder, self.home = os.path.join(folder, "bin"), os.path.join(folder, "home")
        os.mkdir(bin_folder)
        os.mkdir(self.home)
        for name in FORBIDDEN:
            self.write(os.path.join(bin_folder, name), f'#!/bin/sh\necho "{name} $*" >>{self.called}\nexit 97\n')
        # Nothing but the standard library, whatever is installed.
        self.write(os.path.join(bin_folder, "python3"), "#!/bin/sh\n"
                   f'case $1 in -m) echo "python3 $*" >>{self.called}; exit 97 ;; esac\nexec {sys.executable} -S -B -E "$@"\n')
        self.environment = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "HOME": self.home, "TMPDIR": self.home,
                            "LANG": "C.UTF-8", "COLUMNS": "120"}
        self.before = self.files()

    @staticmethod
    def write(path, text):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o755)

    def files(self):
        return {os.path.join(folder, name) for top in (self.copy, self.home) for folder, folders, names in os.walk(top)
                for name in folders + names}

    def run(self, path, *arguments, shell=None):
        """The result; what the script did beside printing is an error."""
        command = [shell, path] if shell else [f"./{path}"] if os.access(os.path.join(self.copy, path), os.X_OK) else ["python3", path]
        process = subprocess.Popen([*command, *arguments], cwd=self.copy, env=self.environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            out, err = process.communicate(timeout=SECONDS)
        finally:
            if process.poll() is None:  # with all that it has started
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        result = subprocess.CompletedProcess(command, process.returncode, out, err)
        self.expect_nothing_done()
        return result

    def expect_nothing_done(self):
        new = self.files() - self.before
        for name in sorted(new, key=len):
            if os.path.isdir(name) and not os.path.islink(name):
                shutil.rmtree(name)
            elif os.path.lexists(name):
                os.remove(name)
        called = ""
        if os.path.exists(self.called):
            with open(self.called, encoding="utf-8") as file:
                called = file.read()
            os.remove(self.called)
        assert not new, f"it made {sorted(new)[:3]}"
        assert not called, f"it called {called.splitlines()[:3]}"

    def check(self, path, is_bash):
        for asked in ("--help", "-h"):
            for shell in (None, "sh") if is_bash else (None,):
                result = self.run(path, asked, shell=shell)
                told = f"{shell or ''} {path} {asked}: status {result.returncode}\n{result.stdout[-300:]}{result.stderr[-1000:]}"
                assert result.returncode == 0 and result.stderr == "", told
                assert re.search(r"\busage\b", result.stdout, re.I) and len(result.stdout) > 60, told
        result = self.run(path, UNKNOWN)
        told = f"{path} {UNKNOWN}: status {result.returncode}\n{result.stdout[-300:]}{result.stderr[-1000:]}"
        assert result.returncode == 2 and "Traceback" not in result.stderr, told
        # argparse looks for what is missing first.
        assert UNKNOWN in result.stderr or "are required: " in result.stderr, told


def without_a_build(sandbox):
    result = sandbox.run("tests/e2e/test_errors.py")
    assert result.returncode == 2 and "RERANKD_BIN" in result.stdout and "SKIP" not in result.stdout, result


def finds_the_build(sandbox):
    program = os.path.join(sandbox.copy, "build", "server", "rerankd")
    os.makedirs(os.path.dirname(program))
    try:
        sandbox.write(program, "#!/bin/sh\necho this is the one that was built >&2\nexit 1\n")
        sandbox.before = sandbox.files()
        result = sandbox.run("tests/e2e/test_errors.py", "malformed")
        assert result.returncode == 1 and "this is the one that was built" in result.stdout, result
    finally:
        shutil.rmtree(os.path.join(sandbox.copy, "build"))
        sandbox.before = sandbox.files()


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    every = list(scripts())
    with tempfile.TemporaryDirectory() as folder:
        sandbox = Sandbox(folder)
        checks = [(f"{path} tells how it is used", lambda path=path, is_bash=is_bash: sandbox.check(path, is_bash))
                  for path, is_bash in every]
        checks.append(("an end-to-end test without a build says so", lambda: without_a_build(sandbox)))
        checks.append(("an end-to-end test finds the build", lambda: finds_the_build(sandbox)))
        failed = 0
        print(f"1..{len(checks)}")
        for number, (name, check) in enumerate(checks, start=1):
            try:
                check()
                print(f"ok {number} - {name}", flush=True)
            except (AssertionError, OSError, subprocess.TimeoutExpired) as problem:
                failed += 1
                print(f"not ok {number} - {name}\n" + "\n".join(f"# {line}" for line in str(problem).splitlines()), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
