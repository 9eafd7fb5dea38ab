#!/usr/bin/env python3
"""What an operator sees: options, environment, start and stop, logs, metrics, keys, limits."""

import json
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import time

import harness
from harness import (SLOW, Server, case, eventually, expect_error, golden_model, heavy_body,
                     in_parallel, run_binary, shared, small_model)

GOOD = {"query": "what", "texts": ["this", "that"]}


def expect_usage_error(result, *words):
    assert result.returncode == 2, result
    assert result.stdout == "", result
    assert result.stderr.count("\n") == 1 and result.stderr.endswith("\n"), result
    for word in words:
        assert word in result.stderr, result


@case
def help_and_version_are_printed():
    result = run_binary("--help", "all")
    assert result.returncode == 0 and result.stderr == "", result
    for option in ("model-id", "served-model-name", "hostname", "port", "dtype", "pack-cache", "threads",
                   "tokenization-workers", "max-concurrent-requests", "max-batch-tokens",
                   "max-client-batch-size", "payload-limit", "cache-bytes", "idle-timeout", "client-timeout",
                   "auto-truncate", "api-key",
                   "api-key-file", "cors-allow-origin", "unix-socket", "json-output", "log-level", "help", "version"):
        assert "--" + option in result.stdout, option
    result = run_binary("--version")
    assert result.returncode == 0, result
    assert re.fullmatch(r"rerankd \d+\.\d+\.\d+\n", result.stdout), result


@case
def the_page_of_options_is_what_the_binary_prints():
    result = run_binary("--help", "markdown")
    assert result.returncode == 0 and result.stderr == "", result
    with open(os.path.join(harness.ROOT, "docs", "options.md"), encoding="utf-8") as page:
        assert page.read() == result.stdout, \
            "docs/options.md is stale: build/server/rerankd --help markdown >docs/options.md"


@case
def bad_values_are_one_line_and_status_2():
    for arguments in (("--port", "x"), ("--port", "65536"), ("--port", "-1"), ("--port", ""),
                      ("--port", "80x"), ("--threads", "0"), ("--dtype", "float8"),
                      ("--max-batch-tokens", "0"), ("--max-client-batch-size", "1e3"),
                      ("--max-concurrent-requests", "99999999999999999999"),
                      ("--payload-limit", " 5"), ("--log-level", "loud"),
                      ("--auto-truncate=maybe",), ("--tokenization-workers", "many"),
                      ("--isa", "mmx"), ("--isa", "avx2,")):
        result = run_binary("--model-id", small_model(), *arguments)
        expect_usage_error(result, arguments[0].split("=")[0])


@case
def unknown_options_and_a_missing_model_are_status_2():
    expect_usage_error(run_binary("--nonsense"), "--nonsense")
    expect_usage_error(run_binary("--port"), "--port")
    expect_usage_error(run_binary("stray"), "stray")
    with tempfile.TemporaryDirectory() as folder:  # where no default model lies beside it
        alone = shutil.copy(harness.binary(), folder)
        expect_usage_error(run_binary(program=alone), "--model-id")
        expect_usage_error(run_binary(program=alone), "share/rerankd/models/rerankd-minilm-en-v1")


@case
def bad_environment_is_status_2_and_names_the_variable():
    for name, value in (("PORT", "x"), ("MAX_BATCH_TOKENS", "-5"), ("JSON_OUTPUT", "perhaps")):
        result = run_binary("--model-id", small_model(), environment={name: value})
        expect_usage_error(result, name)


@case
def a_model_that_cannot_be_loaded_is_one_line_and_status_1():
    with tempfile.TemporaryDirectory() as empty:
        broken = os.path.join(empty, "broken")
        os.mkdir(broken)
        with open(os.path.join(broken, "config.json"), "w", encoding="utf-8") as file:
            file.write("{")
        for directory in (os.path.join(empty, "absent"), empty, broken):
            result = run_binary("--model-id", directory, "--hostname", "127.0.0.1", "--port", "0")
            assert result.returncode == 1, result
            errors = [line for line in result.stderr.splitlines() if "ERROR" in line or
                      not re.search(r" (INFO|WARN|DEBUG)\b", line)]
            assert len(errors) == 1 and directory in errors[0], result


