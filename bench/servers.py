"""What the programs that start rerankd alone have in common: arguments, starting, a warning."""

import os
import signal
import sys
import time

import machine
import peers


def say(text):
    print(text, file=sys.stderr, flush=True)


def add_arguments(parser, dtypes=",".join(peers.DTYPES)):
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--server", required=True, help="the program: build/server/rerankd")
    parser.add_argument("--dtypes", default=dtypes,
                        help="those that the server refuses are left out (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=cores, help="and cores (default: %(default)s)")
    parser.add_argument("--server-option", action="append", default=[], metavar="OPTION=VALUE",
                        help="one more argument for rerankd: --server-option=--pack-cache; repeatable")


def check_arguments(parser, arguments, directories=(), files=(), at_least_1=()):
    """Exits with a message if something is not there or out of range; makes a list of the dtypes."""
    if not os.access(arguments.server, os.X_OK):
        parser.error(f"--server: no program '{arguments.server}'")
    for directory in directories:
        if not os.path.isdir(directory):
            parser.error(f"no directory '{directory}'")
    for path in files:
        if not os.path.isfile(path):
            parser.error(f"no file '{path}'")
    for name in ("threads", *at_least_1):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: at least 1")
    if arguments.threads > len(os.sched_getaffinity(0)):
        parser.error("--threads: more than there are cores")
    arguments.dtypes = [name for name in arguments.dtypes.split(",") if name]
    if not arguments.dtypes:
        parser.error("--dtypes: none")
    # So that the servers are stopped then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def attempt(server, action):
    """What `action` returns, or None where the server refuses its dtype: it is left out."""
    try:
        return action()
    except peers.EngineError as error:
        say(f"{server.name} is left out: {error}")
        server.stop()
        return None


POLL_SECONDS = 0.001


def first_answer(server, body):
    """Seconds and CPU seconds until the first answer."""
    begin = time.perf_counter()
    server.launch()
    deadline = begin + peers.START_SECONDS
    while time.perf_counter() < deadline:
        try:
            status, _, reply = server.request("POST", "/rerank", body)
        except OSError:
            server.expect_running()
        else:
            wall = time.perf_counter() - begin
            if status == 200:
                return wall, server.cpu_seconds()
            if status != 503:
                raise SystemExit(f"{server.name}: {status} {reply.decode(errors='replace')}")
        time.sleep(POLL_SECONDS)
    raise SystemExit(f"{server.name}: no answer in {peers.START_SECONDS} seconds")


def heading(arguments):
    print(f"{machine.cpu_name()} ({machine.features()}), {arguments.threads} threads", flush=True)


def warn(others):
    """`others`: see machine.Watch."""
    if others > 0.1:
        say(f"warning: other processes took {others:.1f} cores meanwhile: not figures to use")
