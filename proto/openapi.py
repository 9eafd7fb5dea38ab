#!/usr/bin/env python3
"""Makes api_pages.c: the OpenAPI document that GET /openapi.json answers, and the page of GET /docs.

    openapi.py VERSION OUTPUT.c     (at build time)
    openapi.py VERSION --print      (the document, for reading)

The document is strict: what it allows is accepted, and what it does not allow is refused. What it cannot say
stands in tests/openapi.
"""

import argparse
import json

import openapi_page

MAX_TEXTS = 1000  # the default of --max-client-batch-size
LARGEST = 2**53 - 1

TEXT = {"type": "string"}
NUMBER = {"type": "number"}
COUNT = {"type": "integer", "minimum": 0}


def ref(name):
    return {"$ref": "#/components/schemas/" + name}


def described(schema, description):
    return {**schema, "description": description}


def nullable(kind, description, **more):
    return {"type": [kind, "null"], "description": description, **more}


def flag(description):
    return nullable("boolean", description)


def count(description, least=0):
    return nullable("integer", description, minimum=least, maximum=LARGEST)


def choice(description, *values):
    return {"enum": [*values, None], "description": description}


def listing(items, description="", most=MAX_TEXTS):
    return {"type": "array", "items": items, "minItems": 1, "maxItems": most, "description": description}


LONGEST = 86400000  # ms: a day
SCHEDULE = {
    "timeout_ms": nullable("integer", "milliseconds from the headers to the answer; null: as the header or the server says",
                           minimum=1, maximum=LONGEST),
    "on_timeout": choice("where the time ends first: the scores that are there, then the other texts as they came; or "
                         "504", "partial", "error"),
    "priority": nullable("integer", "lower goes earlier; a step is a micro-batch of others' work", minimum=-LARGEST,
                         maximum=LARGEST)}


def body(required, properties, example):
    """A request. Unknown members are passed over."""
    return {"type": "object", "required": required, "properties": {**properties, **{
        name: schema for name, schema in SCHEDULE.items() if name not in properties}}, "example": example}


def answer(properties, optional=()):
    return {"type": "object", "properties": properties, "additionalProperties": False,
            "required": [name for name in properties if name not in optional]}


# --- requests ---

QUERY = described(TEXT, "what the texts are ranked for")
MODEL = nullable("string", "any name is accepted; the one model that is served answers")
TOP_N = count("results wanted; 0 or null: all")
RETURN_DOCUMENTS = flag("tell each result's document")
DIRECTION = choice("which end of what is too long is dropped; also asks for the longer one of query and text "
                   "to be cut first", "left", "right", "Left", "Right")
STRATEGY = choice("what is cut of a pair that is too long: the longer one first, or the text alone",
                  "longest_first", "only_second")
TRUNCATION = {"truncation_direction": DIRECTION, "truncation_strategy": STRATEGY}
DOCUMENTS = listing(ref("Document"), "the candidates")
TRUNCATE = flag("shorten what is too long; null: as the server is set. true also asks for the longer one of "
                "query and text to be cut first")
RAW_SCORES = flag("logits, or a bi-encoder's cosines or the like, instead of probabilities")
CANDIDATES = listing({"anyOf": [{"type": ["string", "null"]}, ref("KeptDocument")]},
                     "the candidates; null stands for an empty one")
ID = {"type": "string", "minLength": 1, "maxLength": 256, "description": "at most 256 bytes, no NUL"}
COMMON = {"model": MODEL, "query": QUERY, "documents": DOCUMENTS}
EXAMPLE_TEXTS = ["Bees fan nectar with their wings until it thickens.", "A hive is a box."]
EXAMPLE = {"query": "how do bees make honey", "documents": EXAMPLE_TEXTS}
SIDE = {"anyOf": [TEXT, listing(TEXT)]}
SCORE_OPTIONS = {"model": MODEL, **TRUNCATION, "use_activation": flag("false: raw scores"),
                 "truncate_prompt_tokens": nullable("integer", "tokens of a pair at most; -1: the model's",
                                                    minimum=-1, maximum=LARGEST, **{"not": {"const": 0}}),
                 "max_tokens_per_doc": count("tokens of a document at most; 0: no bound")}

