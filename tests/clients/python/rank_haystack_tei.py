"""Haystack's HuggingFaceTEIRanker: a RuntimeError tells status and answer."""

import asyncio
import sys

from haystack import Document
from haystack.utils import Secret
from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker
from haystack_integrations.components.rankers.huggingface_api.ranker import TruncationDirection

from support import EXAMPLES, FIRST, KEY, TOO_MANY, WRONG_KEY, case, main, raises


def ranker(example=FIRST, key=KEY, **options):
    return HuggingFaceTEIRanker(url=example.url, token=Secret.from_token(key), top_k=100, **options)


def documents(texts):
    return [Document(id=str(i), content=text) for i, text in enumerate(texts)]


def pairs(result):
    return [(int(document.id), document.score) for document in result["documents"]]


@case
def ranks():
    for example in EXAMPLES:
        result = ranker(example).run(query=example.query, documents=documents(example.documents))
        example.check(pairs(result))


@case
def ranks_asynchronously():
    for example in EXAMPLES:
        result = asyncio.run(ranker(example).run_async(query=example.query,
                                                       documents=documents(example.documents)))
        example.check(pairs(result))


@case
def takes_the_best_with_a_truncation_direction():
    for example in EXAMPLES:
        for direction in TruncationDirection:
            result = ranker(example).run(query=example.query, documents=documents(example.documents),
                                         top_k=2, truncation_direction=direction)
            example.check(pairs(result), top_n=2)


@case
def ranks_a_document_without_content():
    for example in EXAMPLES:
        result = ranker(example).run(query=example.query, documents=documents([*example.documents, None]))
        assert sorted(index for index, _ in pairs(result)) == list(range(len(example.documents) + 1))


@case
def gives_raw_scores():
    plain = pairs(ranker().run(query=FIRST.query, documents=documents(FIRST.documents)))
    raw = pairs(ranker(raw_scores=True).run(query=FIRST.query, documents=documents(FIRST.documents)))
    assert [index for index, _ in raw] == [index for index, _ in plain], (raw, plain)
    assert all(score < 0 for _, score in raw), raw  # the first example's logits


@case
def is_refused_with_a_wrong_key():
    with raises(RuntimeError, "401", "key"):
        ranker(key=WRONG_KEY).run(query="q", documents=documents(["d"]))


@case
def tells_that_there_are_too_many_documents():
    with raises(RuntimeError, "422", "batch size"):
        ranker().run(query="q", documents=documents(TOO_MANY))


@case
def tells_of_wrong_types():
    with raises(RuntimeError, "422", "query"):
        ranker().run(query=7, documents=documents(["d"]))


if __name__ == "__main__":
    sys.exit(main())
