"""llama.cpp's server in the OpenAPI document: see ../openapi_parts.py."""

from openapi_parts import (
    CANDIDATES, COMMON, EXAMPLE, EXAMPLE_TEXTS, MODEL, NUMBER, Path, QUERY, Spoken, TEXT, TOP_N,
    TRUNCATION, USAGE, body, flag, results, scores)

REQUESTS = {
    "RawTextsRequest": (20, body(["query", "texts"], {
        "model": MODEL, "query": QUERY, "top_n": TOP_N,
        "texts": CANDIDATES,
        "return_text": flag("tell each result's text"), **TRUNCATION,
    }, {"query": "how do bees make honey", "texts": EXAMPLE_TEXTS})),
    "RawDocumentsRequest": (50, body(["query", "documents"], {**COMMON, "top_n": TOP_N, **TRUNCATION}, EXAMPLE)),
}
ANSWERS = {
    "LlamacppAnswer": (80, scores({"object": {"const": "list"}, "model": TEXT, "results": results(NUMBER),
                              "usage": USAGE})),
}
SPOKEN = [
    Spoken("/reranking", 10, "RawDocumentsRequest", "LlamacppAnswer"),
    Spoken("/reranking", 20, "RawTextsRequest", "RankedTexts"),
    Spoken("/v1/reranking", 10, "RawDocumentsRequest", "LlamacppAnswer"),
    Spoken("/v1/reranking", 20, "RawTextsRequest", "RankedTexts"),
]
PATHS = [
    Path("/reranking", 60, "Ranks documents or texts by raw scores."),
    Path("/v1/reranking", 70, "As /reranking."),
]
