#!/usr/bin/env python3
"""Files that somebody names and that are no regular ones: pipes, devices, sockets, directories. Nothing may wait for them, and the
error says which file it is and what."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import harness
from harness import Server, case, clean_environment, eventually, golden_model, run_binary, small_model, temporary_folder

GOOD = {"query": "what", "texts": ["this", "that"]}
KINDS = {"a pipe (FIFO)": os.mkfifo, "a directory": os.mkdir,
         "a device": lambda path: os.symlink("/dev/zero", path),
         "a socket": lambda path: make_socket(path)}


def make_socket(path):
    folder, name = os.path.split(path)
    here = os.getcwd()
    os.chdir(folder)  # its path may be longer than a socket's name
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(name)
    finally:
        os.chdir(here)


def put(kind, path):
    if os.path.isdir(path) and not os.path.islink(path):
        os.rmdir(path)
    elif os.path.lexists(path):
        os.unlink(path)
    KINDS[kind](path)


def copy_of(model):
    folder = os.path.join(temporary_folder(), "model")
    shutil.copytree(model, folder)
    return folder


def expect_refused(model, path, kind, *arguments, environment=None):
    """The server ends by itself, with one error that names the file and what it is."""
    result = run_binary("--model-id", model, "--hostname", "127.0.0.1", "--port", "0", *arguments,
                        environment=environment)
    assert result.returncode == 1, result
    errors = [line for line in result.stderr.splitlines() if "ERROR" in line]
    assert len(errors) == 1, result
    assert path in errors[0] and f"not a regular file but {kind}" in errors[0], result


@case
def every_file_of_a_model_must_be_a_regular_one():
    for model, names in (
            ("cross-encoder", ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors",
                               "rerankd.json", "modules.json", "sentence_bert_config.json", "artifact.metadata")),
            ("bi-encoder", ("modules.json", "1_Pooling/config.json"))):
        for number, name in enumerate(names):
            folder = copy_of(golden_model(model))
            kind = list(KINDS)[number % len(KINDS)] if harness.SLOW else None
            for kind in [kind] if kind else KINDS:
                put(kind, os.path.join(folder, name))
                expect_refused(folder, os.path.join(folder, name), kind)


@case
def so_must_vocabularies_without_a_tokenizer():
    for name in ("vocab.txt", "added_tokens.json", "special_tokens_map.json"):
        folder = copy_of(small_model())
        os.unlink(os.path.join(folder, "tokenizer.json"))
        for kind in ("a pipe (FIFO)", "a directory"):
            put(kind, os.path.join(folder, name))
            expect_refused(folder, os.path.join(folder, name), kind)


@case
def so_must_shards_and_their_index():
    for name in ("model.safetensors.index.json", "model-00002-of-00003.safetensors"):
        folder = copy_of(small_model() + "-sharded")
        for kind in ("a pipe (FIFO)", "a device"):
            put(kind, os.path.join(folder, name))
            expect_refused(folder, os.path.join(folder, name), kind)


@case
def so_must_keys_and_documents():
    path = os.path.join(temporary_folder(), "named")
    for kind in KINDS:
        put(kind, path)
        expect_refused(small_model(), path, kind, "--api-key-file", path)
        if kind not in ("a device", "a directory"):  # a link, which is refused as that; see test_messages
            expect_refused(golden_model("bi-encoder"), path, kind, "--documents", path)


@case
def so_must_what_the_hub_s_cache_consists_of():
    home = temporary_folder()
    token = os.path.join(home, "token")
    put("a pipe (FIFO)", token)
    offline = {"HF_HOME": home, "HF_HUB_OFFLINE": "1"}
    expect_refused("some/model", token, "a pipe (FIFO)", environment=offline)
    os.unlink(token)
    refs = os.path.join(home, "hub", "models--some--model", "refs")
    os.makedirs(refs)
    put("a pipe (FIFO)", os.path.join(refs, "main"))
    result = run_binary("--model-id", "some/model", "--hostname", "127.0.0.1", "--port", "0", environment=offline)
    assert result.returncode == 1, result
    assert os.path.join(refs, "main") + ": not a regular file but a pipe (FIFO)" in result.stderr, result
    certificates = os.path.join(home, "certificates")
    put("a pipe (FIFO)", certificates)
    expect_refused("some/model", certificates, "a pipe (FIFO)",
                   environment={"HF_HOME": home, "HF_ENDPOINT": f"https://127.0.0.1:{harness.free_port()}",
                                "REQUESTS_CA_BUNDLE": certificates})


@case
def packed_weights_that_are_no_file_are_passed_over():
    folder = copy_of(small_model())
    with Server("--dtype", "int8", "--pack-cache", model=folder):
        pack = next(name for name in os.listdir(folder) if name.startswith(".rerankd") and name.endswith(".pack"))
    for kind in ("a pipe (FIFO)", "a directory"):
        put(kind, os.path.join(folder, pack))
        with Server("--dtype", "int8", "--pack-cache", model=folder) as server:
            server.wait_for_log(lambda line: pack in line and kind in line)
            server.check_alive()


@case
def a_certificate_for_spans_that_is_no_file_means_no_spans():
    path = os.path.join(temporary_folder(), "certificate")
    put("a pipe (FIFO)", path)
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"https://127.0.0.1:{harness.free_port()}",
                   "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_EXPORTER_OTLP_CERTIFICATE": path}
    with Server(environment=environment) as server:
        server.wait_for_log(lambda line: "spans are not sent" in line and path in line and "a pipe (FIFO)" in line)
        server.check_alive()


# --- keys that are read again -----------------------------------------------------------------------


class Keys:
    """A file of keys that the server reads again on SIGHUP."""

    def __init__(self):
        self.path = os.path.join(temporary_folder(), "keys")
        self.write("first")

    def write(self, key, comments=0):
        fresh = self.path + ".new"
        with open(fresh, "w", encoding="ascii") as file:
            file.write("# nothing of it is a key ............................................\n" * comments)
            file.write(key + "\n")
        os.chmod(fresh, 0o644)
        if os.path.isdir(self.path) and not os.path.islink(self.path):
            os.rmdir(self.path)
        os.replace(fresh, self.path)


def status(server, key):
    return server.rerank(GOOD, {"Authorization": f"Bearer {key}"}).status


@case
def whatever_the_keys_file_becomes_a_later_renewal_works():
    keys = Keys()
    with Server("--api-key-file", keys.path) as server:
        for number, kind in enumerate(KINDS):
            put(kind, keys.path)
            os.chmod(os.path.dirname(keys.path), 0o755)
            seen = server.log().count("stay as they are")
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda: server.log().count("stay as they are") > seen, "the failed renewal")
            assert f"{keys.path}: not a regular file but {kind}" in server.log(), server.log()
            assert status(server, "first" if number == 0 else f"key{number - 1}") == 200
            keys.write(f"key{number}")
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda: status(server, f"key{number}") == 200, "the new key")
            assert status(server, "first") == 401


@case
def sigterm_waits_for_no_pipe():
    keys = Keys()
    server = Server("--api-key-file", keys.path, "--drain-timeout", str(2 * harness.PATIENCE))
    put("a pipe (FIFO)", keys.path)
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_log(lambda line: "a pipe (FIFO)" in line)
    server.stop()
    folder = copy_of(small_model())
    put("a pipe (FIFO)", os.path.join(folder, "model.safetensors"))
    command = [harness.binary(), "--hostname", "127.0.0.1", "--port", "0", "--model-id", folder, "--drain-timeout",
               str(2 * harness.PATIENCE)]
    process = subprocess.Popen(command, env=clean_environment(), stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(harness.PATIENCE) in (0, 1, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()


@case
def a_signal_during_a_renewal_is_done_after_it():
    """What was forgotten would never come: the last file counts, whenever the signals came."""
    keys = Keys()
    with Server("--api-key-file", keys.path) as server:
        for number in range(12 if harness.SLOW else 40):
            keys.write(f"old{number}", 50000)  # takes milliseconds to read
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.0002 * (number % 20))
            keys.write(f"new{number}", 50000 if number % 2 else 0)
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda: status(server, f"new{number}") == 200, f"the keys of round {number}")
            assert status(server, f"old{number}") == 401


@case
def signals_without_end_harm_nobody():
    keys = Keys()
    keys.write("first", 20000)
    with Server("--api-key-file", keys.path) as server:
        until = time.monotonic() + 2
        while time.monotonic() < until:
            for _ in range(20):
                server.process.send_signal(signal.SIGHUP)
                time.sleep(0.0005)
            assert status(server, "first") == 200


@case
def keys_are_renewed_while_the_server_is_leaving():
    keys = Keys()
    with Server("--api-key-file", keys.path, "--drain-delay", "3") as server:
        server.terminate()
        server.wait_for_log(lambda line: "no longer ready" in line)
        keys.write("second")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log(lambda line: "SIGHUP: 1 API keys" in line)
        assert status(server, "second") == 200 and status(server, "first") == 401


if __name__ == "__main__":
    sys.exit(harness.main())
