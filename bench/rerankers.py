"""The servers that bench/sweep sets side by side: how each is installed, started and spoken to, and the settings at
which it serves most. A new one is an entry in KINDS with a function that makes its command.

All serve one model: a cross-encoder's directory as it is, or one made from all-MiniLM-L6-v2 (see cross_encoder.py)."""

import json
import os
import shutil
import socket
import subprocess

import cross_encoder
import environments
import peers
import serving

HERE = os.path.dirname(os.path.abspath(__file__))
MAX_CANDIDATES = 1000


class PeerError(Exception):
    pass


# --- the model -----------------------------------------------------------------------------------


def is_cross_encoder(directory):
    try:
        with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
            return "SequenceClassification" in " ".join(json.load(file).get("architectures") or [])
    except (OSError, ValueError) as error:
        raise PeerError(f"{directory} is no model: {error}") from error


def make_artifacts(context, *artifacts):
    if cross_encoder.missing(context.models, artifacts):
        serving.say(f"preparing {', '.join(artifacts)}")
        command = [environments.base(context.cache), os.path.join(HERE, "cross_encoder.py"), "--source", context.model,
                   "--cache", context.models, "--candidates", context.candidates, *artifacts]
        if subprocess.run(command, stdin=subprocess.DEVNULL).returncode != 0:
            raise PeerError("the model could not be prepared")


def link(source, target):
    if not os.path.exists(target):
        if os.path.lexists(target):
            os.remove(target)  # what it named has moved
        os.symlink(os.path.realpath(source), target)


def with_onnx(context, artifact, file_name):
    """A directory with the model's files and this ONNX file under onnx/, as TEI and infinity look for it."""
    if context.own_model:
        return context.directory  # whatever ONNX files it brings
    make_artifacts(context, artifact)
    folder = os.path.join(context.models, "served-" + artifact)
    os.makedirs(os.path.join(folder, "onnx"), exist_ok=True)
    for name in os.listdir(context.directory):
        link(os.path.join(context.directory, name), os.path.join(folder, name))
    link(cross_encoder.path(context.models, artifact), os.path.join(folder, "onnx", file_name))
    return folder


class Context:
    """What the commands are made from: programs, the model, the cache folder, threads."""

    def __init__(self, model, cache, candidates, threads, rerankd=None, tei=None):
        self.model, self.candidates, self.threads = model, candidates, threads
        self.cache = os.path.realpath(cache)  # environments and links name it, for other checkouts too
        self.rerankd, self.tei = rerankd, tei
        self.models = os.path.join(self.cache, "bench")
        self.own_model = is_cross_encoder(model)
        if not self.own_model:
            make_artifacts(self, "model")
        self.directory = model if self.own_model else cross_encoder.path(self.models, "model")


# --- one function a kind: (command, environment) -------------------------------------------------
# Settings are texts. fastapi's `limit` (requests) and infinity's `queue` (candidates) refuse what is beyond.


def rerankd_command(context, settings, port):
    if not context.rerankd or not os.access(context.rerankd, os.X_OK):
        raise PeerError(f"rerankd: no program '{context.rerankd}' (--rerankd)")
    command = [context.rerankd, "--model-id", context.directory, "--hostname", "127.0.0.1", "--port", str(port),
               "--dtype", settings["dtype"], "--threads", str(context.threads), "--log-level", "warn"]
    return command, peers.environment()


