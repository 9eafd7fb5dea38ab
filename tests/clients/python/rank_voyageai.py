"""voyageai's Client (requests) and AsyncClient (aiohttp)."""

import asyncio
import sys

import voyageai
from voyageai.error import AuthenticationError, InvalidRequestError, MalformedRequestError

from support import EXAMPLES, FIRST, KEY, MODEL, TOO_MANY, WRONG_KEY, case, main, raises


def client(example=FIRST, key=KEY, kind=voyageai.Client):
    return kind(api_key=key, base_url=example.url + "/v1")


def check(example, reranking, top_k=None):
    example.check([(result.index, result.relevance_score) for result in reranking.results], top_n=top_k)
    for result in reranking.results:
        assert result.document == example.documents[result.index], reranking
    assert reranking.total_tokens > len(example.documents), reranking.total_tokens


@case
def ranks():
    for example in EXAMPLES:
        check(example, client(example).rerank(example.query, example.documents, model=MODEL))


@case
def ranks_asynchronously():
    for example in EXAMPLES:
        vo = client(example, kind=voyageai.AsyncClient)
        check(example, asyncio.run(vo.rerank(example.query, example.documents, model=MODEL)))


@case
def takes_the_best():
    for example in EXAMPLES:
        reranking = client(example).rerank(example.query, example.documents, model=MODEL, top_k=2)
        check(example, reranking, top_k=2)


@case
def is_refused_with_a_wrong_key():
    with raises(AuthenticationError, "key"):
        client(key=WRONG_KEY).rerank("q", ["d"], model=MODEL)


@case
def tells_that_there_are_no_documents():
    with raises(InvalidRequestError, "documents"):
        client().rerank("q", [], model=MODEL)


@case
def tells_that_there_are_too_many_documents():
    with raises(MalformedRequestError, "batch size"):
        client().rerank("q", TOO_MANY, model=MODEL)


@case
def tells_what_is_too_long_where_nothing_may_be_cut():
    with raises(MalformedRequestError, "tokens"):
        client().rerank("q", ["word " * 2000], model=MODEL, truncation=False)


@case
def tells_of_wrong_types():
    with raises(MalformedRequestError, "documents"):
        client().rerank("q", ["d", 7], model=MODEL)
    with raises(MalformedRequestError, "query"):
        client().rerank(None, ["d"], model=MODEL)
    with raises(MalformedRequestError, "top_k"):
        client().rerank("q", ["d"], model=MODEL, top_k="two")


if __name__ == "__main__":
    sys.exit(main())
