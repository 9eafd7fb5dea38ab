"""infinity's server in the OpenAPI document: see ../openapi_parts.py."""

from openapi_parts import (
    COMMON, COUNT, EXAMPLE, LISTED, NUMBER, RAW_SCORES, RETURN_DOCUMENTS, Spoken, TEXT, TOP_N,
    TRUNCATION, USAGE, body, results, scores)

REQUESTS = {
    "InfinityRequest": (60, body(["query", "documents"], {
        **COMMON, "top_n": TOP_N, "return_documents": RETURN_DOCUMENTS, "raw_scores": RAW_SCORES,
        **TRUNCATION}, EXAMPLE)),
}
ANSWERS = {
    "InfinityAnswer": (60, scores({"id": TEXT, "object": {"const": "rerank"}, "created": COUNT, "model": TEXT,
                              "results": results(NUMBER, TEXT), "usage": USAGE})),
}
SPOKEN = [
    Spoken("/rerank", 20, "InfinityRequest", "InfinityAnswer", LISTED),
    Spoken("/v1/rerank", 40, "InfinityRequest", "InfinityAnswer", LISTED),
]
PATHS = []
