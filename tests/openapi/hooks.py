"""Leaves out what no schema can judge.

Bodies whose unknown members the document cannot describe: schemas bound the members that they name. The server refuses integers beyond 64 bits and names with a NUL wherever they stand, as malformed; the
tests of malformed bodies hold it to that.

Documents by name: whether they are kept no schema can tell.

Requests that give little time: whether they are done by then no schema can tell. Headers that nobody knows: they are
passed over, as HTTP has it.

Bodies whose query may not fit beside a text into the tokens there are: how many it has only a tokenizer
knows; the end-to-end tests hold the server to an error that says so.
"""

import schemathesis

SMALLEST, LARGEST = -2**63, 2**63 - 1
PATIENCE_MS = 60000
OTHER_HEADER = "unknown-property"
MODEL_TOKENS = 512  # of the model that the tests serve


def readable(value):
    if isinstance(value, dict):
        return all("\0" not in name and readable(member) for name, member in value.items())
    if isinstance(value, list):
        return all(map(readable, value))
    return not isinstance(value, int) or SMALLEST <= value <= LARGEST


def fields_are_texts(body):
    """What rank_fields name is no text: only a body of that API is told so by its schema."""
    names = body.get("rank_fields") if isinstance(body, dict) else None
    documents = body.get("documents") if names else None
    if not isinstance(names, list) or not isinstance(documents, list):
        return True
    return not any(isinstance(document.get(name), (list, dict)) for document in documents if isinstance(document, dict)
                   for name in names if isinstance(name, str))


def is_patient(timeout):
    """What is no number at all is refused, whatever the server is at."""
    try:
        return int(timeout) >= PATIENCE_MS or int(timeout) < 1
    except (TypeError, ValueError, OverflowError):
        return True


def query_fits(body):
    """A token has at least one character; three are special, and the text keeps one."""
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        return True
    tokens = body.get("truncate_prompt_tokens")
    most = tokens if isinstance(tokens, (int, float)) and tokens > 0 else MODEL_TOKENS
    return len(body["query"]) + 4 <= min(most, MODEL_TOKENS)


def names_documents(body):
    lists = [body.get(name) for name in ("texts", "documents")] if isinstance(body, dict) else []
    return any(isinstance(one, dict) and isinstance(one.get("id"), str) and "text" not in one
               for listed in lists if isinstance(listed, list) for one in listed)


@schemathesis.hook
def filter_body(context, body):
    return readable(body) and query_fits(body) and fields_are_texts(body) and not names_documents(body)


@schemathesis.hook
def filter_case(context, case):
    headers, body = case.headers or {}, case.body
    return (not any(OTHER_HEADER in name.lower() for name in headers)
            and is_patient(headers.get("x-request-timeout-ms"))
            and is_patient(body.get("timeout_ms") if isinstance(body, dict) else None))
