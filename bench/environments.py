"""Python environments in the cache folder, each made once from a file of requirements. torch is large: those of the
peers take it from the environment of bench/compare, which lies behind their own packages on the path."""

import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BASE = "bench-venv"
ROOM_GB = {BASE: 15, None: 2}  # what has to be free before an environment is made


class NoEnvironment(Exception):
    pass


def _say(text):
    print(text, file=sys.stderr, flush=True)


def _packages(folder):
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return os.path.join(os.path.realpath(folder), "lib", name, "site-packages")


def _same(a, b):
    try:
        with open(a, "rb") as first, open(b, "rb") as second:
            return first.read() == second.read()
    except OSError:
        return False


def _run(*command):
    status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode
    if status != 0:
        raise NoEnvironment(f"{' '.join(command[:4])} ... ended with status {status}")


def _make(folder, requirements, behind):
    free = shutil.disk_usage(os.path.dirname(folder)).free / 1e9
    wanted = ROOM_GB.get(os.path.basename(folder), ROOM_GB[None])
    if free < wanted:
        raise NoEnvironment(f"{folder} needs {wanted} GB of disk, {free:.0f} GB are free")
    _say(f"setting up {folder}, once")
    _run(sys.executable, "-m", "venv", folder)
    if behind:
        with open(os.path.join(_packages(folder), "behind.pth"), "w", encoding="utf-8") as file:
            file.write(_packages(behind) + "\n")
    _run(os.path.join(folder, "bin", "pip"), "install", "--quiet", "-r", requirements)
    # Last, so that an installation that broke off is taken up again.
    shutil.copy(requirements, os.path.join(folder, "installed.txt"))


def base(cache):
    """The Python of bench/compare's environment; $BENCH_VENV names another one."""
    given = os.environ.get("BENCH_VENV")
    folder = given or os.path.join(cache, BASE)
    requirements = os.path.join(HERE, "requirements.txt")
    if not given and not _same(requirements, os.path.join(folder, "installed.txt")):
        os.makedirs(cache, exist_ok=True)
        _make(folder, requirements, None)
    return os.path.join(folder, "bin", "python")


def peer(cache, name):
    """The folder of programs of the environment `name`-venv, made from requirements-`name`.txt."""
    behind = os.path.dirname(os.path.dirname(base(cache)))
    folder = os.path.join(cache, name + "-venv")
    requirements = os.path.join(HERE, f"requirements-{name}.txt")
    if not _same(requirements, os.path.join(folder, "installed.txt")):
        shutil.rmtree(folder, ignore_errors=True)  # of other versions, or broken off
        _make(folder, requirements, behind)
    return os.path.join(folder, "bin")
