#!/usr/bin/env python3
"""Models by name, against a stand-in for the hub."""

import contextlib
import fcntl
import hashlib
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import harness
import hub as hubs
from harness import Server, Skip, case, eventually, golden_model, run_binary

REPO = "team/small-cross-encoder"
FOLDER = "models--team--small-cross-encoder"
WEIGHTS = "model.safetensors"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def files_of(directory):
    files = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                files[os.path.relpath(path, directory)] = file.read()
    return files


def small_files():
    files = files_of(golden_model("cross-encoder"))
    files.update({"README.md": b"not needed", "onnx/model.onnx": b"not needed either"})
    return files


def sharded_files():
    return files_of(os.path.join(os.environ["RR_GOLDEN"], "score", "cross-encoder-sharded"))


@contextlib.contextmanager
def hub_and_cache(files=None, **attributes):
    """A hub and the environment of a server that uses it, with an empty cache."""
    with tempfile.TemporaryDirectory(prefix="rerankd-hub-") as home:
        hub = hubs.Hub(REPO, small_files() if files is None else files)
        for name, value in attributes.items():
            setattr(hub, name, value)
        with hub:
            yield hub, {"HF_ENDPOINT": hub.url, "HF_HOME": home, "HOME": home, "NO_PROXY": "127.0.0.1",
                        "REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": "", "SSL_CERT_FILE": "",
                        "HF_HUB_DOWNLOAD_TIMEOUT": "2", "HF_HUB_ETAG_TIMEOUT": "5"}


def cache_of(environment, *parts):
    return os.path.join(environment["HF_HOME"], "hub", FOLDER, *parts)


def serve(environment, *arguments, **options):
    return Server(*arguments, model=REPO, environment=environment, **options)


def fail(environment, words, *arguments, model=REPO):
    """Starts a server that must not come up; its complaint must hold the words."""
    result = run_binary("--model-id", model, "--hostname", "127.0.0.1", "--port", "0", *arguments,
                        environment=environment)
    assert result.returncode == 1, (result.returncode, result.stderr)
    line = next((line for line in result.stderr.splitlines() if "cannot load the model" in line), "")
    for word in [words] if isinstance(words, str) else words:
        assert word in line, (word, result.stderr)
    assert not harness.SANITIZER.search(result.stderr), result.stderr
    return result.stderr


def check_cache(hub, environment, names):
    """The layout of huggingface_hub, with the true bytes behind relative links, and nothing else."""
    for name in names:
        data = hub.files[name]
        path = cache_of(environment, "snapshots", hubs.COMMIT, name)
        target = os.readlink(path)
        etag = hashlib.sha256(data).hexdigest() if hub.is_large(name) else hubs.git_hash(data)
        assert target == "../" * (2 + name.count("/")) + "blobs/" + etag, target
        with open(path, "rb") as file:
            assert file.read() == data, name
    blobs = os.listdir(cache_of(environment, "blobs"))
    assert not [blob for blob in blobs if not set(blob) <= set("0123456789abcdef")], blobs


def check_no_weights(environment):
    """Nothing of a refused download is taken for the model."""
    assert not os.path.lexists(cache_of(environment, "snapshots", hubs.COMMIT, WEIGHTS))
    assert not os.path.exists(cache_of(environment, "refs", "main"))


def weights_hash(hub, name=WEIGHTS):
    return hashlib.sha256(hub.files[name]).hexdigest()


# --- what should work -------------------------------------------------------------------------------


@case
def a_model_is_downloaded_and_served_by_its_name():
    with hub_and_cache() as (hub, environment):
        with serve(environment) as server, Server(model=golden_model("cross-encoder")) as plain:
            texts = ["The bridge is of stone.", "bread", ""]
            assert server.scores("bridge", texts) == plain.scores("bridge", texts)
            info = server.request("GET", "/info").json()
            assert info["model_id"] == REPO, info
            assert info["served_model_name"] == REPO, info
            assert info["model_sha"] == hubs.COMMIT, info
            assert plain.request("GET", "/info").json()["model_sha"] is None
        check_cache(hub, environment, [name for name in hub.files
                                       if name not in ("README.md", "onnx/model.onnx")])
        assert sorted(os.listdir(cache_of(environment, "snapshots"))) == [hubs.COMMIT]
        with open(cache_of(environment, "refs", "main"), encoding="ascii") as ref:
            assert ref.read() == hubs.COMMIT
        assert not hub.asked("hub", "GET", "README") and not hub.asked("hub", "GET", "onnx")