@case
def packed_weights_are_kept_beside_the_model_if_asked_for():
    request = {"query": "bread", "texts": ["an oven", "the river", "fresh bread"]}
    answers = []
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "model")
        shutil.copytree(small_model(), model)
        for arguments, environment, said in (
                (["--pack-cache", "false"], {"PACK_CACHE": "true"}, None),
                (["--pack-cache"], {}, r"INFO.*\.rerankd-int8-\S+\.pack was not there; written anew"),
                ([], {"PACK_CACHE": "true"}, r"INFO.*\.rerankd-int8-\S+\.pack was read")):
            with Server("--dtype", "int8", *arguments, model=model, environment=environment) as server:
                answers.append(server.rerank(request).body)
                server.wait_for_log(lambda line: "ready" in line)
                if said:
                    server.wait_for_log(lambda line, said=said: re.search(said, line))
                kept = [name for name in os.listdir(model) if name.startswith(".rerankd")]
                assert len(kept) == (1 if said else 0), kept
    assert answers[0] == answers[1] == answers[2], answers


@case
def an_address_in_use_is_status_1():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = run_binary("--model-id", small_model(), "--hostname", "127.0.0.1", "--port", port)
        assert result.returncode == 1, result
        assert port in result.stderr, result


@case
def every_option_is_also_an_environment_variable():
    environment = {"SERVED_MODEL_NAME": "from-the-environment", "MAX_CONCURRENT_REQUESTS": "7",
                   "MAX_BATCH_TOKENS": "600", "MAX_CLIENT_BATCH_SIZE": "3", "AUTO_TRUNCATE": "false",
                   "TOKENIZATION_WORKERS": "1", "PAYLOAD_LIMIT": "2000", "DTYPE": "float32",
                   "THREADS": "1", "JSON_OUTPUT": "true", "LOG_LEVEL": "info", "API_KEY": "secret"}
    key = {"Authorization": "Bearer secret"}
    with Server(environment=environment) as server:
        info = server.request("GET", "/info", headers=key).json()
        assert info["served_model_name"] == "from-the-environment", info
        assert info["max_concurrent_requests"] == 7, info
        assert info["max_batch_tokens"] == 600, info
        assert info["max_client_batch_size"] == 3, info
        assert info["auto_truncate"] is False, info
        assert info["tokenization_workers"] == 1, info
        four = {"query": "q", "texts": ["a"] * 4}
        expect_error(server.rerank(four, key), 422, "Validation", "maximum allowed batch size 3")
        large = {"query": "q" * 3000, "texts": ["a"]}
        expect_error(server.rerank(large, key), 413, "Validation")
        expect_error(server.rerank(GOOD), 401, "Validation")
        long = {"query": "q", "texts": ["w " * 900]}
        expect_error(server.rerank(long, key), 422, "Validation", "must have less than")
        assert all(json.loads(line) for line in server.log().splitlines())


@case
def the_command_line_wins_over_the_environment():
    environment = {"SERVED_MODEL_NAME": "environment", "MAX_CLIENT_BATCH_SIZE": "1"}
    with Server("--served-model-name", "line", "--max-client-batch-size=9",
                environment=environment) as server:
        info = server.request("GET", "/info").json()
        assert info["served_model_name"] == "line", info
        assert info["max_client_batch_size"] == 9, info


@case
def every_dtype_and_instruction_set_ranks_alike():
    body = {"query": "the cat", "texts": ["a cat sat", "stone", "the river ran over the old stone"],
            "raw_scores": True}
    exact = {row["index"]: row["score"] for row in shared().rerank(body).json()}
    spread = max(exact.values()) - min(exact.values())
    # Of the spread of the scores: a wrong kernel is off by about all of it.
    for dtype, share in (("float32", 1e-4), ("bfloat16", 0.05), ("int8", 0.2)):
        for isa in ("portable", "avx2", "avx512", "all"):
            with Server("--dtype", dtype, "--isa", isa) as server:
                info = server.request("GET", "/info").json()
                assert info["model_dtype"] == dtype, info
                for row in server.rerank(body).json():
                    error = abs(row["score"] - exact[row["index"]])
                    assert error <= max(share * spread, 1e-4), (dtype, isa, error, spread)


@case
def auto_takes_what_this_cpu_multiplies_and_says_so():
    def chosen(*arguments):
        with Server("--dtype", "auto", *arguments) as server:
            info = server.request("GET", "/info").json()
            (line,) = server.wait_for_log(lambda text: "ready:" in text)
            assert f"{info['model_dtype']} ({info['model_dtype_note']})" in line, (info, line)
            assert info["model_dtype_note"].startswith("chosen: "), info
            return info["model_dtype"]

    assert chosen("--isa", "portable") == "float32"
    assert chosen("--isa", "avx512") == "float32"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        native = {"avx512_bf16", "amx_bf16", "bf16"} & set(file.read().split())
    assert chosen() == ("bfloat16" if native else "float32"), native


