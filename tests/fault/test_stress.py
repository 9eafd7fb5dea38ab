#!/usr/bin/env python3
"""Everything at once for some seconds: clients that leave, deadlines of milliseconds, all caches, keys renewed ten times a second. Every
whole answer has the scores that each pair has alone. What it is for are the sanitizers: a fault is theirs to see."""

import json
import os
import random
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

import harness
from harness import Server, case, golden_model, request_bytes, temporary_folder

SECONDS = 4
CLIENTS = 5
KEY = {"Authorization": "Bearer sesame"}
PATHS = {"/rerank": ("texts", "score"), "/v2/rerank": ("documents", "relevance_score")}


def texts_of(numbers):
    words = "a stone bridge over the water and bread from an old oven in the house by the river".split()
    return [" ".join(numbers.choice(words) for _ in range(numbers.choice((1, 3, 8, 30)))) + f" {i}"
            for i in range(14)] + ["", "\u00e9\u4e2d\U0001f600"]


def body_of(path, query, texts, **options):
    return json.dumps({"query": query, PATHS[path][0]: texts, **options}).encode()


def scores_in(path, body):
    """Each text's index and score, as it is written."""
    answer = json.loads(body, parse_float=str)
    entries = answer if isinstance(answer, list) else answer["results"]
    return [(entry["index"], str(entry[PATHS[path][1]])) for entry in entries]


def scores_alone(model, queries, texts):
    """What each pair has in a request of its own, without any cache."""
    alone = {}
    with Server("--threads", "1", "--document-cache-bytes", "0", model=model) as server:
        with server.connect() as connection:
            for path in PATHS:
                for query in queries:
                    for text in texts:
                        connection.send_request("POST", path, body_of(path, query, [text]))
                        response = connection.response("POST")
                        assert response.status == 200, response
                        alone[path, query, text] = scores_in(path, response.body)[0][1]
    return alone


class Stress:
    def __init__(self, model, seed):
        self.numbers = random.Random(seed)
        self.queries = ["water", "what is of stone", "bread from where?"]
        self.texts = texts_of(self.numbers)
        self.alone = scores_alone(model, self.queries, self.texts)
        self.keys = os.path.join(temporary_folder(), "keys")
        self.renew_file()
        self.compared = 0
        self.left = 0
        self.wrong = []
        self.lock = threading.Lock()
        self.until = 0

    def renew_file(self):
        fresh = self.keys + ".new"
        with open(fresh, "w", encoding="ascii") as file:
            file.write("# nothing\n" * self.numbers.randint(0, 20000) + "sesame\nother priority=-5\n")
        os.chmod(fresh, 0o644)
        os.replace(fresh, self.keys)

    def request(self, numbers):
        """Path, query, texts and the bytes to send."""
        path = numbers.choice(list(PATHS))
        query = numbers.choice(self.queries)
        texts = [numbers.choice(self.texts) for _ in range(numbers.choice((1, 3, 16, 1000, 1000)))]
        options = {}
        if path == "/v2/rerank":
            options["return_documents"] = numbers.random() < 0.8
        if numbers.random() < 0.5:
            options["timeout_ms"] = numbers.randint(1, 50 if numbers.random() < 0.5 else 8)
            options["on_timeout"] = numbers.choice(("error", "partial"))
        if numbers.random() < 0.3:
            options["priority"] = numbers.randint(-1000, 1000)
        return path, query, texts, request_bytes("POST", path, body_of(path, query, texts, **options), KEY)

    def leave(self, connection, numbers):
        way = numbers.randint(0, 2)
        if way == 0:
            connection.reset()
            return
        if way == 1:
            connection.socket.shutdown(socket.SHUT_RDWR)
        connection.close()

    def one(self, server, numbers):
        path, query, texts, data = self.request(numbers)
        with server.connect() as connection:
            fate = numbers.random()
            if fate < 0.05:
                connection.send(data[:numbers.randint(0, len(data))])
                self.leave(connection, numbers)
                return
            connection.send(data)
            if fate < 0.5:
                time.sleep(numbers.random() * numbers.choice((0.001, 0.005, 0.02)))
                self.leave(connection, numbers)
                with self.lock:
                    self.left += 1
                return
            response = connection.response("POST")
        if response.status == 200 and "x-rerank-degraded" not in response.headers:
            self.compare(path, query, texts, response)
        elif response.status not in (200, 429, 504):
            self.wrong.append(response)

    def compare(self, path, query, texts, response):
        scores = scores_in(path, response.body)
        with self.lock:
            self.compared += len(scores)
        if sorted(index for index, _ in scores) != list(range(len(texts))):
            self.wrong.append(response)
        for index, score in scores:
            if score != self.alone[path, query, texts[index]]:
                self.wrong.append((path, query, texts[index], score))

    def client(self, server, seed):
        numbers = random.Random(seed)
        while time.monotonic() < self.until and server.process.poll() is None:
            try:
                self.one(server, numbers)
            except OSError:  # a connection that is reset; whether the server lives is looked at in the end
                pass

    def renew(self, server):
        while time.monotonic() < self.until and server.process.poll() is None:
            self.renew_file()
            for _ in range(2):  # the second comes while the first is at work
                server.process.send_signal(signal.SIGHUP)
                time.sleep(0.001)
            time.sleep(0.1)

    def run(self, server):
        self.until = time.monotonic() + SECONDS
        threads = [threading.Thread(target=self.client, args=(server, seed)) for seed in range(CLIENTS)]
        threads.append(threading.Thread(target=self.renew, args=(server,)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.process.poll() is None, f"the server is gone:\n{server.log()[-6000:]}"
        assert not self.wrong, self.wrong[:3]
        assert self.compared > 100 and self.left > 10, (self.compared, self.left)
        response = server.rerank({"query": "still", "texts": ["there"]}, KEY)
        assert response.status == 200, response


def stress(kind, seed, *options):
    model = golden_model(kind)
    load = Stress(model, seed)
    arguments = ("--threads", "2", "--tokenization-workers", "2", "--cache-bytes", "100000", "--api-key-file", load.keys, *options)
    with Server(*arguments, model=model) as server:  # at its end it looks for what a sanitizer has said
        load.run(server)


@case
def a_cross_encoder_with_a_score_cache_under_stress():
    stress("cross-encoder", 1)


@case
def a_bi_encoder_with_all_caches_under_stress():
    folder = temporary_folder()
    os.chmod(folder, 0o777)
    stress("bi-encoder", 2, "--document-cache-bytes", str(1 << 20), "--documents", os.path.join(folder, "documents"))


if __name__ == "__main__":
    sys.exit(harness.main())
