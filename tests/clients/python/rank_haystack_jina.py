"""Haystack's JinaRanker: a RuntimeError tells the error's `detail`."""

import sys

from haystack import Document
from haystack.utils import Secret
from haystack_integrations.components.rankers.jina import JinaRanker

from support import EXAMPLES, FIRST, KEY, MODEL, TOO_MANY, WRONG_KEY, case, main, raises


def ranker(example=FIRST, key=KEY):
    return JinaRanker(model=MODEL, api_key=Secret.from_token(key), base_url=example.url + "/v1/rerank")


def documents(texts):
    return [Document(id=str(i), content=text) for i, text in enumerate(texts)]


def pairs(result):
    return [(int(document.id), document.score) for document in result["documents"]]


@case
def ranks():
    for example in EXAMPLES:
        result = ranker(example).run(query=example.query, documents=documents(example.documents))
        example.check(pairs(result))
        assert result["meta"]["usage"]["total_tokens"] > len(example.documents), result["meta"]


@case
def takes_the_best():
    for example in EXAMPLES:
        result = ranker(example).run(query=example.query, documents=documents(example.documents), top_k=2)
        example.check(pairs(result), top_n=2)


@case
def is_refused_with_a_wrong_key():
    with raises(RuntimeError, "key"):
        ranker(key=WRONG_KEY).run(query="q", documents=documents(["d"]))


@case
def tells_that_there_are_too_many_documents():
    with raises(RuntimeError, "batch size"):
        ranker().run(query="q", documents=documents(TOO_MANY))


@case
def tells_of_wrong_types():
    with raises(RuntimeError, "query"):
        ranker().run(query=7, documents=documents(["d"]))


if __name__ == "__main__":
    sys.exit(main())