@case
def info_tells_what_tei_tells():
    info = shared().request("GET", "/info").json()
    for name, kind in (("model_id", str), ("model_dtype", str), ("served_model_name", str), ("scoring", str),
                       ("max_concurrent_requests", int), ("max_input_length", int),
                       ("max_batch_tokens", int), ("max_client_batch_size", int),
                       ("auto_truncate", bool), ("tokenization_workers", int), ("cache_bytes", int),
                       ("version", str)):
        assert type(info[name]) is kind, (name, info)
    assert info["model_id"] == small_model(), info
    assert info["served_model_name"] == small_model(), info
    assert info["model_dtype"] == "float32", info
    assert info["max_client_batch_size"] == 1000, info
    assert info["max_concurrent_requests"] == 512, info
    reranker = info["model_type"]["reranker"]
    (label,) = reranker["label2id"]
    assert reranker == {"id2label": {"0": label}, "label2id": {label: 0}}, info
    for name in ("model_sha", "max_batch_requests"):
        assert info[name] is None, info


@case
def info_tells_a_bi_encoder():
    with Server(model=golden_model("bi-encoder")) as server:
        info = server.request("GET", "/info").json()
        assert info["model_type"]["embedding"]["pooling"] in ("mean", "cls"), info


@case
def health_is_503_until_the_model_has_run():
    server = Server(wait=False)
    seen = []

    def probe():
        try:
            seen.append(server.request("GET", "/health").status)
        except OSError:
            pass  # not yet listening
        return seen and seen[-1] == 200

    eventually(probe, "health")
    assert set(seen) <= {200, 503}, seen
    assert server.rerank(GOOD).status == 200
    server.stop()


@case
def the_api_key_is_wanted_but_for_health_and_metrics():
    with Server("--api-key", "s3cret") as server:
        for headers in (None, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer s3cre"},
                        {"Authorization": "Bearer s3cret0"}, {"Authorization": "s3cret"},
                        {"Authorization": "Basic s3cret"}, {"Authorization": "Bearer "},
                        {"Authorization": ""}):
            expect_error(server.rerank(GOOD, headers), 401, "Validation")
            expect_error(server.request("GET", "/info", headers=headers), 401, "Validation")
        right = {"Authorization": "Bearer s3cret"}
        assert server.rerank(GOOD, right).status == 200
        assert server.request("GET", "/info", headers=right).status == 200
        assert server.request("GET", "/health").status == 200
        assert server.request("GET", "/metrics").status == 200
        assert "s3cret" not in server.log()


@case
def a_request_id_is_echoed_or_made():
    response = shared().rerank(GOOD, {"X-Request-Id": "my-id_1.2"})
    assert response.headers["x-request-id"] == "my-id_1.2", response
    made = {shared().rerank(GOOD).headers["x-request-id"] for _ in range(5)}
    assert len(made) == 5 and all(len(request_id) >= 16 for request_id in made), made
    for path, status in (("/health", 200), ("/info", 200), ("/nothing", 404)):
        response = shared().request("GET", path, headers={"x-request-id": "abc"})
        assert response.status == status and response.headers["x-request-id"] == "abc", response


@case
def a_hostile_request_id_is_replaced():
    for hostile in ("", "a" * 500, "a b", 'a"b', "a\tb", "<script>", "\xe9", "a;b", "{}", "a\\nb"):
        response = shared().rerank(GOOD, {"x-request-id": hostile})
        assert response.status == 200, response
        assert re.fullmatch(r"[0-9a-zA-Z-]{16,}", response.headers["x-request-id"]), response
        assert response.headers["x-request-id"] != hostile, response


@case
def timing_headers_are_whole_milliseconds():
    response = shared().rerank({"query": "one", "texts": ["two", "\u00e9\u00e9\u00e9"]})
    for name in ("x-compute-time", "x-compute-characters", "x-compute-tokens", "x-total-time",
                 "x-tokenization-time", "x-queue-time", "x-inference-time"):
        assert re.fullmatch(r"\d+", response.headers[name]), (name, response)
    assert int(response.headers["x-compute-characters"]) == 9, response
    assert int(response.headers["x-compute-tokens"]) > 0, response
    assert int(response.headers["x-total-time"]) >= int(response.headers["x-inference-time"])


