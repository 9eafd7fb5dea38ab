"""LlamaIndex's CohereRerank."""

import sys

from cohere.errors import UnauthorizedError, UnprocessableEntityError
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.cohere_rerank import CohereRerank

from support import EXAMPLES, FIRST, KEY, MODEL, TOO_MANY, WRONG_KEY, case, main, raises


def rank(example, documents, top_n, key=KEY):
    reranker = CohereRerank(api_key=key, top_n=top_n, model=MODEL, base_url=example.url)
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(i)), score=0.0)
             for i, text in enumerate(documents)]
    ranked = reranker.postprocess_nodes(nodes, query_str=example.query)
    return [(int(node.node.node_id), node.score) for node in ranked]


@case
def ranks():
    for example in EXAMPLES:
        example.check(rank(example, example.documents, len(example.documents)))


@case
def takes_the_best():
    for example in EXAMPLES:
        example.check(rank(example, example.documents, 2), top_n=2)


@case
def is_refused_with_a_wrong_key():
    with raises(UnauthorizedError, "key"):
        rank(FIRST, FIRST.documents, 2, key=WRONG_KEY)


@case
def tells_that_there_are_too_many_documents():
    with raises(UnprocessableEntityError, "documents"):
        rank(FIRST, TOO_MANY, 2)


@case
def tells_of_a_wrong_number():
    with raises(UnprocessableEntityError, "top_n"):
        rank(FIRST, FIRST.documents, -1)


if __name__ == "__main__":
    sys.exit(main())