def fastapi_command(context, settings, port):
    python = os.path.join(environments.peer(context.cache, "fastapi"), "python")
    workers = int(settings["workers"])
    threads = max(1, context.threads // workers)
    command = [python, os.path.join(HERE, "fastapi_app.py"), "--model", context.directory, "--port", str(port),
               "--dtype", settings["dtype"], "--batch", settings["batch"], "--workers", settings["workers"],
               "--threads", str(threads), "--limit", settings["limit"]]
    return command, peers.peer_environment(threads)


def infinity_command(context, settings, port):
    program = os.path.join(environments.peer(context.cache, "infinity"), "infinity_emb")
    directory, further = context.directory, []
    if settings["engine"] == "optimum":
        int8 = settings["dtype"] == "int8"
        directory = (with_onnx(context, "onnx-int8", "model_quantized.onnx") if int8
                     else with_onnx(context, "onnx", "model.onnx"))
        # What is quantised is fused already.
        further = ["--onnx-disable-optimize"] if int8 else ["--no-onnx-disable-optimize", "--onnx-do-not-prefer-quantized"]
    else:
        further = ["--dtype", settings["dtype"], "--no-compile",
                   "--bettertransformer" if settings["bettertransformer"] == "yes" else "--no-bettertransformer"]
    command = [program, "v2", "--model-id", directory, "--served-model-name", "model", "--engine", settings["engine"],
               "--device", "cpu", "--host", "127.0.0.1", "--port", str(port), "--batch-size", settings["batch"],
               "--log-level", "warning", *further]
    home = os.path.join(context.cache, "infinity-home")
    os.makedirs(home, exist_ok=True)
    return command, {**peers.peer_environment(context.threads), "HF_HOME": home, "INFINITY_HOME": home,
                     "INFINITY_QUEUE_SIZE": settings["queue"], "INFINITY_MAX_CLIENT_BATCH_SIZE": str(MAX_CANDIDATES),
                     "INFINITY_ANONYMOUS_USAGE_STATS": "0", "DO_NOT_TRACK": "1"}


def tei_command(context, settings, port):
    if not context.tei or not (os.access(context.tei, os.X_OK) or shutil.which(context.tei)):
        raise PeerError(f"tei: no program '{context.tei}' (--tei)")
    artifact = "onnx-int8" if settings["dtype"] == "int8" else "onnx"
    command = [context.tei, "--model-id", with_onnx(context, artifact, "model.onnx"), "--hostname", "127.0.0.1",
               "--port", str(port), "--dtype", "float32", "--auto-truncate",
               "--max-client-batch-size", str(MAX_CANDIDATES), "--max-batch-tokens", settings["tokens"],
               "--max-concurrent-requests", settings["concurrent"],
               "--tokenization-workers", str(context.threads)]
    return command, peers.peer_environment(context.threads)


class Kind:
    def __init__(self, command, defaults, axes=(), options=()):
        """defaults: every setting, at its best; axes: what bench/tune tries, each a list of settings that go together;
        options: of bench/load."""
        self.command, self.defaults, self.axes, self.options = command, defaults, axes, options


def values(name, *choices):
    return [{name: choice} for choice in choices]


KINDS = {
    "rerankd": Kind(rerankd_command, {"dtype": "auto", "deadline": "yes"}, [values("dtype", "auto", "float32", "int8")]),
    "fastapi": Kind(fastapi_command, {"dtype": "bfloat16", "batch": "4", "workers": "1", "limit": "0"},
                    [values("dtype", "float32", "bfloat16"), values("batch", "4", "8", "16", "32", "64"),
                     values("workers", "1", "2")]),
    "infinity": Kind(infinity_command, {"engine": "torch", "dtype": "bfloat16", "bettertransformer": "yes", "batch": "16",
                                        "queue": "32000"},
                     [[{"engine": "torch", "dtype": "float32"}, {"engine": "torch", "dtype": "bfloat16"},
                       {"engine": "torch", "dtype": "bfloat16", "bettertransformer": "no"},
                       {"engine": "optimum", "dtype": "float32"}, {"engine": "optimum", "dtype": "int8"}],
                      values("batch", "4", "8", "16", "32", "64")], ["--dialect=infinity"]),
    "tei": Kind(tei_command, {"dtype": "float32", "tokens": "16384", "concurrent": "4096"},
                [values("dtype", "float32", "int8"), values("tokens", "4096", "16384", "65536")]),
}


# --- the command line ----------------------------------------------------------------------------


def add_arguments(parser):
    """What bench/sweep and bench/tune share."""
    parser.add_argument("--model", metavar="DIR", help="a cross-encoder, or all-MiniLM-L6-v2, from which one is made")
    parser.add_argument("--rerankd", metavar="PROGRAM", default="build/server/rerankd", help="(%(default)s)")
    parser.add_argument("--tei", metavar="PROGRAM", default="text-embeddings-router", help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each server (%(default)s)")
    parser.add_argument("--cache", default=os.path.join(HERE, "..", ".cache"),
                        help="for models and Python environments, several GB (.cache)")
    parser.add_argument("--start-seconds", type=float, default=300, help="patience with a start (%(default)s)")
    parser.add_argument("--lock", metavar="FILE[:SECONDS]", type=serving.Lock, default=serving.Lock(),
                        help="held by flock(2) during each run, and from run to run for at least so many seconds, where\n"
                             "several measure on one machine")


def context(arguments):
    return Context(arguments.model, arguments.cache, arguments.candidates, arguments.threads, arguments.rerankd,
                   arguments.tei)


# --- servers -------------------------------------------------------------------------------------


def parse(text):
    """`[NAME=]KIND[:SETTING=VALUE...]`: (name, kind, settings)."""
    head, *parts = text.split(":")
    name, _, kind = head.rpartition("=")
    if kind not in KINDS:
        raise PeerError(f"no peer '{kind}': {', '.join(KINDS)}")
    settings = dict(KINDS[kind].defaults)
    for part in parts:
        key, found, value = part.partition("=")
        if not found or key not in settings:
            raise PeerError(f"{kind}: no setting '{part}': {', '.join(settings)}, as {kind}:KEY=VALUE")
        settings[key] = value
    return name or kind, kind, settings


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def described(settings):
    return " ".join(f"{key}={value}" for key, value in settings.items())


def make(context, text):
    """A serving.Server, not yet started; its environment and model are prepared."""
    name, kind, settings = parse(text)
    port = free_port()
    try:
        command, environment = KINDS[kind].command(context, settings, port)
    except environments.NoEnvironment as error:
        raise PeerError(f"{name}: {error}") from error
    server = serving.Server(name, f"http://127.0.0.1:{port}", command, environment, KINDS[kind].options,
                            f"{kind} {described(settings)}")
    if settings.get("deadline") == "yes":
        server.overload_options = ["--header=x-request-timeout-ms: {deadline}"]
    return server