@case
def json_logs_have_one_line_a_request_with_its_id():
    with Server("--json-output") as server:
        for number in range(5):
            assert server.rerank(GOOD, {"x-request-id": f"logged-{number}"}).status == 200
        expect_error(server.rerank({}, {"x-request-id": "logged-bad"}), 422, "Validation")
        nowhere = server.request("GET", '/no"such\\path', headers={"x-request-id": "logged-nowhere"})
        assert nowhere.status == 404, nowhere
        expected = {f"logged-{number}": 200 for number in range(5)}
        expected.update({"logged-bad": 422, "logged-nowhere": 404})
        for request_id, status in expected.items():
            lines = server.wait_for_log(lambda line: request_id in line)
            assert len(lines) == 1, lines
            entry = json.loads(lines[0])
            assert entry["request_id"] == request_id, entry
            assert entry["status"] == status, entry
            assert entry["path"].startswith("/"), entry
        for line in server.log().splitlines():
            assert isinstance(json.loads(line), dict), line


@case
def readable_logs_have_one_line_a_request_with_its_id():
    with Server() as server:
        assert server.rerank(GOOD, {"x-request-id": "readable-1"}).status == 200
        lines = server.wait_for_log(lambda line: "readable-1" in line)
        assert len(lines) == 1 and " 200 " in lines[0] and "/rerank" in lines[0], lines


@case
def the_log_level_silences_requests():
    with Server("--log-level", "error") as server:
        assert server.rerank(GOOD).status == 200
        assert server.request("GET", "/nothing").status == 404
        server.terminate()  # all is written by the end
        server.wait_for_end()
        assert server.log() == "", server.log()


@case
def texts_never_reach_the_log():
    with Server("--log-level", "debug") as server:
        assert server.rerank({"query": "confidentialquery", "texts": ["confidentialtext"]}
                             ).status == 200
        refused = server.rerank({"query": "confidentialquery", "texts": [1]},
                                {"x-request-id": "the-last"})
        assert refused.status == 422, refused
        server.wait_for_log(lambda line: "the-last" in line)
        assert "confidential" not in server.log(), server.log()


HISTOGRAMS = ("te_request_duration", "te_request_parse_duration", "te_request_tokenization_duration",
              "te_request_queue_duration", "te_request_inference_duration",
              "te_request_input_length", "te_batch_next_size", "te_batch_next_tokens",
              "te_batch_fill")


@case
def metrics_are_prometheus_text():
    response = shared().request("GET", "/metrics")
    assert response.headers["content-type"].startswith("text/plain"), response
    text = response.body.decode()
    assert text.endswith("\n")
    sample = re.compile(r"[a-z_:]+(\{[a-z]+=\"[^\"]*\"(,[a-z]+=\"[^\"]*\")*\})? "
                        r"[0-9.e+-]+$")
    typed = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert kind in ("counter", "gauge", "histogram", "untyped"), line
            assert (kind == "counter") == name.endswith("_total"), line
            assert name not in typed, line
            typed[name] = kind
        elif not line.startswith("# HELP "):
            assert sample.match(line), line
            name = re.match(r"[a-z_:]+", line).group()
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name in typed or base in typed, line
    for name in HISTOGRAMS + ("te_request_count", "te_request_success", "te_request_failure",
                              "te_queue_size", "te_queue_tokens", "rerankd_request_phase_seconds"):
        assert name in typed, name
    samples = shared().metrics()
    old = [name for name, kind in typed.items() if kind == "untyped"]
    assert len(old) > 20, old  # names of before, each beside a counter of its own
    for name in old:
        new = {"te_request_count": "te_requests_total", "te_request_success": "te_requests_succeeded_total",
               "te_request_failure": "te_requests_failed_total",
               "te_request_refused": "te_requests_refused_total"}.get(name, name + "_total")
        counts = {key: value for key, value in samples.items() if key.partition("{")[0] == name}
        assert counts, name
        for key, value in counts.items():
            assert samples[key.replace(name, new, 1)] == value, key


