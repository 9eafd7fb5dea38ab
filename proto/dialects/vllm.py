"""vLLM's server in the OpenAPI document: see ../openapi_parts.py."""

from openapi_parts import (
    COMMON, COUNT, EXAMPLE, EXAMPLE_TEXTS, INDEX, LARGEST, MODEL, NUMBER, OBJECT_DOCUMENT, Path,
    RESULT_TAIL, Spoken, TEXT, TOP_N, TRUNCATION, USAGE, answer, body, count, described, flag,
    listing, nullable, results, scores)

SIDE = {"anyOf": [TEXT, listing(TEXT)]}
SCORE_OPTIONS = {"model": MODEL, **TRUNCATION, "use_activation": flag("false: raw scores"),
                 "truncate_prompt_tokens": nullable("integer", "tokens of a pair at most; -1: the model's",
                                                    minimum=-1, maximum=LARGEST, **{"not": {"const": 0}}),
                 "max_tokens_per_doc": count("tokens of a document at most; 0: no bound")}

REQUESTS = {
    "VllmRequest": (90, body(["query", "documents"], {
        **COMMON, "top_n": TOP_N, "return_documents": flag("false: results without their documents"),
        **SCORE_OPTIONS}, {**EXAMPLE, "use_activation": False})),
    "ScoreRequest": (110, {"anyOf": [
        body(["text_1", "text_2"], {
            "text_1": described(SIDE, "one text, or as many as text_2 has"), "text_2": SIDE, **SCORE_OPTIONS,
        }, {"text_1": "how do bees make honey", "text_2": EXAMPLE_TEXTS}),
        body(["queries", "documents"], {
            "queries": described(SIDE, "one text, or as many as documents has"), "documents": SIDE,
            **SCORE_OPTIONS,
        }, {"queries": "how do bees make honey", "documents": EXAMPLE_TEXTS})]}),
}
ANSWERS = {
    "VllmAnswer": (50, scores({"id": TEXT, "model": TEXT, "results": results(NUMBER, OBJECT_DOCUMENT),
                          "usage": USAGE})),
    "ScoreAnswer": (90, scores({"id": TEXT, "object": {"const": "list"}, "created": COUNT, "model": TEXT,
                           "data": {"type": "array", "items": answer(
                               {"index": INDEX, "object": {"const": "score"}, "score": NUMBER, **RESULT_TAIL},
                               ("truncated", "unscored"))},
                           "usage": USAGE})),
}
SPOKEN = [
    Spoken("/rerank", 30, "VllmRequest", "VllmAnswer",
           asks="truncate_prompt_tokens, max_tokens_per_doc, use_activation or priority for results with their documents"),
    Spoken("/v1/rerank", 30, "VllmRequest", "VllmAnswer"),
    Spoken("/v2/rerank", 20, "VllmRequest", "VllmAnswer"),
    Spoken("/score", 10, "ScoreRequest", "ScoreAnswer"),
    Spoken("/v1/score", 10, "ScoreRequest", "ScoreAnswer"),
]
PATHS = [
    Path("/score", 90, "Scores one text with each of many, or pairs, in the order in which they come."),
    Path("/v1/score", 100, "As /score."),
]