REQUESTS = {
    "TextsRequest": body(["query", "texts"], {
        "query": QUERY,
        "texts": CANDIDATES,
        "truncate": TRUNCATE, "raw_scores": RAW_SCORES,
        "return_text": flag("tell each result's text"), **TRUNCATION,
    }, {"query": "how do bees make honey", "texts": EXAMPLE_TEXTS}),
    "RawTextsRequest": body(["query", "texts"], {
        "model": MODEL, "query": QUERY, "top_n": TOP_N,
        "texts": CANDIDATES,
        "return_text": flag("tell each result's text"), **TRUNCATION,
    }, {"query": "how do bees make honey", "texts": EXAMPLE_TEXTS}),
    "PredictRequest": body(["inputs"], {
        "inputs": {"description": "a text alone, a pair, or a list of such",
                   "anyOf": [TEXT, listing(TEXT, most=2), listing(listing(TEXT, most=2))]},
        "truncate": TRUNCATE, "raw_scores": RAW_SCORES, **TRUNCATION,
    }, {"inputs": [["how do bees make honey", EXAMPLE_TEXTS[0]]]}),
    "DocumentsRequest": body(["query", "documents"], {
        **COMMON, "top_n": TOP_N, "return_documents": RETURN_DOCUMENTS, **TRUNCATION}, EXAMPLE),
    "RawDocumentsRequest": body(["query", "documents"], {**COMMON, "top_n": TOP_N, **TRUNCATION}, EXAMPLE),
    "InfinityRequest": body(["query", "documents"], {
        **COMMON, "top_n": TOP_N, "return_documents": RETURN_DOCUMENTS, "raw_scores": RAW_SCORES,
        **TRUNCATION}, EXAMPLE),
    "CohereV1Request": body(["query", "documents"], {
        **COMMON, "top_n": TOP_N, "return_documents": RETURN_DOCUMENTS,
        "rank_fields": {"type": ["array", "null"], "items": TEXT, "maxItems": 100,
                        "description": "members of a document that make up its text, each once, joined by line feeds"},
        "max_chunks_per_doc": count("accepted; a document is scored as one chunk", 1),
        **TRUNCATION}, {**EXAMPLE, "rank_fields": ["text"]}),
    "CohereV2Request": body(["query", "documents"], {
        **COMMON, "top_n": TOP_N, "max_tokens_per_doc": count("tokens of a document at most; 0: no bound"),
        **TRUNCATION}, EXAMPLE),
    "VllmRequest": body(["query", "documents"], {
        **COMMON, "top_n": TOP_N, "return_documents": flag("false: results without their documents"),
        **SCORE_OPTIONS}, {**EXAMPLE, "use_activation": False}),
    "VoyageRequest": body(["query", "documents"], {
        **COMMON, "top_k": count("results wanted; 0 or null: all"), "return_documents": RETURN_DOCUMENTS,
        "truncation": flag("false: refuse what is too long"), **TRUNCATION}, {**EXAMPLE, "top_k": 1}),
    "ScoreRequest": {"anyOf": [
        body(["text_1", "text_2"], {
            "text_1": described(SIDE, "one text, or as many as text_2 has"), "text_2": SIDE, **SCORE_OPTIONS,
        }, {"text_1": "how do bees make honey", "text_2": EXAMPLE_TEXTS}),
        body(["queries", "documents"], {
            "queries": described(SIDE, "one text, or as many as documents has"), "documents": SIDE,
            **SCORE_OPTIONS,
        }, {"queries": "how do bees make honey", "documents": EXAMPLE_TEXTS})]},
    "Document": {"anyOf": [TEXT, {
        "type": "object", "required": ["text"], "properties": {"text": TEXT}}, ref("KeptDocument")]},
    "KeptDocument": {"type": "object", "required": ["id"], "properties": {"id": ID}, "not": {"required": ["text"]},
                     "description": "a document that POST /documents has kept, by its name; only where the server keeps "
                                    "documents, and it is still there"},
    "KeepRequest": body(["documents"], {
        "model": MODEL,
        "documents": listing({"anyOf": [TEXT, {"type": "object", "required": ["text"], "properties": {
            "id": {"anyOf": [ID, {"type": "null"}], "description": "its name, another for each; without one its hash"},
            "text": TEXT}}]}, "to be computed ahead and kept"),
        "truncate": flag("shorten what is too long; null: as the server is set"),
        "max_tokens_per_doc": count("tokens of a document at most; 0: no bound"), **TRUNCATION,
    }, {"documents": [{"id": "nectar", "text": EXAMPLE_TEXTS[0]}, EXAMPLE_TEXTS[1]]}),
}

# --- answers ---

INDEX = described(COUNT, "into the candidates of the request")
RESULT_TAIL = {"tokens": described(COUNT, "that the document has"),
               "truncated": {"const": True, "description": "where some were cut off"},
               "unscored": {"const": True, "description": "where the time ended first: the score is 0 or the lowest"}}