@case
def what_the_cache_has_is_not_downloaded_again():
    with hub_and_cache() as (hub, environment):
        with serve(environment):
            pass
        hub.requests.clear()
        with serve(environment, "--served-model-name", "mine") as server:
            assert server.request("GET", "/info").json()["served_model_name"] == "mine"
        assert [request[1:2] for request in hub.requests] == [("GET",)], hub.requests
        hub.requests.clear()
        blob = cache_of(environment, "blobs", weights_hash(hub))
        os.unlink(blob)  # a link to nothing
        with serve(environment):
            pass
        assert len(hub.asked("storage", "GET")) == 1
        assert os.path.exists(blob)


@case
def a_bi_encoder_brings_its_modules():
    with hub_and_cache(files_of(golden_model("bi-encoder"))) as (hub, environment):
        with serve(environment) as server:
            info = server.request("GET", "/info").json()
            assert "embedding" in info["model_type"], info
        assert "1_Pooling/config.json" in hub.files
        check_cache(hub, environment, hub.files)


@case
def a_colbert_brings_its_metadata():
    with hub_and_cache(files_of(os.path.join(os.environ["RR_GOLDEN"], "score", "colbert"))) as (hub, environment):
        with serve(environment) as server:
            info = server.request("GET", "/info").json()
            assert info["scoring"] == "maxsim" and info["max_input_length"] == 60, info
        assert "artifact.metadata" in hub.files
        check_cache(hub, environment, hub.files)


@case
def a_sharded_model_is_downloaded_whole():
    with hub_and_cache(sharded_files()) as (hub, environment):
        with serve(environment) as server, Server(model=golden_model("cross-encoder")) as plain:
            texts = ["The bridge is of stone.", "bread", ""]
            assert server.scores("bridge", texts) == plain.scores("bridge", texts)
        check_cache(hub, environment, hub.files)
        environment["HF_HUB_OFFLINE"] = "1"
        with serve(environment):
            pass
        shard = next(name for name in hub.files if name.endswith(".safetensors"))
        os.unlink(cache_of(environment, "snapshots", hubs.COMMIT, shard))
        fail(environment, "is not (wholly) in the cache")


@case
def a_branch_a_pull_request_and_a_commit_are_revisions():
    with hub_and_cache() as (hub, environment):
        hub.revisions = {"refs/pr/1": hubs.OTHER_COMMIT, hubs.COMMIT: hubs.COMMIT,
                         hubs.OTHER_COMMIT: hubs.OTHER_COMMIT}
        fail(environment, "no such revision")
        with serve(environment, "--revision", hubs.COMMIT) as server:
            assert server.request("GET", "/info").json()["model_sha"] == hubs.COMMIT
        assert not os.path.exists(cache_of(environment, "refs"))
        downloaded = len(hub.asked("storage", "GET"))
        with serve({**environment, "REVISION": "refs/pr/1"}) as server:
            assert server.request("GET", "/info").json()["model_sha"] == hubs.OTHER_COMMIT
        with open(cache_of(environment, "refs", "refs", "pr", "1"), encoding="ascii") as ref:
            assert ref.read() == hubs.OTHER_COMMIT
        assert len(hub.asked("storage", "GET")) == downloaded  # the same blob
        fail(environment, ["no such revision", "nowhere"], "--revision", "nowhere")
        fail(environment, "no branch, tag or commit", "--revision", "../x")


@case
def the_token_goes_to_the_hub_alone():
    with hub_and_cache(token="hf_secret") as (hub, environment):
        with serve({**environment, "HF_TOKEN": "hf_secret"}) as server:
            assert "hf_secret" not in server.log()
            assert "signature" not in server.log()
        assert hub.asked("storage", "GET", WEIGHTS)
        for role, _, _, headers in hub.requests:
            assert (headers.get("Authorization") == "Bearer hf_secret") == (role == "hub"), (role, headers)


