"""What every client's script needs: the examples, the keys, and cases that print TAP.

A script ranks each example (Example.check judges the outcome), is refused with a wrong key, and sends bad
input; `raises` holds it to the client's own exception. Nothing but loopback may be spoken to: other
connections are refused, and the last case fails if there was one.
"""

import contextlib
import ipaddress
import json
import os
import sys

import harness
from harness import case  # noqa: F401 (for the scripts)

TOLERANCE = 1e-4
SETTINGS = json.loads(os.environ["RR_CLIENT_TEST"])
KEY = SETTINGS["key"]
WRONG_KEY = "not-" + KEY
MODEL = "any-name-does"
TOO_MANY = [f"text {i}" for i in range(SETTINGS["limit"] + 1)]


class Example:
    """A query with documents on a running server, and which document is the best one."""

    def __init__(self, url, name, query, documents, best, scores):
        self.url = url
        self.name = name
        self.query = query
        self.documents = documents
        self.best = best
        self.scores = scores  # the reference's, by document, or None

    def check(self, ranked, top_n=None):
        """`ranked`: pairs of index and score in the client's order; all documents, or top_n of them."""
        ranked = list(ranked)
        wanted = top_n or len(self.documents)
        indices = [index for index, _ in ranked]
        scores = [score for _, score in ranked]
        assert len(indices) == wanted == len(set(indices)), (self.name, ranked)
        assert set(indices) <= set(range(len(self.documents))), (self.name, ranked)
        assert indices[0] == self.best, (self.name, ranked)
        assert all(isinstance(score, float) for score in scores), (self.name, ranked)
        assert scores == sorted(scores, reverse=True) and scores[0] > scores[-1], (self.name, ranked)
        for index, score in ranked if self.scores else []:
            assert abs(score - self.scores[index]) <= TOLERANCE, (self.name, index, score)

    def index_of(self, text):
        """For clients that give texts back, not indices."""
        return self.documents.index(text)


EXAMPLES = [Example(**example) for example in SETTINGS["examples"]]
FIRST = EXAMPLES[0]


@contextlib.contextmanager
def raises(kind, *words):
    """The body must raise exactly this kind of exception, whose text tells the server's words."""
    try:
        yield
    except Exception as error:
        assert type(error) is kind, f"{type(error).__module__}.{type(error).__name__}: {error}"
        for word in words:
            assert word in str(error), f"{word!r} is not in: {error}"
        return
    raise AssertionError(f"no {kind.__name__} was raised")


elsewhere = []


def is_loopback(host):
    if host in (None, "", b"", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host).is_loopback
    except ValueError:
        return False


def watch(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if not is_loopback(host):
        elsewhere.append(host)
        raise ConnectionRefusedError(f"this test speaks to loopback only, not to {host}")


def main():
    sys.addaudithook(watch)

    @case
    def speaks_to_nobody_else():
        assert not elsewhere, elsewhere

    return harness.main()
