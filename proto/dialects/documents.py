"""POST /documents in the OpenAPI document: see ../openapi_parts.py."""

from openapi_parts import (
    COUNT, EXAMPLE_TEXTS, ID, MODEL, Path, Spoken, TEXT, TRUNCATION, answer, body, count,
    described, flag, listing)

REQUESTS = {
    "KeepRequest": (140, body(["documents"], {
        "model": MODEL,
        "documents": listing({"anyOf": [TEXT, {"type": "object", "required": ["text"], "properties": {
            "id": {"anyOf": [ID, {"type": "null"}], "description": "its name, another for each; without one its hash"},
            "text": TEXT}}]}, "to be computed ahead and kept"),
        "truncate": flag("shorten what is too long; null: as the server is set"),
        "max_tokens_per_doc": count("tokens of a document at most; 0: no bound"), **TRUNCATION,
    }, {"documents": [{"id": "nectar", "text": EXAMPLE_TEXTS[0]}, EXAMPLE_TEXTS[1]]})),
}
ANSWERS = {
    "KeepAnswer": (100, answer({"object": {"const": "list"}, "model": TEXT, "documents": {"type": "array", "items": answer(
        {"id": TEXT, "tokens": described(COUNT, "that the document has"),
         "truncated": {"const": True, "description": "where some were cut off"},
         "cached": {"type": "boolean", "description": "whether it is kept now; false where there was no room"}},
        ("truncated",))},
        "computed": described(COUNT, "documents that were not known before"),
        "usage": answer({"total_tokens": COUNT})})),
}
SPOKEN = [
    Spoken("/documents", 10, "KeepRequest", "KeepAnswer"),
]
PATHS = [
    Path("/documents", 80, "Computes documents ahead and keeps them, under names that later requests may give in place of "
                         "texts. Of bi-encoders and split layers."),
]