@case
def the_stored_token_is_used():
    with hub_and_cache(token="hf_stored") as (_, environment):
        with open(os.path.join(environment["HF_HOME"], "token"), "w", encoding="ascii") as file:
            file.write("hf_stored\n")
        fail({**environment, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, "HF_TOKEN")
        with serve(environment):
            pass


@case
def the_cache_is_where_the_variables_say():
    for name, place in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("XDG_CACHE_HOME",
                        "huggingface/hub"), ("HOME", ".cache/huggingface/hub")):
        with hub_and_cache() as (_, environment):
            other = os.path.join(environment["HF_HOME"], "other")
            if name in ("XDG_CACHE_HOME", "HOME"):
                del environment["HF_HOME"]
            environment[name] = other
            with serve(environment):
                pass
            assert os.path.isdir(os.path.join(other, place, FOLDER, "snapshots")), name
    with hub_and_cache() as (_, environment):
        with serve({**environment, "HF_HUB_CACHE": "/proc/none"}, "--huggingface-hub-cache",
                   os.path.join(environment["HF_HOME"], "first")):
            pass
        assert os.path.isdir(os.path.join(environment["HF_HOME"], "first", FOLDER))


# --- transfers that break ---------------------------------------------------------------------------


@case
def a_broken_transfer_goes_on_where_it_broke():
    with hub_and_cache(faults={WEIGHTS: hubs.Fault(hubs.cut(50000), times=2)}) as (hub, environment):
        with serve(environment) as server:
            server.check_alive()
        ranges = [request[3].get("Range") for request in hub.asked("storage", "GET")]
        assert ranges == [None, "bytes=50000-", "bytes=100000-"], ranges
        check_cache(hub, environment, [WEIGHTS])


@case
def what_an_earlier_run_left_is_resumed():
    with hub_and_cache() as (hub, environment):
        os.makedirs(cache_of(environment, "blobs"))
        with open(cache_of(environment, "blobs", weights_hash(hub) + ".incomplete"), "wb") as file:
            file.write(hub.files[WEIGHTS][:70000])
        with serve(environment):
            pass
        ranges = [request[3].get("Range") for request in hub.asked("storage", "GET")]
        assert ranges == ["bytes=70000-"], ranges
        check_cache(hub, environment, [WEIGHTS])


@case
def what_an_earlier_run_left_may_be_wrong():
    size = len(small_files()[WEIGHTS])
    for left in (b"x" * 70000, b"x" * size, b"x" * (size + 1)):
        with hub_and_cache() as (hub, environment):
            os.makedirs(cache_of(environment, "blobs"))
            with open(cache_of(environment, "blobs", weights_hash(hub) + ".incomplete"), "wb") as file:
                file.write(left)
            with serve(environment):
                pass
            check_cache(hub, environment, [WEIGHTS])


@case
def a_hub_without_ranges_sends_all_of_it_again():
    with hub_and_cache() as (hub, environment):
        def act(handler, data):
            return hubs.cut(50000)(handler, data) if "Range" not in handler.headers else \
                hubs.whole(handler, data)
        hub.faults[WEIGHTS] = hubs.Fault(act, times=2)
        with serve(environment):
            pass
        check_cache(hub, environment, [WEIGHTS])


@case
def the_bytes_of_another_range_are_refused():
    with hub_and_cache() as (hub, environment):
        def act(handler, data):
            return hubs.wrong_range(handler, data) or hubs.cut(50000)(handler, data)
        hub.faults[WEIGHTS] = hubs.Fault(act, times=None)
        fail(environment, [WEIGHTS, "asked for the bytes from 50000"])
        check_no_weights(environment)


@case
def transfers_that_always_break_are_given_up():
    with hub_and_cache(faults={WEIGHTS: hubs.Fault(hubs.cut(1000), times=None)}) as (hub, environment):
        fail(environment, WEIGHTS)
        assert len(hub.asked("storage", "GET")) == 5
        check_no_weights(environment)
        part = cache_of(environment, "blobs", weights_hash(hub) + ".incomplete")
        assert os.path.getsize(part) == 5000


@case
def a_trickle_is_cut_off_and_resumed():
    with hub_and_cache() as (hub, environment):
        hub.faults[WEIGHTS] = hubs.Fault(hubs.trickle(80000, seconds=30))
        with serve(environment) as server:
            assert "Operation too slow" in server.log(), server.log()
        assert len(hub.asked("storage", "GET")) == 2
        check_cache(hub, environment, [WEIGHTS])


