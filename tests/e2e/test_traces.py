#!/usr/bin/env python3
"""Spans of requests, sent to a stand-in for an OpenTelemetry collector that is well, slow, failing, or gone."""

import json
import os
import shutil
import subprocess
import sys
import time

import harness
from collector import Collector
from redis_server import RedisServer
from harness import Server, case, eventually, heavy_body, in_parallel, run_binary, small_model

GOOD = {"query": "what", "texts": ["this", "that", "what else"]}
PARENT = "b7ad6b7169203331"
PHASES = ["read", "pool", "parse", "tokenize", "queue", "compute", "encode", "write"]
ASKING = PHASES[:3] + ["share", "resume"] + PHASES[3:]
END_SECONDS = 2  # what the end of the server may take longer, for the last spans


def trace_id(number):
    return f"{number:032x}"


def traceparent(number, flags="01"):
    return {"traceparent": f"00-{trace_id(number)}-{PARENT}-{flags}"}


def tracing(collector, *arguments, **more):
    return Server("--json-output", "--otlp-endpoint", collector.url, *arguments, **more)


def log_entry(server, request_id):
    (line,) = server.wait_for_log(lambda line: f'"{request_id}"' in line)
    return json.loads(line)


def span_counts(server):
    samples = server.metrics()
    return {kind: samples[f"rerankd_spans_{kind}_total"] for kind in ("exported", "dropped", "failed")}


@case
def a_request_is_a_span_under_its_callers_with_one_below_it_a_phase():
    with Collector() as collector, tracing(collector) as server:
        before = time.time_ns()
        reply = server.rerank(GOOD, {**traceparent(1), "tracestate": "a=1", "x-request-id": "known",
                                     "User-Agent": "tester/1"})
        after = time.time_ns()
        assert reply.status == 200, reply
        root, *phases = collector.wait_for(trace_id(1))
        assert (root.parent, root.kind, root.name, root.state) == (PARENT, 2, "POST /rerank", "a=1"), root
        assert root.flags == 0x301 and root.status == {}, root
        expected = {"http.request.method": "POST", "http.route": "/rerank", "url.path": "/rerank", "url.scheme": "http",
                    "server.address": "127.0.0.1", "network.protocol.version": "1.1", "user_agent.original": "tester/1",
                    "http.request.body.size": len(json.dumps(GOOD)), "http.response.status_code": 200,
                    "http.response.body.size": len(reply.body), "http.request.header.x-request-id": ["known"],
                    "rerank.dialect": "tei", "rerank.candidates": 3, "rerank.cached": 0, "rerank.truncated": 0,
                    "rerank.unscored": 0, "rerank.degraded": False,
                    "rerank.tokens": int(reply.headers["x-compute-tokens"])}
        assert root.attributes == expected, root
        assert [phase.name for phase in phases] == PHASES, phases
        assert len({span.id for span in (root, *phases)}) == 9, phases
        at = root.begin
        for phase in phases:
            assert (phase.parent, phase.kind, phase.flags, phase.state) == (root.id, 1, 0x101, "a=1"), phase
            assert at <= phase.begin <= phase.end, (phase, at)
            at = phase.end
        assert at <= root.end, phases
        assert before <= root.begin and root.end <= time.time_ns(), (before, root.begin, root.end, after)
        entry = log_entry(server, "known")
        assert (entry["trace_id"], entry["parent_id"], entry["span_id"]) == (root.trace, PARENT, root.id), entry
        assert entry["total_ms"] >= (root.end - root.begin) / 1e6 - 0.001, entry
        assert root.resource["service.name"] == "rerankd" and root.resource["service.version"], root.resource
        assert "traceparent" not in reply.headers, reply
        counted = eventually(lambda: [c for c in [span_counts(server)] if c["exported"] == 9], "a count")
        assert counted == [{"exported": 9, "dropped": 0, "failed": 0}], counted


@case
def asking_a_shared_cache_is_a_span_too():
    with Collector() as collector, RedisServer() as redis, \
            tracing(collector, "--cache-bytes", "1000000", "--shared-cache", redis.url,
                    "--shared-cache-timeout-ms", "1000") as server:
        eventually(lambda: server.metrics()["te_shared_cache_up"] == 1, "the shared cache")
        assert server.rerank(GOOD, traceparent(2)).status == 200
        root, *phases = collector.wait_for(trace_id(2))
        assert [phase.name for phase in phases] == ASKING, phases
        times = [time for phase in phases for time in (phase.begin, phase.end)]
        assert times == sorted(times) and root.begin <= times[0] and times[-1] <= root.end, phases


