"""Throw-away environments for the clients, under .cache/clients: a virtual environment for each list of
requirements/, and the packages of node/ with the Node that runs them. The lists name every package with
its version, so that nothing is resolved anew and nothing else comes along.

Each is made when it is first asked for, and again when its list or the Python has changed.
"""

import os
import re
import shutil
import subprocess
import sys
import venv

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.path.join(os.path.dirname(os.path.dirname(HERE)), ".cache", "clients")
SECONDS = 600  # for one installation
NODE_MAJOR = 18
# What pip and npm say where a registry cannot be reached. Whatever else goes wrong is a failure.
UNREACHABLE = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|SSLError|"
    r"Connection to \S+ timed out|Max retries exceeded|Network is unreachable|Connection reset|"
    r"Failed to establish|RemoteDisconnected|HTTP error 5\d\d|"
    r"\b(E5\d\d|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ERR_SOCKET_TIMEOUT)\b")


class Unreachable(Exception):
    """A registry cannot be reached."""


def path_first(folder):
    return {"PATH": f"{folder}:{os.environ['PATH']}"} if folder else {}


def call(*command, cwd=None, path=None):
    try:
        result = subprocess.run(command, cwd=cwd, env={**os.environ, **path_first(path)},
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                timeout=SECONDS, text=True)
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{os.path.basename(command[0])} took more than {SECONDS} s") from None
    if result.returncode == 0:
        return result.stdout
    found = UNREACHABLE.search(result.stdout)
    if found:
        raise Unreachable(f"{os.path.basename(command[0])} cannot reach its registry: {found.group()}")
    raise RuntimeError(f"{' '.join(command)} failed:\n{result.stdout[-3000:]}")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def make(name, state, build):
    """The directory `name`, built where it is not there in this state."""
    directory = os.path.join(CACHE, name)
    stamp = os.path.join(directory, "complete")
    if os.path.exists(stamp) and read(stamp) == state:
        return directory
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    build(directory)
    with open(stamp, "w", encoding="utf-8") as file:
        file.write(state)
    return directory


def requirements(name):
    return os.path.join(HERE, "requirements", name + ".txt")


def python_environment(name):
    """The directory of the environment that holds requirements/NAME.txt."""

    def build(directory):
        venv.create(directory, with_pip=True)
        call(os.path.join(directory, "bin", "pip"), "install", "--quiet", "--no-deps", "--only-binary",
             ":all:", "--requirement", requirements(name))

    return make(name, sys.version + read(requirements(name)), build)


def node_programs():
    """node and npm: the machine's, or from PyPI where it has none that is new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        version = re.match(r"v(\d+)", call(node, "--version"))
        if version and int(version.group(1)) >= NODE_MAJOR:
            return node, npm
    programs = os.path.join(python_environment("node"), "bin")
    return os.path.join(programs, "node"), os.path.join(programs, "npm")


def node_environment():
    """node, and the folder in which it finds the packages of node/."""
    node, npm = node_programs()
    files = [os.path.join(HERE, "node", name) for name in ("package.json", "package-lock.json")]

    def build(directory):
        for file in files:
            shutil.copy(file, directory)
        # npm is a script that looks for node in the path.
        call(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", cwd=directory,
             path=os.path.dirname(node))

    directory = make("node-modules", "".join(map(read, files)), build)
    return node, os.path.join(directory, "node_modules")