@case
def histograms_are_cumulative():
    shared().check_alive()
    samples = shared().metrics()
    for name in HISTOGRAMS:
        buckets = [value for key, value in samples.items() if key.startswith(name + "_bucket")]
        assert len(buckets) > 3 and buckets == sorted(buckets), name
        assert samples[name + '_bucket{le="+Inf"}'] == samples[name + "_count"] == buckets[-1], name
        assert samples[name + "_count"] > 0 and samples[name + "_sum"] >= 0, name


def failures(samples):
    return sum(value for name, value in samples.items() if name.startswith("te_request_failure"))


@case
def counters_count():
    with Server() as server:
        before = server.metrics()
        for _ in range(3):
            assert server.rerank({"query": "q", "texts": ["a", "b", "c"]}).status == 200
        for body in (b"{", {}, {"query": "q", "texts": []}):
            assert server.rerank(body).status in (400, 422)
        after = server.metrics()

    def grown(name):
        return after[name] - before[name]

    assert grown('te_request_count{method="rerank"}') == 6, after
    assert grown('te_request_success{method="rerank"}') == 3, after
    assert failures(after) - failures(before) == 3, after
    for name in HISTOGRAMS[:5]:
        assert grown(name + "_count") == 3, (name, after)
    assert grown("te_request_input_length_count") == 9, after  # pairs of a cross-encoder
    assert grown("te_batch_next_size_sum") == 9, after
    assert grown("te_batch_next_tokens_sum") == grown("te_request_input_length_sum") > 0, after
    assert after["te_queue_size"] == 0 and after["te_queue_tokens"] == 0, after


@case
def too_many_requests_at_once_are_429_and_the_others_are_served():
    with Server("--max-concurrent-requests", "1", "--threads", "1") as server:
        heavy = heavy_body(texts=60 if SLOW else 200)

        def attempt():
            statuses = in_parallel([lambda: server.rerank(heavy).status] * 4)
            assert set(statuses) <= {200, 429} and 200 in statuses, statuses
            return 429 in statuses

        eventually(attempt, "a refusal")
        count = server.metrics()['te_request_failure{err="overloaded"}']
        assert count >= 1, count
        server.check_alive()

    with Server("--max-concurrent-requests", "1", "--threads", "1") as server:
        def refusal():
            refused = []

            def send():
                response = server.rerank(heavy)
                if response.status == 429:
                    refused.append(response)

            in_parallel([send] * 4)
            return refused

        expect_error(eventually(refusal, "a refusal")[0], 429, "Overloaded")


@case
def sigterm_answers_everybody_refuses_newcomers_and_ends_with_0():
    server = Server("--threads", "1")
    heavy = [heavy_body(seed, texts=40 if SLOW else 200) for seed in range(4)]
    results = []

    def ask(body):
        response = server.rerank(body)
        results.append((response.status, len(response.json())))

    def stop_amidst():
        eventually(lambda: server.metrics()['te_request_count{method="rerank"}'] == len(heavy),
                   "all requests to arrive")
        server.terminate()

        def refused():
            try:
                with server.connect():
                    return False
            except OSError:
                return True

        eventually(refused, "new connections to be refused")

    in_parallel([lambda body=body: ask(body) for body in heavy] + [stop_amidst])
    server.stop()
    assert results == [(200, len(heavy[0]["texts"]))] * len(heavy), results


@case
def sigterm_ends_an_idle_server_and_its_idle_connections():
    for number in (signal.SIGTERM, signal.SIGINT):
        server = Server()
        with server.connect() as connection:
            connection.send_request("GET", "/health")
            assert connection.response().status == 200
            server.terminate(number)
            assert connection.at_end()
        server.stop()


@case
def sigterm_does_not_wait_for_bodies_that_never_come():
    server = Server()
    head = b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with server.connect() as gone, server.connect() as silent, server.connect() as mute:
        gone.send(head + b"Content-Length: 100\r\n\r\n{")
        gone.close()
        silent.send(head + b"Content-Length: 100\r\n\r\n{")
        mute.send(head[:20])
        server.check_alive()
        server.stop()


@case
def sigterm_while_the_model_loads_ends_the_server():
    server = Server(wait=False)
    time.sleep(0.01)
    server.terminate()
    status = server.wait_for_end()
    server.log_file.close()
    assert status in (0, -signal.SIGTERM), status


@case
def many_threads_and_workers_start_and_stop():
    for threads, workers in (("1", "1"), ("3", "1"), ("8", "5")):
        with Server("--threads", threads, "--tokenization-workers", workers) as server:
            server.check_alive()


if __name__ == "__main__":
    sys.exit(harness.main())
