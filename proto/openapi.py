#!/usr/bin/env python3
"""Makes api_pages.c: the OpenAPI document that GET /openapi.json answers, and the page of GET /docs.

    openapi.py VERSION --c OUTPUT.c DIALECT.py...    (at build time)
    openapi.py VERSION --print DIALECT.py...         (the document, for reading)

DIALECT.py is a dialect's part (openapi_parts.py says what it holds): proto/dialects/*.py. Here stands what they have in
common: the server's own pages, errors, headers.

The document is strict: what it allows is accepted, and what it does not allow is refused. What it cannot say
stands in tests/openapi.
"""

import argparse
import importlib.util
import json
import os

import openapi_page
from openapi_parts import (
    COUNT, FULL, ID, INDEX, LARGEST, LISTED, LONGEST, NUMBER, TERSE, TEXT, answer, ref)

# Schemas that no dialect owns, with their places as in a part.
REQUESTS = {
    "Document": (120, {"anyOf": [TEXT, {
        "type": "object", "required": ["text"], "properties": {"text": TEXT}}, ref("KeptDocument")]}),
    "KeptDocument": (130, {
        "type": "object", "required": ["id"], "properties": {"id": ID}, "not": {"required": ["text"]},
        "description": "a document that POST /documents has kept, by its name; only where the server keeps "
                       "documents, and it is still there"}),
}

ANSWERS = {
    "RankedTexts": (10, {"type": "array", "items": answer({"index": INDEX, "text": TEXT, "score": NUMBER}, ("text",))}),
    "TerseError": (110, answer({"error": TEXT, "error_type": {"enum": [
        "Empty", "Validation", "Tokenizer", "Backend", "Overloaded", "Unhealthy"]}})),
    "FullError": (120, answer({"message": TEXT, "detail": TEXT, "error": answer({
        "message": TEXT, "type": TEXT, "param": {"type": ["string", "null"]}, "code": {"type": "integer"}})})),
    "ListedError": (130, answer({"message": TEXT, "detail": {"type": "array", "items": answer({
        "loc": {"type": "array", "items": TEXT}, "msg": TEXT, "type": TEXT})}, "error": answer({
            "message": TEXT, "type": TEXT, "param": {"type": ["string", "null"]},
            "code": {"const": 422}})})),
    "Info": (140, answer({
        "model_id": TEXT, "model_sha": {"type": ["string", "null"]}, "model_dtype": TEXT, "model_dtype_note": TEXT,
        "served_model_name": TEXT,
        "scoring": {"enum": ["logit", "cosine", "maxsim", "hybrid"]}, "split_layers": COUNT, "calibrated": {"type": "boolean"},
        "model_type": {"type": "object"},
        "max_concurrent_requests": COUNT, "max_input_length": COUNT,
        "max_batch_tokens": COUNT, "max_batch_requests": {"type": "null"}, "max_client_batch_size": COUNT,
        "auto_truncate": {"type": "boolean"}, "tokenization_workers": COUNT, "cache_bytes": COUNT,
        "document_cache_bytes": {"type": ["integer", "null"], "minimum": 0,
                                 "description": "null: nothing of a cross-encoder's documents can be kept"},
        "version": TEXT,
        "sha": {"type": "null"}, "docker_label": {"type": "null"}}, optional=("split_layers",))),
    "Models": (150, answer({"object": {"const": "list"}, "data": {"type": "array", "items": answer({
        "id": TEXT, "object": {"const": "model"}, "created": COUNT, "owned_by": TEXT, "root": TEXT,
        "max_model_len": COUNT, "capabilities": {"type": "array", "items": TEXT}})}})),
}

WHY = {400: "not JSON, or no candidates", 401: "no API key, or a wrong one", 413: "the body is too large, or the request needs more memory than one may take",
       415: "not declared as JSON, or an unknown content coding", 422: "a field is missing or wrong",
       424: "the model gave no number", 429: "too much waits, it would be too late, or memory is short; see Retry-After",
       503: "loading, stopping or out of memory; see Retry-After", 504: "not done in its time"}
HEADERS = {name: {"description": text, "schema": {"type": "integer"}, "required": True} for name, text in (
    ("x-truncated-count", "texts that lost tokens"), ("x-compute-tokens", "tokens the model has read"),
    ("x-compute-characters", "characters of the request"), ("x-total-time", "ms"),
    ("x-tokenization-time", "ms"), ("x-queue-time", "ms"), ("x-inference-time", "ms"),
    ("x-compute-time", "ms"))}
HEADERS["server-timing"] = {"description": "the phases of the request and the total, ms: `read;dur=0.041, ..., total;dur=8.130`",
                            "schema": {"type": "string"}, "required": True}
HEADERS["x-rerank-degraded"] = {"description": "texts without a score, where the time ended first",
                                "schema": {"type": "integer"}, "required": False}
PARAMETERS = [{"name": name, "in": "header", "required": False, "schema": schema} for name, schema in (
    ("x-request-timeout-ms", {"type": "integer", "minimum": 1, "maximum": LONGEST,
                              "description": "as `timeout_ms`; the shorter of the two counts"}),
    ("x-request-on-timeout", {"enum": ["partial", "error"], "description": "as `on_timeout`, which wins"}),
    ("x-request-priority", {"type": "integer", "minimum": -LARGEST, "maximum": LARGEST,
                            "description": "as `priority`, which wins"}))]



def schemas(names):
    return ref(names[0]) if len(names) == 1 else {"anyOf": [ref(name) for name in names]}


def content(schema):
    return {"application/json": {"schema": schema}}


