"""Jina's API in the OpenAPI document: see ../openapi_parts.py."""

from openapi_parts import (
    COMMON, EXAMPLE, META, OBJECT_DOCUMENT, Path, RETURN_DOCUMENTS, Spoken, TEXT, TOP_N,
    TRUNCATION, UNIT, USAGE, body, results, scores)

REQUESTS = {
    "DocumentsRequest": (40, body(["query", "documents"], {
        **COMMON, "top_n": TOP_N, "return_documents": RETURN_DOCUMENTS, **TRUNCATION}, EXAMPLE)),
}
ANSWERS = {
    "JinaAnswer": (30, scores({"id": TEXT, "model": TEXT, "results": results(UNIT, OBJECT_DOCUMENT),
                          "usage": USAGE, "meta": META})),
}
SPOKEN = [
    Spoken("/v1/rerank", 10, "DocumentsRequest", "JinaAnswer"),
]
PATHS = [
    Path("/v1/rerank", 40, "Ranks documents; the members of the body pick the form of the answer."),
]