@case
def wrong_bytes_are_refused():
    size = len(small_files()[WEIGHTS])
    changes = (
        (hubs.body(lambda data: data[:-1] + bytes([data[-1] ^ 1])), "wrong hash: SHA-256"),
        (hubs.body(lambda data: data + b"x"), f"{size + 1} bytes, where the hub said {size}"),
        (hubs.body(lambda data: data[:-1]), f"{size - 1} bytes, where the hub said {size}"),
        (hubs.body(lambda data: data + b"x", chunked=True), f"more bytes than the {size}"),
        (hubs.body(lambda data: data[:-1], chunked=True), "asked for the bytes from"),
    )
    for act, words in changes:
        def both(handler, data, act=act):
            return hubs.wrong_range(handler, data) or act(handler, data)
        with hub_and_cache(faults={WEIGHTS: hubs.Fault(both, times=None)}) as (hub, environment):
            fail(environment, [WEIGHTS, words])
            check_no_weights(environment)
            assert weights_hash(hub) not in os.listdir(cache_of(environment, "blobs"))
    change = hubs.body(lambda data: data.replace(b"3", b"4"))
    with hub_and_cache(faults={"config.json": hubs.Fault(change, times=None)}) as (_, environment):
        fail(environment, ["config.json", "wrong hash: git"])


# --- a hub that refuses or fails --------------------------------------------------------------------


@case
def refusals_say_what_to_do():
    with hub_and_cache(token="hf_right") as (_, environment):
        fail(environment, ["private and wants a token (HF_TOKEN)", "401"])
        fail({**environment, "HF_TOKEN": "hf_wrong"}, ["this token may not read it", "401"])
        fail({**environment, "HF_TOKEN": "hf_right"}, ["no such model", "404", "nor is there a folder team/nothing"],
             model="team/nothing")
        fail({**environment, "HF_TOKEN": "two words"}, "token")
    with hub_and_cache(gated=True) as (_, environment):
        fail(environment, ["gated", "HF_TOKEN", "403"])
        fail(environment, ["gated", "this token's account"], "--hf-token", "hf_x")
    with hub_and_cache(hidden=["vocab.txt.gz", "special_tokens_map.json"]) as (_, environment):
        fail(environment, ["special_tokens_map.json", "no such file", "404"])


@case
def a_hub_that_fails_for_a_while_is_asked_again():
    with hub_and_cache() as (hub, environment):
        hub.faults = {"api": hubs.Fault(hubs.status(503), times=2),
                      "resolve": hubs.Fault(hubs.status(429, {"Retry-After": "1"})),
                      WEIGHTS: hubs.Fault(hubs.status(500))}
        with serve(environment):
            pass
        assert len(hub.asked("storage", "GET")) == 2
    with hub_and_cache(faults={"api": hubs.Fault(hubs.status(500), times=None)}) as (hub, environment):
        fail(environment, ["the hub failed", "500"])
        assert len(hub.requests) == 5, hub.requests


@case
def answers_that_are_none_are_refused():
    sha = hubs.COMMIT
    answers = (
        ("<html>", "the hub's answer: invalid JSON"),
        ("[]", "no commit"),
        (json.dumps({"sha": "../../x", "siblings": []}), "no commit"),
        (json.dumps({"sha": sha}), "lists no files"),
        (json.dumps({"sha": sha, "siblings": [{"name": "x"}]}), "a file without a name"),
        (json.dumps({"sha": sha, "siblings": [{"rfilename": "../config.json"}]}), "no model.safetensors"),
        ("[" * 100000, "the hub's answer"),
        (" " * (65 << 20), "the hub's answer is over"),
    )
    for answer, words in answers:
        def act(handler, _, answer=answer):
            handler.reply(200, {}, answer.encode())
            return True
        with hub_and_cache(faults={"api": hubs.Fault(act, times=None)}) as (_, environment):
            fail(environment, words)