def failures(errors, statuses):
    return {str(status): {"description": WHY[status], "content": content(schemas(errors))}
            for status in statuses}


def errors_at(path, spoken):
    """The shapes of errors at a path, as rr_error_shape_of has them."""
    shapes = {one.errors for one in spoken}
    if path.startswith(("/v1/", "/v2/")):
        shapes = {FULL if shape == TERSE else shape for shape in shapes}
    if LISTED in shapes:
        shapes.add(FULL)  # where it is not the request that is wrong
    return [shape for shape in (TERSE, FULL, LISTED) if shape in shapes]


def scoring(one, every):
    """A Path, with all that is spoken there."""
    spoken = sorted((entry for entry in every if entry.path == one.path), key=lambda entry: entry.place)
    asks = "; ".join(entry.asks for entry in reversed(spoken) if entry.asks)
    requests, answers = ([*dict.fromkeys(names)] for names in (
        [entry.request for entry in spoken], [entry.answer for entry in spoken]))
    return {one.path: {"post": {
        "operationId": "post_" + (one.path.strip("/").replace("/", "_") or "root"),
        "summary": one.summary.format(asks=asks), "tags": ["scores"], "security": [{}, {"key": []}],
        "parameters": PARAMETERS,
        "requestBody": {"required": True, "content": content(schemas(requests))},
        "responses": {"200": {"description": "scores", "content": content(schemas(answers)),
                              "headers": HEADERS},
                      **failures(errors_at(one.path, spoken), WHY)}}}}


def page(path, summary, schema=None, kind="application/json", key=False, can_fail=False, errors=TERSE):
    found = {"description": summary}
    if schema is not None:
        found["content"] = {kind: {"schema": schema}}
    statuses = ([401] if key else []) + ([503] if can_fail else [])
    return {path: {"get": {"operationId": "get_" + (path.strip("/").replace("/", "_") or "root"),
                           "summary": summary, "tags": ["server"],
                           **({"security": [{}, {"key": []}]} if key else {}),
                           "responses": {"200": found, **failures((errors,), statuses)}}}}


PAGES = [
    page("/health", "200 once the model has run", can_fail=True),
    page("/ping", "as /health", can_fail=True),
    page("/ready", "200 while requests should come here: the model has run, and the server is not stopping",
         can_fail=True),
    page("/live", "200 from the first moment to the last"),
    page("/", "as /health", can_fail=True),
    page("/info", "the model and the limits", ref("Info"), key=True, can_fail=True),
    page("/models", "the model in a list of one", ref("Models"), key=True, can_fail=True),
    page("/v1/models", "as /models", ref("Models"), key=True, can_fail=True, errors=FULL),
    page("/metrics", "Prometheus text", TEXT, kind="text/plain", can_fail=True),
    page("/openapi.json", "this document", {"type": "object"}),
    page("/docs", "this document for people", TEXT, kind="text/html"),
]


def load(path):
    """A dialect's part, from its file."""
    spec = importlib.util.spec_from_file_location("dialect_" + os.path.splitext(os.path.basename(path))[0], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ordered(groups):
    """Schemas of several {name: (place, schema)}, by their places."""
    every = [(place, name, schema) for group in groups for name, (place, schema) in group.items()]
    assert len({name for _, name, _ in every}) == len(every), "two schemas of one name"
    return {name: schema for _, name, schema in sorted(every, key=lambda entry: entry[:2])}


def document(version, parts):
    spoken = [entry for part in parts for entry in part.SPOKEN]
    scored = sorted((path for part in parts for path in part.PATHS), key=lambda path: (path.place, path.path))
    assert sorted({entry.path for entry in spoken}) == sorted(path.path for path in scored), "a path is not described once"
    paths = {}
    for entry in [scoring(path, spoken) for path in scored] + PAGES:
        for path, methods in entry.items():
            paths.setdefault(path, {}).update(methods)
    return {
        "openapi": "3.1.0",
        "info": {"title": "rerankd", "version": version,
                 "description": "Ranks texts by their relevance to a query. Bodies may be gzip or zstd "
                                "(Content-Encoding), answers are where Accept-Encoding asks for it. Every "
                                "reply carries x-request-id: the caller's, or a new one. Bounds on lists are the "
                                "defaults of --max-client-batch-size.",
                 "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": {**ordered([REQUESTS, *(part.REQUESTS for part in parts)]),
                                   **ordered([ANSWERS, *(part.ANSWERS for part in parts)])},
                       "securitySchemes": {"key": {"type": "http", "scheme": "bearer",
                                                   "description": "where the server was given keys"}}},
    }


def c_array(name, text):
    data = text.encode()
    lines = [",".join(str(byte) for byte in data[at:at + 32]) for at in range(0, len(data), 32)]
    return (f"const char {name}[] = {{\n" + ",\n".join(lines) + ",0};\n"
            f"const size_t {name}_size = sizeof {name} - 1;\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", metavar="VERSION")
    parser.add_argument("dialects", metavar="DIALECT.py", nargs="+")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--c", metavar="OUTPUT.c")
    wanted.add_argument("--print", action="store_true")
    arguments = parser.parse_args()
    made = document(arguments.version, [load(path) for path in arguments.dialects])
    if arguments.print:
        print(json.dumps(made, indent=1))
        return
    page_text = openapi_page.render(made)
    with open(arguments.c, "w", encoding="ascii") as out:
        out.write('#include "proto/api_pages.h"\n\n')
        out.write(c_array("rr_openapi_page", json.dumps(made, separators=(",", ":"))))
        out.write(c_array("rr_docs_page", page_text))


if __name__ == "__main__":
    main()
