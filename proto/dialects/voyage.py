"""Voyage's API in the OpenAPI document: see ../openapi_parts.py."""

from openapi_parts import (
    COMMON, COUNT, EXAMPLE, RETURN_DOCUMENTS, Spoken, TEXT, TRUNCATION, UNIT, answer, body,
    count, flag, results, scores)

REQUESTS = {
    "VoyageRequest": (100, body(["query", "documents"], {
        **COMMON, "top_k": count("results wanted; 0 or null: all"), "return_documents": RETURN_DOCUMENTS,
        "truncation": flag("false: refuse what is too long"), **TRUNCATION}, {**EXAMPLE, "top_k": 1})),
}
ANSWERS = {
    "VoyageAnswer": (70, scores({"object": {"const": "list"}, "model": TEXT, "data": results(UNIT, TEXT),
                            "usage": answer({"total_tokens": COUNT})})),
}
SPOKEN = [
    Spoken("/rerank", 40, "VoyageRequest", "VoyageAnswer", asks="top_k or truncation ask for `data`"),
    Spoken("/v1/rerank", 50, "VoyageRequest", "VoyageAnswer"),
]
PATHS = []
