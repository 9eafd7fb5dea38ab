"""LangChain's CohereRerank."""

import sys

from cohere.errors import UnauthorizedError, UnprocessableEntityError
from langchain_cohere import CohereRerank
from langchain_core.documents import Document

from support import EXAMPLES, FIRST, KEY, MODEL, TOO_MANY, WRONG_KEY, case, main, raises


def compressor(example=FIRST, key=KEY, top_n=3):
    return CohereRerank(model=MODEL, cohere_api_key=key, base_url=example.url, top_n=top_n)


@case
def ranks():
    for example in EXAMPLES:
        results = compressor(example).rerank(example.documents, example.query, top_n=None)
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
def is_refused_with_a_wrong_key():
    with raises(UnauthorizedError, "key"):
        compressor(key=WRONG_KEY).rerank(["d"], "q")


@case
def tells_that_there_are_too_many_documents():
    with raises(UnprocessableEntityError, "documents"):
        compressor().rerank(TOO_MANY, "q")


@case
def tells_of_wrong_types():
    with raises(UnprocessableEntityError, "documents"):
        compressor().rerank(["d", 7], "q")
    with raises(UnprocessableEntityError, "query"):
        compressor().rerank(["d"], 7)
    with raises(UnprocessableEntityError, "max_tokens_per_doc"):
        compressor().rerank(["d"], "q", max_tokens_per_doc=-1)


if __name__ == "__main__":
    sys.exit(main())
