"""cohere's ClientV2, and its asynchronous sister."""

import asyncio
import sys

import cohere
from cohere.errors import BadRequestError, UnauthorizedError, UnprocessableEntityError

from support import EXAMPLES, FIRST, KEY, MODEL, TOO_MANY, WRONG_KEY, case, main, raises


def client(example=FIRST, key=KEY):
    return cohere.ClientV2(api_key=key, base_url=example.url)


def pairs(response):
    return [(result.index, result.relevance_score) for result in response.results]


@case
def ranks():
    for example in EXAMPLES:
        response = client(example).rerank(model=MODEL, query=example.query, documents=example.documents)
        example.check(pairs(response))
        assert response.id and response.meta.billed_units.search_units == 1, response


@case
def ranks_asynchronously():
    async def rank(example):
        async with cohere.AsyncClientV2(api_key=KEY, base_url=example.url) as co:
            return await co.rerank(model=MODEL, query=example.query, documents=example.documents)

    for example in EXAMPLES:
        example.check(pairs(asyncio.run(rank(example))))


@case
def takes_the_best_and_nulls():
    for example in EXAMPLES:
        response = client(example).rerank(model=MODEL, query=example.query, documents=example.documents,
                                          top_n=3, max_tokens_per_doc=4096)
        example.check(pairs(response), top_n=3)
        response = client(example).rerank(model=MODEL, query=example.query, documents=example.documents,
                                          top_n=None, max_tokens_per_doc=None)
        example.check(pairs(response))


@case
def is_refused_with_a_wrong_key():
    with raises(UnauthorizedError, "key"):
        client(key=WRONG_KEY).rerank(model=MODEL, query="q", documents=["d"])


@case
def tells_that_there_are_no_documents():
    with raises(BadRequestError, "documents"):
        client().rerank(model=MODEL, query="q", documents=[])


@case
def tells_that_there_are_too_many_documents():
    with raises(UnprocessableEntityError, "documents"):
        client().rerank(model=MODEL, query="q", documents=TOO_MANY)


@case
def tells_of_wrong_types():
    with raises(UnprocessableEntityError, "documents"):
        client().rerank(model=MODEL, query="q", documents=["d", None])
    with raises(UnprocessableEntityError, "query"):
        client().rerank(model=MODEL, query=["q"], documents=["d"])
    with raises(UnprocessableEntityError, "max_tokens_per_doc"):
        client().rerank(model=MODEL, query="q", documents=["d"], max_tokens_per_doc=-1)


if __name__ == "__main__":
    sys.exit(main())
