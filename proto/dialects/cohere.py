"""Cohere's API in the OpenAPI document: see ../openapi_parts.py."""

from openapi_parts import (
    COMMON, EXAMPLE, META, OBJECT_DOCUMENT, Path, RETURN_DOCUMENTS, Spoken, TEXT, TOP_N,
    TRUNCATION, UNIT, body, count, results, scores)

REQUESTS = {
    "CohereV1Request": (70, body(["query", "documents"], {
        **COMMON, "top_n": TOP_N, "return_documents": RETURN_DOCUMENTS,
        "rank_fields": {"type": ["array", "null"], "items": TEXT, "maxItems": 100,
                        "description": "members of a document that make up its text, each once, joined by line feeds"},
        "max_chunks_per_doc": count("accepted; a document is scored as one chunk", 1),
        **TRUNCATION}, {**EXAMPLE, "rank_fields": ["text"]})),
    "CohereV2Request": (80, body(["query", "documents"], {
        **COMMON, "top_n": TOP_N, "max_tokens_per_doc": count("tokens of a document at most; 0: no bound"),
        **TRUNCATION}, EXAMPLE)),
}
ANSWERS = {
    "CohereAnswer": (40, scores({"id": TEXT, "results": results(UNIT, OBJECT_DOCUMENT), "meta": META})),
}
SPOKEN = [
    Spoken("/v1/rerank", 20, "CohereV1Request", "CohereAnswer"),
    Spoken("/v2/rerank", 10, "CohereV2Request", "CohereAnswer"),
]
PATHS = [
    Path("/v2/rerank", 50, "Ranks documents."),
]
