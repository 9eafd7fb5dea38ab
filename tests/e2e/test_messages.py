#!/usr/bin/env python3
"""What a newcomer is told whose model, file or option is not what the server takes."""

import json
import os
import sys

import harness
from harness import Server, case, golden_model, run_binary, temporary_folder


def refuse(words, *arguments, environment=None, status=1):
    """The server ends by itself, and the last word of it that is an error holds all these."""
    result = run_binary("--hostname", "127.0.0.1", "--port", "0", *arguments, environment=environment)
    assert result.returncode == status, (result.returncode, result.stderr)
    assert not harness.SANITIZER.search(result.stderr), result.stderr
    lines = [line for line in result.stderr.splitlines() if "ERROR" in line or line.startswith("rerankd: ")]
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0], (word, lines[0])


def broken_model(**files):
    """A copy of a model with these files changed: None takes one away."""
    folder = temporary_folder()
    source = golden_model("cross-encoder")
    contents = {}
    for name in os.listdir(source):
        with open(os.path.join(source, name), "rb") as file:
            contents[name] = file.read()
    for name, data in {**contents, **files}.items():
        if data is not None:
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data)
    return folder


@case
def a_broken_model_is_said_to_be():
    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    with open(os.path.join(golden_model("cross-encoder"), "model.safetensors"), "rb") as file:
        weights = file.read()
    config = json.dumps({"architectures": ["DebertaV2ForSequenceClassification"]}).encode()
    for files, words in (
            ({"model.safetensors": lfs}, ["model.safetensors", "git lfs pull"]),
            ({"tokenizer.json": lfs}, ["tokenizer.json", "git lfs pull"]),
            ({"config.json": b"<html></html>"}, ["config.json", "HTML", "download it again"]),
            ({"model.safetensors": weights[:-100]},
             [f"it has {len(weights) - 100} bytes and should have {len(weights)}", "download it again"]),
            ({"model.safetensors": None, "model.gguf": b"GGUF"}, ["model.gguf only", "model.safetensors"]),
            ({"config.json": config, "model.safetensors": None},
             ["DebertaV2ForSequenceClassification is not supported", "BAAI/bge-small-en-v1.5"])):
        refuse(["cannot load the model", *words], "--model-id", broken_model(**files))
    refuse(["is empty", "download the model into it"], "--model-id", temporary_folder())
    refuse(["neither a directory nor the name"], "--model-id", "/nowhere/model")
    folder = broken_model(**{"model.gguf": b"GGUF\3\0\0\0"})
    refuse(["is a file", "GGUF"], "--model-id", os.path.join(folder, "model.gguf"))
    refuse(["is a file", "name the folder"], "--model-id", os.path.join(folder, "model.safetensors"))


@case
def a_place_for_documents_that_is_none_is_said_to_be():
    folder = temporary_folder()
    open(os.path.join(folder, "file"), "wb").close()
    model = golden_model("bi-encoder")
    for path, words in ((os.path.join(folder, "absent", "documents"), ["absent", "mkdir -p"]),
                        (folder, ["is a directory", "name a file in it"]),
                        (os.path.join(folder, "absent") + "/", ["is a directory", "name a file in it"]),
                        (os.path.join(folder, "file", "documents"), ["Not a directory", "another folder"]),
                        ("/dev/null", ["not a regular file", "name another"]),
                        ("/proc/documents", ["--documents", "/proc"])):
        refuse(["cannot load the model", "--documents", *words], "--model-id", model, "--documents", path)


@case
def float16_is_taken_as_bfloat16():
    for environment, arguments in (({}, ("--dtype", "float16")), ({"DTYPE": "fp16"}, ())):
        with Server(*arguments, environment=environment) as server:
            assert server.request("GET", "/info").json()["model_dtype"] == "bfloat16"
            (line,) = [line for line in server.log().splitlines() if "float16 is taken" in line]
            assert "WARN" in line and "as bfloat16" in line, line
    with Server("--dtype", "bfloat16") as server:
        assert "is taken" not in server.log()


@case
def sizes_and_short_options_reach_the_server():
    port = harness.free_port()
    with Server("-p", str(port), "--payload-limit=2kB", port=port, environment={"CACHE_BYTES": "64KiB"}) as server:
        assert server.rerank({"query": "a", "texts": ["b" * 1900]}).status == 200
        assert server.rerank({"query": "a", "texts": ["b" * 2000]}).status == 413


@case
def words_that_are_no_options_get_help():
    for arguments, words in ((("--prot", "80"), ["unknown option '--prot'", "did you mean '--port'?"]),
                             (("--uds-path", "x"), ["--unix-socket"]), (("./model",), ["--model-id ./model"]),
                             (("--dtype", "bfloat"), ["did you mean 'bfloat16'?"]),
                             (("--cache-bytes", "64XB"), ["--cache-bytes", "'64XB'", "64MiB"])):
        refuse(words, *arguments, status=2)
    refuse(["CACHE_BYTES", "64MiB"], environment={"CACHE_BYTES": "64 MB"}, status=2)
    for option in ("-h", "--help"):
        result = run_binary(option)
        assert result.returncode == 0 and "--model-id" in result.stdout and "rerankd.json" in result.stdout, result


if __name__ == "__main__":
    sys.exit(harness.main())
