"""LlamaIndex's TextEmbeddingInference. It looks at no status: where the answer is no list as long as the
nodes, its assertion fails. The token goes out as it is, so that it carries the word Bearer."""

import sys

from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

from support import EXAMPLES, FIRST, KEY, TOO_MANY, WRONG_KEY, case, main, raises


def rank(example, documents, top_n, query=None, key=KEY, slash=""):
    reranker = TextEmbeddingInference(base_url=example.url + slash, top_n=top_n,
                                      auth_token="Bearer " + key)
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(i)), score=0.0)
             for i, text in enumerate(documents)]
    ranked = reranker.postprocess_nodes(nodes, query_str=query or example.query)
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
def takes_a_base_url_that_ends_in_a_slash():
    for example in EXAMPLES:
        example.check(rank(example, example.documents, len(example.documents), slash="/"))


@case
def is_refused_with_a_wrong_key():
    with raises(AssertionError):
        rank(FIRST, FIRST.documents, 2, key=WRONG_KEY)


@case
def fails_with_too_many_documents():
    with raises(AssertionError):
        rank(FIRST, TOO_MANY, 2)


@case
def makes_nothing_of_no_nodes():
    assert rank(FIRST, [], 2) == []


if __name__ == "__main__":
    sys.exit(main())
