#!/usr/bin/env python3
"""What the server sends as spans, read by OpenTelemetry's own messages in strict mode (PyPI: opentelemetry-proto, in
.cache/otlp-venv)."""

import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

import harness  # noqa: E402
from collector import Collector  # noqa: E402
from harness import Server, case  # noqa: E402

VENV = os.path.join(ROOT, ".cache", "otlp-venv")
GOOD = {"query": "what", "texts": ["this", "that"]}
PARENT = "b7ad6b7169203331"

# Prints, for each document on its input, name, kind and parent of its spans. Protobuf's JSON has ids
# in base64, OTLP in hexadecimal. A member that the messages do not have, or of another type, is an error.
READER = """
import base64, json, sys
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

def packed(value):
    if isinstance(value, list):
        return [packed(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    return {name: base64.b64encode(bytes.fromhex(entry)).decode() if name in ("traceId", "spanId", "parentSpanId")
            else packed(entry) for name, entry in value.items()}

for line in sys.stdin:
    document = packed(json.loads(line))
    request = json_format.ParseDict(document, ExportTraceServiceRequest(), ignore_unknown_fields=False)
    again = json_format.MessageToDict(request, use_integers_for_enums=True)
    assert again == document, (again, document)
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                assert len(span.trace_id) == 16 and len(span.span_id) == 8 and len(span.parent_span_id) in (0, 8), span
                assert span.start_time_unix_nano <= span.end_time_unix_nano, span
                print(json.dumps([span.name, span.kind, span.parent_span_id.hex()]))
"""


def python():
    """A Python that has the messages; installed at first."""
    path = os.path.join(VENV, "bin", "python")
    probe = [path, "-c", "import opentelemetry.proto.trace.v1.trace_pb2"]
    if os.path.exists(path) and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        return path
    for command in ([sys.executable, "-m", "venv", VENV], [path, "-m", "pip", "install", "-q", "opentelemetry-proto"]):
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if ended.returncode != 0:
            raise harness.Skip(f"opentelemetry-proto cannot be installed: {ended.stderr.strip().splitlines()[-1:]}")
    return path


@case
def what_is_sent_is_what_opentelemetrys_messages_say():
    reader = python()
    with Collector() as collector:
        with Server("--otlp-endpoint", collector.url) as server:
            context = {"traceparent": f"00-{7:032x}-{PARENT}-01", "tracestate": "a=1", "User-Agent": "\xff\"\\ \t/"}
            assert server.rerank(GOOD, context).status == 200
            assert server.rerank(GOOD).status == 200
            assert server.rerank({"query": 1}).status in (400, 422)
            assert server.request("BREW", "/caf%e9", b"{}").status in (404, 405)
            assert server.rerank({**harness.heavy_body(), "timeout_ms": 1, "on_timeout": "error"}).status == 504
        documents = "\n".join(json.dumps(document) for _, _, _, document in collector.posts)
    ended = subprocess.run([reader, "-c", READER], input=documents, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    spans = [json.loads(line) for line in ended.stdout.splitlines()]
    servers = [span for span in spans if span[1] == 2]
    assert len(servers) == 5 and len(spans) > 5 + 2 * 8, spans
    assert ["POST /rerank", 2, PARENT] in servers and ["HTTP", 2, ""] in servers, servers


if __name__ == "__main__":
    sys.exit(harness.main())
