"""cohere's Client: the first API, with documents that may be objects."""

import sys

import cohere
from cohere.errors import BadRequestError, UnauthorizedError, UnprocessableEntityError

from support import EXAMPLES, FIRST, KEY, MODEL, TOO_MANY, WRONG_KEY, case, main, raises


def client(example=FIRST, key=KEY):
    return cohere.Client(api_key=key, base_url=example.url)


def pairs(response):
    return [(result.index, result.relevance_score) for result in response.results]


@case
def ranks():
    for example in EXAMPLES:
        response = client(example).rerank(model=MODEL, query=example.query, documents=example.documents)
        example.check(pairs(response))
        assert response.id and response.meta.api_version.version == "1", response
        assert response.meta.billed_units.search_units == 1, response


@case
def gives_the_documents_of_the_best_back():
    for example in EXAMPLES:
        response = client(example).rerank(model=MODEL, query=example.query, documents=example.documents,
                                          top_n=2, return_documents=True)
        example.check(pairs(response), top_n=2)
        for result in response.results:
            assert result.document.text == example.documents[result.index], response


@case
def ranks_objects_by_their_fields():
    for example in EXAMPLES:
        documents = [{"title": str(i), "body": text} for i, text in enumerate(example.documents)]
        response = client(example).rerank(model=MODEL, query=example.query, documents=documents,
                                          rank_fields=["body"])
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
        client().rerank(model=MODEL, query="q", documents=["d", 7])
    with raises(UnprocessableEntityError, "query"):
        client().rerank(model=MODEL, query=7, documents=["d"])
    with raises(UnprocessableEntityError, "top_n"):
        client().rerank(model=MODEL, query="q", documents=["d"], top_n="two")


if __name__ == "__main__":
    sys.exit(main())
