"""What the parts of the OpenAPI document are made of: one part a dialect, dialects/NAME.py, which openapi.py collects.

A part has REQUESTS and ANSWERS, {name: (place, schema)}; SPOKEN, a Spoken for each path of dialects/NAME.c and each of
its dialects there; and PATHS, a Path for each path of which it takes the rest. A place is a number: the document has
everything in the order of these, not in that of the dialects.
"""

import typing

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


# --- what requests have in common ---

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

# --- what answers have in common ---

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


# --- where a dialect is spoken ---

TERSE, FULL, LISTED = "TerseError", "FullError", "ListedError"


class Spoken(typing.NamedTuple):
    path: str
    place: int  # among the requests and answers of the path
    request: str
    answer: str
    errors: str = FULL
    asks: str = ""  # for the summary of a path that has {asks}: what asks for this dialect


class Path(typing.NamedTuple):
    path: str
    place: int
    summary: str  # {asks}: what asks for the others there, the one that is asked first before the others
