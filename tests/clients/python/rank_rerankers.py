"""rerankers' APIRanker in the dialects that the server speaks. It looks at no status: an error shows when
the results are missing, as a TypeError or KeyError of its own."""

import sys

from rerankers import Document, Reranker

from support import EXAMPLES, FIRST, KEY, MODEL, TOO_MANY, WRONG_KEY, case, main, raises

# Provider, path, what it raises where the answer has no results, and its words.
DIALECTS = [
    ("text-embeddings-inference", "/rerank", TypeError, "string indices"),
    ("cohere", "/v1/rerank", KeyError, "results"),
    ("jina", "/v1/rerank", KeyError, "results"),
    ("voyage", "/v1/rerank", KeyError, "data"),
]


def ranker(provider, path, example=FIRST, key=KEY):
    return Reranker(MODEL, model_type=provider, api_key=key, url=example.url + path, verbose=0)


@case
def ranks_in_every_dialect():
    for example in EXAMPLES:
        for provider, path, *_ in DIALECTS:
            ranked = ranker(provider, path, example).rank(query=example.query, docs=example.documents)
            example.check([(result.doc_id, result.score) for result in ranked.results])
            assert ranked.top_k(1)[0].text == example.documents[example.best], provider


@case
def scores_a_single_text_in_every_dialect():
    for example in EXAMPLES:
        ranked = ranker(*DIALECTS[0][:2], example).rank(query=example.query, docs=example.documents)
        for provider, path, *_ in DIALECTS:
            # A plain string, which its signature asks for, it cannot send.
            text = Document(text=example.documents[example.best], doc_id=0)
            score = ranker(provider, path, example).score(example.query, text)
            assert abs(score - ranked.top_k(1)[0].score) < 1e-6, (provider, score)


@case
def is_refused_with_a_wrong_key_in_every_dialect():
    for provider, path, kind, word in DIALECTS:
        with raises(kind, word):
            ranker(provider, path, key=WRONG_KEY).rank(query="q", docs=["d"])


@case
def fails_with_too_many_documents_in_every_dialect():
    for provider, path, kind, word in DIALECTS:
        with raises(kind, word):
            ranker(provider, path).rank(query="q", docs=TOO_MANY)


@case
def fails_with_a_query_of_a_wrong_type_in_every_dialect():
    for provider, path, kind, word in DIALECTS:
        with raises(kind, word):
            ranker(provider, path).rank(query=7, docs=["d"])


if __name__ == "__main__":
    sys.exit(main())