UNSCORED = described(COUNT, "results without a score, where the time ended first")
USAGE = answer({"prompt_tokens": COUNT, "total_tokens": COUNT})
UNIT = {"type": "number", "minimum": 0, "maximum": 1}
META = answer({"api_version": answer({"version": TEXT}), "billed_units": answer({"search_units": COUNT}),
               "tokens": answer({"input_tokens": COUNT})})
OBJECT_DOCUMENT = {"type": "object", "description": "the object that was sent, or its text"}


def result(score, document=None):
    shown = {} if document is None else {"document": document}
    return answer({"index": INDEX, "relevance_score": score, **shown, **RESULT_TAIL},
                  ("document", "truncated", "unscored"))


def scores(properties):
    return answer({**properties, "unscored": UNSCORED}, ("unscored",))


def results(score, document=None):
    return {"type": "array", "items": result(score, document)}


RANKED_TEXTS = {"type": "array", "items": answer({"index": INDEX, "text": TEXT, "score": NUMBER}, ("text",))}
PREDICTION = {"type": "array", "items": answer({"score": NUMBER, "label": TEXT})}

ANSWERS = {
    "RankedTexts": RANKED_TEXTS,
    "Predictions": {"anyOf": [PREDICTION, {"type": "array", "items": PREDICTION}]},
    "JinaAnswer": scores({"id": TEXT, "model": TEXT, "results": results(UNIT, OBJECT_DOCUMENT),
                          "usage": USAGE, "meta": META}),
    "CohereAnswer": scores({"id": TEXT, "results": results(UNIT, OBJECT_DOCUMENT), "meta": META}),
    "VllmAnswer": scores({"id": TEXT, "model": TEXT, "results": results(NUMBER, OBJECT_DOCUMENT),
                          "usage": USAGE}),
    "InfinityAnswer": scores({"id": TEXT, "object": {"const": "rerank"}, "created": COUNT, "model": TEXT,
                              "results": results(NUMBER, TEXT), "usage": USAGE}),
    "VoyageAnswer": scores({"object": {"const": "list"}, "model": TEXT, "data": results(UNIT, TEXT),
                            "usage": answer({"total_tokens": COUNT})}),
    "LlamacppAnswer": scores({"object": {"const": "list"}, "model": TEXT, "results": results(NUMBER),
                              "usage": USAGE}),
    "ScoreAnswer": scores({"id": TEXT, "object": {"const": "list"}, "created": COUNT, "model": TEXT,
                           "data": {"type": "array", "items": answer(
                               {"index": INDEX, "object": {"const": "score"}, "score": NUMBER, **RESULT_TAIL},
                               ("truncated", "unscored"))},
                           "usage": USAGE}),
    "KeepAnswer": answer({"object": {"const": "list"}, "model": TEXT, "documents": {"type": "array", "items": answer(
        {"id": TEXT, "tokens": described(COUNT, "that the document has"),
         "truncated": {"const": True, "description": "where some were cut off"},
         "cached": {"type": "boolean", "description": "whether it is kept now; false where there was no room"}},
        ("truncated",))},
        "computed": described(COUNT, "documents that were not known before"),
        "usage": answer({"total_tokens": COUNT})}),
    "TerseError": answer({"error": TEXT, "error_type": {"enum": [
        "Empty", "Validation", "Tokenizer", "Backend", "Overloaded", "Unhealthy"]}}),
    "FullError": answer({"message": TEXT, "detail": TEXT, "error": answer({
        "message": TEXT, "type": TEXT, "param": {"type": ["string", "null"]}, "code": {"type": "integer"}})}),
    "ListedError": answer({"message": TEXT, "detail": {"type": "array", "items": answer({
        "loc": {"type": "array", "items": TEXT}, "msg": TEXT, "type": TEXT})}, "error": answer({
            "message": TEXT, "type": TEXT, "param": {"type": ["string", "null"]},
            "code": {"const": 422}})}),
    "Info": answer({
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
        "sha": {"type": "null"}, "docker_label": {"type": "null"}}, optional=("split_layers",)),
    "Models": answer({"object": {"const": "list"}, "data": {"type": "array", "items": answer({
        "id": TEXT, "object": {"const": "model"}, "created": COUNT, "owned_by": TEXT, "root": TEXT,
        "max_model_len": COUNT, "capabilities": {"type": "array", "items": TEXT}})}}),
}

# --- paths ---

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


def scoring(path, summary, requests, answers, errors=("FullError",)):
    return {path: {"post": {
        "operationId": "post_" + (path.strip("/").replace("/", "_") or "root"),
        "summary": summary, "tags": ["scores"], "security": [{}, {"key": []}], "parameters": PARAMETERS,
        "requestBody": {"required": True, "content": content(schemas(requests))},
        "responses": {"200": {"description": "scores", "content": content(schemas(answers)),
                              "headers": HEADERS},
                      **failures(errors, WHY)}}}}