@case
def headers_that_do_not_fit_are_refused():
    size = 1 << 41
    changes = (
        ({"X-Linked-ETag": '"../../../x"'}, WEIGHTS, "no hash to check it by"),
        ({"X-Linked-ETag": '"' + "a" * 500 + '"', "ETag": "x"}, WEIGHTS, "no hash to check it by"),
        ({"X-Linked-Size": str(size)}, WEIGHTS, "over the limit"),
        ({"X-Linked-Size": "many"}, WEIGHTS, "does not say its size"),
        ({"X-Repo-Commit": hubs.OTHER_COMMIT}, WEIGHTS, "another commit"),
        ({"X-Repo-Commit": ""}, WEIGHTS, "no X-Repo-Commit"),
        ({"ETag": None}, "config.json", "no hash to check it by"),
    )
    for headers, name, words in changes:
        with hub_and_cache(headers={name: headers}) as (_, environment):
            fail(environment, [name, words])
            check_no_weights(environment)


@case
def redirects_end():
    with hub_and_cache() as (hub, environment):
        hub.faults["resolve"] = hubs.Fault(hubs.status(307, {"Location": "/team/x/resolve/a/b"}), times=None)
        fail(environment, "more than 6 redirects")
    with hub_and_cache() as (hub, environment):
        hub.faults["api"] = hubs.Fault(hubs.status(302, {"Location": "file:///etc/passwd"}), times=None)
        fail(environment, "rotocol")


@case
def the_hub_is_trusted_by_its_certificate():
    if not shutil.which("openssl"):
        raise Skip("no openssl command to make a certificate with")
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = os.path.join(folder, "certificate.pem"), os.path.join(folder, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", certificate,
                        "-days", "2", "-subj", "/CN=hub", "-addext", "subjectAltName=IP:127.0.0.1"],
                       check=True, capture_output=True)
        files = {**small_files(), "pytorch_model.bin": b"x"}
        files.pop(WEIGHTS)
        with hub_and_cache(files, certificate=(certificate, key)) as (hub, environment):
            fail(environment, "certificate")
            assert not hub.requests
            fail({**environment, "SSL_CERT_FILE": certificate}, "pytorch_model.bin only")
        # Its storage is plain http here: no redirect may lead there.
        with hub_and_cache(certificate=(certificate, key)) as (hub, environment):
            fail({**environment, "SSL_CERT_FILE": certificate, "HF_TOKEN": "hf_x"}, [WEIGHTS, "302"])
            assert not hub.asked("storage", "GET")
            check_no_weights(environment)


@case
def what_the_storage_refuses_is_not_the_models_fault():
    with hub_and_cache(faults={WEIGHTS: hubs.Fault(hubs.status(403), times=None)}) as (_, environment):
        fail(environment, [WEIGHTS, "redirects to refused it", "403"])


@case
def hostile_indexes_are_refused():
    for name in ("../../../../x.safetensors", "/x.safetensors", "x.bin"):
        files = sharded_files()
        files["model.safetensors.index.json"] = json.dumps({"weight_map": {"a": name}}).encode()
        with hub_and_cache(files) as (_, environment):
            fail(environment, "is no name of a shard")
    files = sharded_files()
    files.pop("model-00002-of-00003.safetensors")
    with hub_and_cache(files) as (_, environment):
        fail(environment, ["model-00002-of-00003.safetensors", "does not list it"])


@case
def pytorch_weights_alone_get_advice():
    files = small_files()
    files["pytorch_model.bin"] = files.pop(WEIGHTS)
    with hub_and_cache(files) as (hub, environment):
        fail(environment, ["pytorch_model.bin only", "safetensors/convert"])
        assert len(hub.requests) == 1, hub.requests
    files.pop("pytorch_model.bin")
    with hub_and_cache(files) as (_, environment):
        fail(environment, "no model.safetensors")