@case
def without_a_valid_context_a_trace_begins():
    wrong = [{}, {"traceparent": f"00-{trace_id(0)}-{PARENT}-01"}, {"traceparent": "00-x"},
             {"traceparent": f"00-{trace_id(10)}-{PARENT}-01-more"},
             {"traceparent": f"00-{trace_id(10)}-{PARENT}-01" + "x" * 5000}]
    with Collector() as collector, tracing(collector) as server:
        ids = set()
        for number, headers in enumerate(wrong):
            server.rerank(GOOD, {**headers, "tracestate": "a=1", "x-request-id": f"new-{number}"})
            entry = log_entry(server, f"new-{number}")
            assert "parent_id" not in entry, entry
            root, *phases = collector.wait_for(entry["trace_id"])
            assert root.parent is None and root.id == entry["span_id"] and root.state == "", root
            assert root.flags == 0x103 and len(phases) == 8, root
            ids.add(root.trace)
        assert len(ids) == len(wrong) and trace_id(10) not in ids, ids
        body = json.dumps(GOOD).encode()
        twice = "".join(f"traceparent: 00-{trace_id(11)}-{PARENT}-01\r\n" for _ in range(2))
        with server.connect() as connection:
            connection.send((f"POST /rerank HTTP/1.1\r\nHost: [::1]:70\r\n{twice}x-request-id: twice\r\n"
                             f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body)
            assert connection.response().status == 200
        root = collector.wait_for(log_entry(server, "twice")["trace_id"])[0]
        assert root.trace != trace_id(11) and root.parent is None, root
        assert (root.attributes["server.address"], root.attributes["server.port"]) == ("::1", 70), root


@case
def a_trace_state_is_taken_whole_or_not_at_all():
    states = [("a=1,b=2", "a=1,b=2"), ("a=1,a=2", ""), ("A=1", ""), ("a=" + "x" * 600, ""),
              ("a=" + "x" * 250 + ",b=" + "x" * 250, "a=" + "x" * 250 + ",b=" + "x" * 250)]
    with Collector() as collector, tracing(collector) as server:
        for number, (given, expected) in enumerate(states, start=20):
            server.rerank(GOOD, {**traceparent(number), "tracestate": given})
            assert {span.state for span in collector.wait_for(trace_id(number))} == {expected}, given
        body = json.dumps(GOOD).encode()
        with server.connect() as connection:
            connection.send((f"POST /rerank HTTP/1.1\r\nHost: x\r\ntraceparent: 00-{trace_id(30)}-{PARENT}-01\r\n"
                             f"tracestate: a=1\r\nTraceState: b=2\r\nContent-Type: application/json\r\n"
                             f"Content-Length: {len(body)}\r\n\r\n").encode() + body)
            assert connection.response().status == 200
        assert collector.wait_for(trace_id(30))[0].state == "a=1,b=2"


@case
def who_is_not_sampled_is_not_sent():
    with Collector() as collector, tracing(collector, "--otlp-sample", "0") as server:
        server.rerank(GOOD, {"x-request-id": "alone"})
        server.rerank(GOOD, {**traceparent(40, "00"), "x-request-id": "unwanted"})
        server.rerank(GOOD, traceparent(41, "01"))
        collector.wait_for(trace_id(41))
        assert log_entry(server, "unwanted")["trace_id"] == trace_id(40)
        assert len(log_entry(server, "alone")["span_id"]) == 16
    assert {span.trace for span in collector.spans()} == {trace_id(41)}, collector.spans()
    with Collector() as collector, tracing(collector) as server:
        server.rerank(GOOD, traceparent(42, "02"))  # random, not sampled
    assert collector.spans() == [], collector.spans()
    variables = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    with Collector() as collector, tracing(collector, environment=variables) as server:
        for number in range(0, 16):  # by the ids, whatever the caller has decided
            server.rerank(GOOD, {"traceparent": f"00-{1:016x}{number << 60 | 1:016x}-{PARENT}-0{number % 2}"})
    sent = {int(span.trace[16], 16) for span in collector.spans()}
    assert sent == set(range(8)), sent


@case
def errors_tell_what_they_are():
    with Collector() as collector, tracing(collector, "--max-client-batch-size", "5000") as server:
        replies = {
            50: server.request("POST", "/rerank", b"{", {**traceparent(50)}),
            51: server.request("POST", "/no/such/path", b"{}", traceparent(51)),
            52: server.request("GET", "/info", None, traceparent(52)),
            53: server.request("BREW", "/rerank", b"{}", traceparent(53)),
            54: server.rerank({**heavy_body(texts=1000), "timeout_ms": 1, "on_timeout": "error"}, traceparent(54)),
        }
        assert [reply.status for reply in replies.values()] == [400, 404, 200, 405, 504], replies
        names = {number: collector.wait_for(trace_id(number))[0] for number in replies}
        assert [span.name for span in names.values()] == ["POST /rerank", "POST", "GET /info", "HTTP /rerank",
                                                          "POST /rerank"], names
        for number in (50, 51, 52, 53):  # a client's fault is no error of the server's
            assert names[number].status == {} and "error.type" not in names[number].attributes, names[number]
        assert names[53].attributes["http.request.method"] == "_OTHER", names[53]
        assert names[53].attributes["http.request.method_original"] == "BREW", names[53]
        assert "http.route" not in names[51].attributes, names[51]
        assert names[54].status["code"] == 2 and names[54].attributes["error.type"] == "504", names[54]
        for path in ("/health", "/metrics"):
            server.request("GET", path, None, traceparent(55))
        with server.connect() as connection:
            body = json.dumps(heavy_body(texts=3000)).encode()
            connection.send_request("POST", "/rerank", body, traceparent(56))
            eventually(lambda: server.metrics()["te_request_active"] > 0, "the request to be at work")
        gone = collector.wait_for(trace_id(56))[0]
        assert gone.attributes["error.type"] == "client_gone" and gone.status["code"] == 2, gone
        assert "http.response.status_code" not in gone.attributes, gone
        assert collector.spans(trace_id(55)) == [], "a probe made a span"


@case
def a_partial_answer_says_so():
    with Collector() as collector, tracing(collector, "--max-client-batch-size", "5000", "--threads", "1") as server:
        for number, milliseconds in enumerate((20 << n for n in range(11)), start=200):
            reply = server.rerank({**heavy_body(texts=4000, words=100), "timeout_ms": milliseconds}, traceparent(number))
            root = collector.wait_for(trace_id(number))[0]
            if reply.status == 200 and "x-rerank-degraded" in reply.headers:
                assert root.attributes["rerank.unscored"] == int(reply.headers["x-rerank-degraded"]), root
                assert root.attributes["rerank.degraded"] is True and root.status == {}, root
                return
        raise harness.Skip("no deadline cut a request on this machine")


@case
def the_last_spans_are_sent_at_the_end():
    with Collector() as collector:
        with tracing(collector) as server:
            in_parallel([lambda number=number: server.rerank(GOOD, traceparent(number)) for number in range(100, 140)])
        assert len({span.trace for span in collector.spans()}) == 40, len(collector.spans())
        assert len(collector.spans()) == 40 * 9


@case
def a_collector_that_is_busy_gets_the_same_again_when_it_says():
    with Collector(lambda number: (503, {"Retry-After": "1"}, b"later") if number == 0 else (200, {}, b"{}")) as collector:
        with tracing(collector) as server:
            server.rerank(GOOD, traceparent(70))
            collector.wait_for(trace_id(70))
            counts = eventually(lambda: [c for c in [span_counts(server)] if c["exported"]], "a count")
            assert counts == [{"exported": 9, "dropped": 0, "failed": 0}], counts
            server.wait_for_log(lambda line: "the collector does not take them: it answers with status 503" in line)
            server.wait_for_log(lambda line: "takes them again" in line)
        (first, *_, one), (second, *_, other) = collector.posts
        assert one == other and second - first >= 1, (second - first)


@case
def a_collector_that_refuses_costs_its_spans_and_no_more():
    answers = [(400, {}, b"no"), (302, {"Location": "/elsewhere"}, b""), (200, {}, b"\x00garbage"),
               (200, {}, b'{"partialSuccess":{"rejectedSpans":"2","errorMessage":"odd"}}')]
    with Collector(lambda number: answers[number % 4]) as collector, tracing(collector) as server:
        for number in range(4):
            assert server.rerank(GOOD, traceparent(80 + number)).status == 200
            eventually(lambda number=number: sum(span_counts(server).values()) == 9 * (number + 1), "the spans' end")
        assert span_counts(server) == {"exported": 16, "dropped": 0, "failed": 20}, span_counts(server)
        assert [path for _, path, _, _ in collector.posts] == ["/v1/traces"] * 4


@case
def neither_silence_nor_loss_delays_a_request_or_the_end():
    for answer in (lambda number: None, "gone"):
        collector = Collector(answer if callable(answer) else None)
        if answer == "gone":
            collector.stop()
        server = tracing(collector)
        with server:
            replies = in_parallel([lambda: [server.rerank(GOOD).status for _ in range(20)]] * 4)
            assert replies == [[200] * 20] * 4, replies
            if callable(answer):
                eventually(lambda: collector.posts, "a post")
            server.check_alive()
            begin = time.monotonic()
            server.terminate()
            assert server.wait_for_end() == 0
            took = time.monotonic() - begin
            assert harness.SLOW or took < END_SECONDS + 8, took  # a bound of its own, far from the collector's minutes
        collector.stop()


@case
def opentelemetrys_own_variables_count():
    with Collector() as collector:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://localhost:{collector.port}/base/",
                     "OTEL_SERVICE_NAME": "from-otel", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=te%20st",
                     "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%3Db", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
        with Server(environment=variables) as server:
            server.rerank(GOOD, traceparent(90))
            root = collector.wait_for(trace_id(90))[0]
            assert root.resource["service.name"] == "from-otel", root.resource
            assert root.resource["deployment.environment"] == "te st", root.resource
        (_, path, headers, _), = collector.posts
        assert path == "/base/v1/traces" and headers["api-key"] == "a=b", headers
        assert headers["content-encoding"] == "gzip" and headers["content-type"] == "application/json", headers
        with Server(environment={**variables, "OTLP_SERVICE_NAME": "ours", "OTEL_SDK_DISABLED": "true"}) as server:
            server.rerank(GOOD, traceparent(91))
            assert "spans are" not in server.log(), server.log()
        with Server("--otlp-service-name", "ours", environment=variables) as server:
            server.rerank(GOOD, traceparent(92))
        assert collector.wait_for(trace_id(92))[0].resource["service.name"] == "ours"
        assert collector.spans(trace_id(91)) == []


@case
def a_collector_is_trusted_by_its_certificate():
    if not shutil.which("openssl"):
        raise harness.Skip("no openssl command to make a certificate with")
    folder = harness.temporary_folder()
    os.chmod(folder, 0o755)
    certificate, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=collector", "-addext",
                    "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    with Collector(tls=(certificate, key)) as collector:
        with tracing(collector, environment={"OTEL_EXPORTER_OTLP_CERTIFICATE": certificate}) as server:
            server.rerank(GOOD, traceparent(93))
            collector.wait_for(trace_id(93))
        with tracing(collector) as server:
            server.rerank(GOOD, traceparent(94))
            eventually(lambda: span_counts(server)["failed"] == 9, "the refusal")
        assert collector.spans(trace_id(94)) == []


@case
def what_is_wrong_is_said():
    for arguments in (["--otlp-endpoint", "collector"], ["--otlp-endpoint", "http://c", "--otlp-sample", "2"]):
        ended = run_binary("--model-id", small_model(), *arguments)
        assert ended.returncode == 2 and arguments[-2] in ended.stderr, ended
    foreign = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with Server(environment=foreign) as server:  # it may be meant for others: serving goes on
        server.check_alive()
        server.wait_for_log(lambda line: "spans are not sent: OTEL_EXPORTER_OTLP_PROTOCOL" in line)
    with Server("--otlp-endpoint", "http://me:secret@127.0.0.1:1/?key=secret") as server:
        server.check_alive()
        server.wait_for_log(lambda line: "spans are sent to http://127.0.0.1:1/v1/traces" in line)
        server.wait_for_log(lambda line: "the collector does not take them" in line)
        assert "secret" not in server.log(), server.log()


@case
def names_are_looked_up_and_sockets_opened_under_the_filter():
    with Collector() as collector:
        with Server("--otlp-endpoint", f"http://localhost:{collector.port}", "--seccomp", "auto") as server:
            filtered = "with filtered system calls" in server.log()
            server.rerank(GOOD, traceparent(95))
            collector.wait_for(trace_id(95))
    if not filtered:
        raise harness.Skip("no filter of system calls here")


if __name__ == "__main__":
    sys.exit(harness.main())
