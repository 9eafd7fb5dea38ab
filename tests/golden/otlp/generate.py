#!/usr/bin/env python3
"""Makes request.json, what two requests look like as OTLP in JSON, by OpenTelemetry's own messages (PyPI: opentelemetry-proto).

tests/server/test_otlp.c tells the same two requests and compares the documents by value. In protobuf's JSON ids would be
base64; OTLP has them in hexadecimal, and enumerations as numbers.
"""

import argparse
import base64
import json
import os

if __name__ == "__main__":  # --help and mistakes before the imports that not everybody has
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()

from google.protobuf import json_format  # noqa: E402
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status  # noqa: E402

SEED = 7
MASK = (1 << 64) - 1
IDS = ("traceId", "spanId", "parentSpanId")
BEGIN = 1_700_000_000_123_456_789


def splitmix(state):
    """Yields ids; Steele, Lea and Flood's generator."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        x = state
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
        yield (x ^ (x >> 31)).to_bytes(8, "big")


def add(attributes, name, value):
    pair = attributes.add(key=name)
    if isinstance(value, bool):
        pair.value.bool_value = value
    elif isinstance(value, int):
        pair.value.int_value = value
    elif isinstance(value, list):
        for text in value:
            pair.value.array_value.values.add(string_value=text)
    else:
        pair.value.string_value = value


def add_phases(spans, server, names, ids, state):
    for number, name in enumerate(names):
        spans.add(trace_id=server.trace_id, span_id=next(ids), parent_span_id=server.span_id, trace_state=state,
                  flags=(server.flags & 0xFF) | 0x100, kind=Span.SPAN_KIND_INTERNAL, name=name,
                  start_time_unix_nano=BEGIN + 1000 * number, end_time_unix_nano=BEGIN + 1000 * number + 999)


def ranking(spans, ids):
    server = spans.add(trace_id=bytes.fromhex("0af7651916cd43dd8448eb211c80319c"),
                       span_id=bytes.fromhex("00f067aa0ba902b7"), parent_span_id=bytes.fromhex("b7ad6b7169203331"),
                       trace_state="vendor=1,other@x=a b", flags=0x301, kind=Span.SPAN_KIND_SERVER,
                       name="POST /v1/rerank", start_time_unix_nano=BEGIN, end_time_unix_nano=BEGIN + 10**10)
    for name, value in (("http.request.method", "POST"), ("http.route", "/v1/rerank"), ("url.path", "/v1/rerank"),
                        ("url.scheme", "http"), ("server.address", "rank.example"), ("server.port", 8080),
                        ("network.protocol.version", "1.1"), ("user_agent.original", 'a "quoted" \\ agent'),
                        ("http.request.body.size", 1234), ("http.response.status_code", 200),
                        ("http.response.body.size", 2**53 + 1), ("http.request.header.x-request-id", ["id-1"]),
                        ("rerank.dialect", "jina"), ("rerank.candidates", 100), ("rerank.tokens", 8899),
                        ("rerank.cached", 7), ("rerank.truncated", 3), ("rerank.unscored", 2),
                        ("rerank.degraded", True)):
        add(server.attributes, name, value)
    add_phases(spans, server, ("read", "parse", "write"), ids, server.trace_state)


def refusal(spans):
    server = spans.add(trace_id=bytes.fromhex("ffffffffffffffff0000000000000001"),
                       span_id=bytes.fromhex("ffffffffffffffff"), flags=0x103, kind=Span.SPAN_KIND_SERVER, name="HTTP",
                       start_time_unix_nano=BEGIN, end_time_unix_nano=BEGIN)
    for name, value in (("http.request.method", "_OTHER"), ("http.request.method_original", "BREW"),
                        ("url.path", "/c\ufffd\nffee"), ("url.scheme", "http"), ("network.protocol.version", "1.0"),
                        ("http.request.body.size", 0), ("http.response.status_code", 503),
                        ("http.response.body.size", 17), ("error.type", "503"),
                        ("http.request.header.x-request-id", ["id-2"])):
        add(server.attributes, name, value)
    server.status.code = Status.STATUS_CODE_ERROR
    server.status.message = "the server is stopping"


def hexadecimal(value):
    """The same with ids as OTLP has them."""
    if isinstance(value, list):
        return [hexadecimal(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    return {name: base64.b64decode(entry).hex() if name in IDS else hexadecimal(entry) for name, entry in value.items()}


def main():
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    add(resource.resource.attributes, "service.name", "ranker")
    add(resource.resource.attributes, "deployment.environment", "te\"st")
    scope = resource.scope_spans.add()
    scope.scope.name, scope.scope.version = "rerankd", "VERSION"
    ranking(scope.spans, splitmix(SEED))
    refusal(scope.spans)
    document = json_format.MessageToDict(request, use_integers_for_enums=True)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "request.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(hexadecimal(document), file, indent=1, ensure_ascii=False)
        file.write("\n")


if __name__ == "__main__":
    main()