@case
def the_architecture_is_looked_at_before_anything_large():
    config = json.loads(small_files()["config.json"])
    bi_encoder = files_of(golden_model("bi-encoder"))
    changes = (
        ({"config.json": {**config, "architectures": ["XLMRobertaForSequenceClassification"]}},
         ["config.json", "XLMRobertaForSequenceClassification is not supported", "cross-encoder/ms-marco-MiniLM-L6-v2"]),
        ({"config.json": {**config, "num_labels": 3, "id2label": {str(i): str(i) for i in range(3)}}}, "3 labels"),
        ({"config.json": {"model_type": "t5"}}, "model_type t5 is not supported"),
        ({"config.json": {**config, "hidden_act": "swiglu"}}, "hidden_act swiglu"),
        ({"rerankd.json": {"scoring": "best"}}, "rerankd.json: scoring must be"),
    )
    for change, words in changes:
        files = {**small_files(), **{name: json.dumps(value).encode() for name, value in change.items()}}
        with hub_and_cache(files) as (hub, environment):
            fail(environment, [f"cannot load the model: {REPO}", *([words] if isinstance(words, str) else words)])
            check_nothing_large(hub, ("tokenizer.json", WEIGHTS))
            check_no_weights(environment)
    modules = json.loads(bi_encoder["modules.json"])
    modules.append({"idx": 9, "name": "9", "path": "9_Dense", "type": "sentence_transformers.models.Dense"})
    with hub_and_cache({**bi_encoder, "modules.json": json.dumps(modules).encode()}) as (hub, environment):
        fail(environment, "models.Dense")
        check_nothing_large(hub, ("tokenizer.json", WEIGHTS))
    # What is asked of a model that it has not.
    with hub_and_cache() as (hub, environment):
        fail(environment, "a cross-encoder's score is its logit", "--scoring", "cosine")
        fail(environment, "--documents: the model is a cross-encoder", "--documents",
             os.path.join(environment["HOME"], "documents"))
        fail(environment, ["--documents", "No such file", "mkdir -p"], "--documents", os.path.join(environment["HOME"], "x", "y"))
        check_nothing_large(hub, (WEIGHTS,))
    for name, words in (("tokenizer.json", "tokenizer.json: model of type BPE"), (None, "neither tokenizer.json nor vocab.txt")):
        files = small_files()
        tokenizer = json.loads(files.pop("tokenizer.json"))
        files.pop("vocab.txt", None)
        if name:
            files[name] = json.dumps({**tokenizer, "model": {"type": "BPE"}}).encode()
        with hub_and_cache(files) as (hub, environment):
            fail(environment, [REPO, words])
            check_nothing_large(hub, (WEIGHTS,))
    with hub_and_cache(sharded_files()) as (hub, environment):
        hub.files["config.json"] = json.dumps({**config, "architectures": ["T5Model"]}).encode()
        fail(environment, "T5Model")
        check_nothing_large(hub, [name for name in hub.files if name.endswith(".safetensors")])


def check_nothing_large(hub, names):
    for name in names:
        asked = hub.asked("hub", "HEAD", name) + hub.asked("hub", "GET", name) + hub.asked("storage", "GET", name)
        assert not asked, asked


@case
def weights_in_other_forms_are_named():
    for name, words in (("model-q8_0.gguf", "model-q8_0.gguf only"), ("onnx/model.onnx", "onnx/model.onnx only"),
                        ("tf_model.h5", "from_tf=True"), ("flax_model.msgpack", "from_flax=True"),
                        ("adapter_model.safetensors", "merge it into its base model")):
        files = {**small_files(), name: b"x"}
        files.pop(WEIGHTS)
        files.pop("onnx/model.onnx", None) if name != "onnx/model.onnx" else None
        with hub_and_cache(files) as (hub, environment):
            fail(environment, ["no model.safetensors", words])
            assert len(hub.requests) == 1, hub.requests


@case
def a_hub_out_of_reach_is_told_of_at_the_first_retry():
    with hub_and_cache() as (_, environment):
        place = f"127.0.0.1:{harness.free_port()}"
        server = serve({**environment, "HF_ENDPOINT": f"http://user:hunter2@{place}/"}, wait=False)
        try:
            (line,) = server.wait_for_log(lambda line: "trying again" in line)
            for words in ("WARN", REPO, f"the hub is http://{place} (--hf-endpoint)", "up to 4 times within about",
                          "--hf-hub-offline", "--model-id"):
                assert words in line, (words, line)
            server.process.wait(harness.PATIENCE)
            log = server.log()
        finally:
            server.kill()
        assert log.count("trying again") == 1 and "hunter2" not in log, log
        assert "cannot load the model" in log and "5 tries" in log, log
    with hub_and_cache(faults={"api": hubs.Fault(hubs.status(503), times=1)}) as (_, environment):
        with serve(environment) as server:
            assert server.log().count("HTTP 503") == 1, server.log()


