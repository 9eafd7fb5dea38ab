"""LangChain's InfinityRerank, and infinity_client by which it speaks. The ranker takes a 422 for
results and fails with a KeyError; the client itself tells what was wrong."""

import sys

from infinity_client import Client
from infinity_client.api.default import rerank
from infinity_client.errors import UnexpectedStatus
from infinity_client.models import HTTPValidationError, RerankInput
from langchain_community.document_compressors import InfinityRerank
from langchain_core.documents import Document

from support import EXAMPLES, FIRST, KEY, MODEL, TOO_MANY, WRONG_KEY, case, main, raises


def client(example=FIRST, key=KEY):
    # InfinityRerank takes this class alone, not AuthenticatedClient.
    return Client(base_url=example.url, headers={"Authorization": "Bearer " + key},
                  raise_on_unexpected_status=True)


def compressor(example=FIRST, key=KEY, model=None):
    return InfinityRerank(client=client(example, key), model=model)


@case
def ranks_with_and_without_a_model():
    for example in EXAMPLES:
        for model in (MODEL, None):
            results = compressor(example, model=model).rerank(example.documents, example.query, top_n=None)
            example.check([(result["index"], result["relevance_score"]) for result in results])


@case
def compresses_documents_to_the_best():
    for example in EXAMPLES:
        documents = [Document(page_content=text, metadata={"at": i})
                     for i, text in enumerate(example.documents)]
        best = compressor(example).compress_documents(documents, example.query)
        example.check([(document.metadata["at"], document.metadata["relevance_score"])
                       for document in best], top_n=3)


@case
def gives_the_documents_back():
    for example in EXAMPLES:
        body = RerankInput(query=example.query, documents=example.documents, return_documents=True)
        result = rerank.sync(client=client(example), body=body)
        example.check([(one.index, one.relevance_score) for one in result.results])
        assert all(one.document == example.documents[one.index] for one in result.results), result
        assert result.usage.total_tokens >= result.usage.prompt_tokens > 0, result


@case
def is_refused_with_a_wrong_key():
    with raises(UnexpectedStatus, "401", "key"):
        compressor(key=WRONG_KEY).rerank(["d"], "q")


@case
def tells_that_there_are_too_many_documents():
    answer = rerank.sync(client=client(), body=RerankInput(query="q", documents=TOO_MANY))
    check_validation(answer, "documents", "batch size")
    with raises(KeyError, "0"):
        compressor().rerank(TOO_MANY, "q")


@case
def tells_that_there_are_no_documents():
    with raises(UnexpectedStatus, "400", "documents"):
        rerank.sync(client=client(), body=RerankInput(query="q", documents=[]))


@case
def tells_of_wrong_types():
    for field, body in (("documents", RerankInput(query="q", documents=["d", 7])),
                        ("query", RerankInput(query=7, documents=["d"]))):
        check_validation(rerank.sync(client=client(), body=body), field, field)


def check_validation(answer, field, word):
    assert isinstance(answer, HTTPValidationError), answer
    assert [problem.loc for problem in answer.detail] == [["body", field]], answer
    assert word in answer.detail[0].msg, answer


if __name__ == "__main__":
    sys.exit(main())
