"""text-embeddings-inference in the OpenAPI document: see ../openapi_parts.py."""

from openapi_parts import (
    CANDIDATES, EXAMPLE_TEXTS, NUMBER, Path, QUERY, RAW_SCORES, Spoken, TERSE, TEXT,
    TRUNCATE, TRUNCATION, answer, body, flag, listing)

PREDICTION = {"type": "array", "items": answer({"score": NUMBER, "label": TEXT})}

REQUESTS = {
    "TextsRequest": (10, body(["query", "texts"], {
        "query": QUERY,
        "texts": CANDIDATES,
        "truncate": TRUNCATE, "raw_scores": RAW_SCORES,
        "return_text": flag("tell each result's text"), **TRUNCATION,
    }, {"query": "how do bees make honey", "texts": EXAMPLE_TEXTS})),
    "PredictRequest": (30, body(["inputs"], {
        "inputs": {"description": "a text alone, a pair, or a list of such",
                   "anyOf": [TEXT, listing(TEXT, most=2), listing(listing(TEXT, most=2))]},
        "truncate": TRUNCATE, "raw_scores": RAW_SCORES, **TRUNCATION,
    }, {"inputs": [["how do bees make honey", EXAMPLE_TEXTS[0]]]})),
}
ANSWERS = {
    "Predictions": (20, {"anyOf": [PREDICTION, {"type": "array", "items": PREDICTION}]}),
}
SPOKEN = [
    Spoken("/rerank", 10, "TextsRequest", "RankedTexts", TERSE),
    Spoken("/", 10, "TextsRequest", "RankedTexts", TERSE),
    Spoken("/predict", 10, "PredictRequest", "Predictions", TERSE),
    Spoken("/v1/rerank", 60, "TextsRequest", "RankedTexts", TERSE),
    Spoken("/v2/rerank", 30, "TextsRequest", "RankedTexts", TERSE),
]
PATHS = [
    Path("/rerank", 10, "Ranks `texts` (an array comes back) or `documents` (an object with results). With documents, "
                        "{asks}."),
    Path("/", 20, "Ranks texts."),
    Path("/predict", 30, "Scores pairs, or texts alone, in the order in which they come."),
]