def page(path, summary, schema=None, kind="application/json", key=False, can_fail=False, errors="TerseError"):
    found = {"description": summary}
    if schema is not None:
        found["content"] = {kind: {"schema": schema}}
    statuses = ([401] if key else []) + ([503] if can_fail else [])
    return {path: {"get": {"operationId": "get_" + (path.strip("/").replace("/", "_") or "root"),
                           "summary": summary, "tags": ["server"],
                           **({"security": [{}, {"key": []}]} if key else {}),
                           "responses": {"200": found, **failures((errors,), statuses)}}}}


TERSE = ("TerseError",)
PAGES = [
    page("/health", "200 once the model has run", can_fail=True),
    page("/ping", "as /health", can_fail=True),
    page("/ready", "200 while requests should come here: the model has run, and the server is not stopping",
         can_fail=True),
    page("/live", "200 from the first moment to the last"),
    page("/", "as /health", can_fail=True),
    page("/info", "the model and the limits", ref("Info"), key=True, can_fail=True),
    page("/models", "the model in a list of one", ref("Models"), key=True, can_fail=True),
    page("/v1/models", "as /models", ref("Models"), key=True, can_fail=True, errors="FullError"),
    page("/metrics", "Prometheus text", TEXT, kind="text/plain", can_fail=True),
    page("/openapi.json", "this document", {"type": "object"}),
    page("/docs", "this document for people", TEXT, kind="text/html"),
]
SCORES = [
    scoring("/rerank", "Ranks `texts` (an array comes back) or `documents` (an object with results). With "
                       "documents, top_k or truncation ask for `data`; truncate_prompt_tokens, "
                       "max_tokens_per_doc, use_activation or priority for results with their documents.",
            ("TextsRequest", "InfinityRequest", "VllmRequest", "VoyageRequest"),
            ("RankedTexts", "InfinityAnswer", "VllmAnswer", "VoyageAnswer"), ("TerseError", "FullError", "ListedError")),
    scoring("/", "Ranks texts.", ("TextsRequest",), ("RankedTexts",), TERSE),
    scoring("/predict", "Scores pairs, or texts alone, in the order in which they come.",
            ("PredictRequest",), ("Predictions",), TERSE),
    scoring("/v1/rerank", "Ranks documents; the members of the body pick the form of the answer.",
            ("DocumentsRequest", "CohereV1Request", "VllmRequest", "InfinityRequest", "VoyageRequest",
             "TextsRequest"),
            ("JinaAnswer", "CohereAnswer", "VllmAnswer", "InfinityAnswer", "VoyageAnswer", "RankedTexts"),
            ("FullError", "ListedError")),
    scoring("/v2/rerank", "Ranks documents.", ("CohereV2Request", "VllmRequest", "TextsRequest"),
            ("CohereAnswer", "VllmAnswer", "RankedTexts")),
    scoring("/reranking", "Ranks documents or texts by raw scores.",
            ("RawDocumentsRequest", "RawTextsRequest"), ("LlamacppAnswer", "RankedTexts")),
    scoring("/v1/reranking", "As /reranking.", ("RawDocumentsRequest", "RawTextsRequest"),
            ("LlamacppAnswer", "RankedTexts")),
    scoring("/documents", "Computes documents ahead and keeps them, under names that later requests may give in place of "
                          "texts. Of bi-encoders and split layers.", ("KeepRequest",), ("KeepAnswer",)),
    scoring("/score", "Scores one text with each of many, or pairs, in the order in which they come.",
            ("ScoreRequest",), ("ScoreAnswer",)),
    scoring("/v1/score", "As /score.", ("ScoreRequest",), ("ScoreAnswer",)),
]


def document(version):
    paths = {}
    for entry in SCORES + PAGES:
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
        "components": {"schemas": {**REQUESTS, **ANSWERS},
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
    parser.add_argument("output", metavar="OUTPUT.c", nargs="?")
    parser.add_argument("--print", action="store_true")
    arguments = parser.parse_args()
    if arguments.print == bool(arguments.output):
        parser.error("either OUTPUT.c or --print")
    made = document(arguments.version)
    if arguments.print:
        print(json.dumps(made, indent=1))
        return
    page_text = openapi_page.render(made)
    with open(arguments.output, "w", encoding="ascii") as out:
        out.write('#include "proto/api_pages.h"\n\n')
        out.write(c_array("rr_openapi_page", json.dumps(made, separators=(",", ":"))))
        out.write(c_array("rr_docs_page", page_text))


if __name__ == "__main__":
    main()