@case
def names_that_are_none_are_refused():
    with hub_and_cache() as (hub, environment):
        for name in ("a/b/c", "./a", "../a", "/nowhere", "a//b", "a/", "a b", "a..b", "a--b", ".a", "x" * 97):
            fail(environment, "neither a directory nor the name", model=name)
        assert not hub.requests, hub.requests
        fail({**environment, "HF_ENDPOINT": "ftp://127.0.0.1"}, "HF_ENDPOINT")


# --- without a hub ----------------------------------------------------------------------------------


@case
def offline_only_the_cache_is_used():
    with hub_and_cache() as (hub, environment):
        offline = {**environment, "HF_HUB_OFFLINE": "1"}
        fail(offline, ["is not (wholly) in the cache", "HF_HUB_OFFLINE"])
        assert not hub.requests
        with serve(environment):
            pass
        hub.requests.clear()
        with serve(offline) as server:
            assert server.request("GET", "/info").json()["model_sha"] == hubs.COMMIT
        with serve(environment, "--hf-hub-offline", "--revision", hubs.COMMIT):
            pass
        assert not hub.requests
        fail(offline, "is not (wholly) in the cache", "--revision", "other")
        os.unlink(cache_of(environment, "snapshots", hubs.COMMIT, "config.json"))
        fail(offline, "is not (wholly) in the cache")


@case
def a_hub_out_of_reach_is_no_harm_to_a_full_cache():
    with hub_and_cache() as (hub, environment):
        away = {**environment, "HF_ENDPOINT": f"http://127.0.0.1:{harness.free_port()}"}
        fail(away, "127.0.0.1")
        with serve(environment):
            pass
        for broken in (away, environment):
            hub.faults["api"] = hubs.Fault(hubs.status(502), times=None)
            with serve(broken) as server:
                assert "using what the cache has" in server.log(), server.log()
        hub.faults["api"] = hubs.Fault(hubs.status(404, {"X-Error-Code": "RevisionNotFound"}), times=None)
        fail(environment, "no such revision")


# --- while it downloads -----------------------------------------------------------------------------


@case
def the_server_says_that_it_downloads_and_stops_when_told():
    with hub_and_cache() as (hub, environment):
        environment["HF_HUB_DOWNLOAD_TIMEOUT"] = "60"
        hub.faults[WEIGHTS] = hubs.Fault(hubs.trickle(100000, seconds=120))
        server = serve(environment, wait=False)
        try:
            def downloading():
                with contextlib.suppress(OSError):
                    response = server.request("GET", "/health")
                    return response if b"downloading, 0.1 of 0.2 MB" in response.body else None
            response = eventually(downloading, "the download")
            harness.expect_error(response, 503, "Unhealthy", "still loading")
            response = server.rerank({"query": "a", "texts": ["b"]})
            harness.expect_error(response, 503, "Unhealthy", "downloading")
        except BaseException:
            server.kill()
            raise
        server.stop()  # with status 0
        part = cache_of(environment, "blobs", weights_hash(hub) + ".incomplete")
        assert os.path.getsize(part) >= 100000
        check_no_weights(environment)
        hub.requests.clear()
        with serve(environment):
            pass
        (request,) = hub.asked("storage", "GET")
        assert int(request[3]["Range"][6:-1]) >= 100000, request


@case
def two_servers_download_once():
    with hub_and_cache() as (hub, environment):
        hub.faults[WEIGHTS] = hubs.Fault(hubs.trickle(1000, seconds=60, size=10000))
        servers = [serve(environment, wait=False) for _ in range(2)]
        for server in servers:
            server.wait_until_healthy()
            server.check_alive()
        assert any("waiting for another process" in server.log() for server in servers)
        for server in servers:
            server.stop()
        assert len(hub.asked("storage", "GET")) == 1, hub.asked("storage", "GET")


