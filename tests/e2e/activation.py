"""A stand-in for a service manager: the socket that it is told by, and sockets that it passes."""

import os
import socket
import subprocess
import sys
import time

import harness

# Moves the descriptors to where they are looked for, says that they are this process's, becomes the server.
LAUNCHER = """
import os, sys
numbers = [int(number) for number in sys.argv[1].split(",") if number]
spare = [os.dup2(number, 100 + i) for i, number in enumerate(numbers)]
for i, number in enumerate(spare):
    os.dup2(number, 3 + i)
    os.close(number)
os.environ.update(LISTEN_FDS=str(len(numbers)), LISTEN_PID=os.environ.get("LISTEN_PID") or str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


class Activated(harness.Server):
    """A server that is given listening sockets. `port` and `unix_socket` are those that its requests go to."""

    def __init__(self, sockets, *arguments, port=None, unix_socket=None, environment=None, wait=True, model=None):
        self.port, self.unix_socket, self.asked_to_end = port, unix_socket, False
        self.log_file = harness.tempfile.NamedTemporaryFile(prefix="rerankd-", suffix=".log")
        numbers = [one.fileno() for one in sockets]
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, ",".join(map(str, numbers)), harness.binary(), "--model-id",
             model or harness.small_model(), "--dtype", "float32", *arguments],
            env=harness.clean_environment(environment), pass_fds=numbers, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=self.log_file)
        if wait:
            self.wait_until_healthy()


class Manager:
    """Where the server sends its state; `environment` tells it so."""

    def __init__(self, hidden=False):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if hidden:
            self.path = f"@rerankd-test-{os.getpid()}-{time.monotonic_ns()}"
            self.socket.bind("\0" + self.path[1:])
        else:
            self.path = os.path.join(harness.temporary_folder(), "notify")
            self.socket.bind(self.path)
            os.chmod(os.path.dirname(self.path), 0o755)
            os.chmod(self.path, 0o777)  # as systemd's, for any user
        self.environment = {"NOTIFY_SOCKET": self.path}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def next(self, seconds=None):
        """The next message as a dict, or None where none comes in time."""
        self.socket.settimeout(harness.PATIENCE if seconds is None else seconds)
        try:
            message = self.socket.recv(65536).decode()
        except (TimeoutError, BlockingIOError):
            return None
        return dict(line.split("=", 1) for line in message.splitlines())

    def all(self):
        """What has come so far."""
        messages = []
        while (message := self.next(0)) is not None:
            messages.append(message)
        return messages

    def until(self, name, text=""):
        """Reads on to the message whose NAME holds the text; returns all up to it."""
        messages = []
        while True:
            message = self.next()
            assert message is not None, f"no {name}={text} in {messages}"
            messages.append(message)
            if text in message.get(name, "" if text else "\0") and name in message:
                return messages