@case
def the_lock_is_the_one_of_huggingface_hub():
    with hub_and_cache() as (hub, environment):
        folder = os.path.join(environment["HF_HOME"], "hub", ".locks", FOLDER)
        os.makedirs(folder)
        with open(os.path.join(folder, weights_hash(hub) + ".lock"), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            server = serve(environment, wait=False)
            try:
                server.wait_for_log(lambda line: "waiting for another process" in line)
                assert not hub.asked("storage", "GET")
            except BaseException:
                server.kill()
                raise
            fcntl.flock(lock, fcntl.LOCK_UN)
            server.wait_until_healthy()
            server.stop()
        hub.requests.clear()
        os.unlink(cache_of(environment, "blobs", weights_hash(hub)))
        with open(os.path.join(folder, weights_hash(hub) + ".lock"), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            server = serve(environment, wait=False)
            server.wait_for_log(lambda line: "waiting for another process" in line)
            server.stop()  # it waits, and still ends when told


@case
def a_terminal_gets_a_bar():
    with hub_and_cache() as (hub, environment):
        hub.faults[WEIGHTS] = hubs.Fault(hubs.trickle(100000, seconds=1, size=2000))
        main, side = pty.openpty()
        port = harness.free_port()
        process = subprocess.Popen(
            [harness.binary(), "--model-id", REPO, "--hostname", "127.0.0.1", "--port", str(port)],
            env=harness.clean_environment(environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=side)
        os.close(side)
        output = b""
        deadline = time.monotonic() + harness.PATIENCE
        while b"ready" not in output and time.monotonic() < deadline:
            if select.select([main], [], [], 1)[0]:
                output += os.read(main, 4096)
        process.send_signal(signal.SIGTERM)
        process.wait(harness.PATIENCE)
        os.close(main)
        assert b"] 0." in output and b"#" in output and b" of 0.2 MB" in output, output


# --- beside huggingface_hub -------------------------------------------------------------------------


def huggingface_python():
    python = os.environ.get("RR_HUB_PYTHON", os.path.join(ROOT, ".cache", "bench-venv", "bin", "python"))
    probe = [python, "-c", "import huggingface_hub"]
    if not os.path.exists(python) or subprocess.run(probe, capture_output=True, check=False).returncode:
        raise Skip("no Python with huggingface_hub (RR_HUB_PYTHON)")
    return python


def with_huggingface_hub(environment, code, **more):
    python = huggingface_python()
    result = subprocess.run([python, "-c", "import huggingface_hub as h, sys\n" + code],
                            env=harness.clean_environment({**environment, **more}), capture_output=True,
                            text=True, timeout=harness.PATIENCE, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@case
def what_huggingface_hub_downloaded_is_found():
    huggingface_python()
    for code in ("for name in ('config.json', 'tokenizer.json', 'model.safetensors'):\n"
                 f"  print(h.hf_hub_download('{REPO}', name))",
                 f"print(h.snapshot_download('{REPO}'))"):
        with hub_and_cache() as (hub, environment):
            path = with_huggingface_hub(environment, code)
            assert FOLDER in path, path
            hub.requests.clear()
            with serve({**environment, "HF_HUB_OFFLINE": "1"}) as server:
                assert server.request("GET", "/info").json()["model_sha"] == hubs.COMMIT
            assert not hub.requests
            with serve(environment):
                pass
            assert not hub.asked("storage", "GET"), hub.requests


@case
def what_was_downloaded_is_found_by_huggingface_hub():
    huggingface_python()
    with hub_and_cache(files_of(golden_model("bi-encoder"))) as (hub, environment):
        with serve(environment):
            pass
        hub.requests.clear()
        path = with_huggingface_hub(environment, f"print(h.snapshot_download('{REPO}'))",
                                    HF_HUB_OFFLINE="1")
        assert path == cache_of(environment, "snapshots", hubs.COMMIT), path
        for name, data in hub.files.items():
            path = with_huggingface_hub(environment, f"print(h.hf_hub_download('{REPO}', '{name}'))",
                                        HF_HUB_OFFLINE="1")
            with open(path, "rb") as file:
                assert file.read() == data, name
        assert not hub.requests
        with_huggingface_hub(environment, f"h.snapshot_download('{REPO}')")
        assert not hub.asked("storage", "GET"), hub.requests
        scanned = with_huggingface_hub(environment, "info = h.scan_cache_dir()\n"
                                       "print(len(info.repos), len(info.warnings))")
        assert scanned == "1 0", scanned


if __name__ == "__main__":
    sys.exit(harness.main())
