"""A stand-in for a reranking server that misbehaves on purpose, for the tests of bench/load.

A list of behaviours decides how the requests are answered, one after the other; the last one stays.
"""

import json
import socket
import struct
import threading
import time


def ranked(body):
    """A right answer in TEI's form."""
    texts = json.loads(body)["texts"]
    return [{"index": i, "score": 1.0 - i / (len(texts) + 1)} for i in range(len(texts))]


def answer(connection, results, status=b"200 OK"):
    body = results if isinstance(results, bytes) else json.dumps(results).encode()
    connection.sendall(b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                       % (status, len(body), body))
    return True


def good(connection, body):
    return answer(connection, ranked(body))


def after(seconds):
    def behave(connection, body):
        time.sleep(seconds)
        return answer(connection, ranked(body))
    return behave


def status(line):
    return lambda connection, body: answer(connection, {"error": "no"}, line.encode())


def changed(change):
    """A right answer, changed: the function gets the results."""
    return lambda connection, body: answer(connection, change(ranked(body)))


def close(connection, _):
    return False


def reset(connection, _):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def half(connection, _):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[{")
    return False


def half_head(connection, _):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-")
    return False


def not_http(connection, _):
    connection.sendall(b"SSH-2.0-Server\r\n\r\n")
    return False


def in_pieces(connection, body):
    """Right, but in chunks of a byte, after an interim answer."""
    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for byte in json.dumps(ranked(body)).encode():
        connection.sendall(b"1\r\n%c\r\n" % byte)
    connection.sendall(b"0\r\n\r\n")
    return True


def until_the_end(connection, body):
    """Right, without a length: the body ends with the connection."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(ranked(body)).encode())
    return False


class StandIn:
    """`with StandIn([good]) as server`: server.url; server.bodies has what was sent."""

    def __init__(self, behaviours):
        self.behaviours = list(behaviours)
        self.bodies, self.heads = [], []
        self.connections = 0
        self.lock = threading.Lock()
        self.gate = threading.Lock()  # held: nobody is answered
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.open = set()
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for connection in self.open:
                connection.close()

    def answer_later(self, requests, seconds):
        """Answers nobody until so many requests have come, and then for some seconds more."""
        def wait():
            while len(self.bodies) < requests:
                time.sleep(0.01)
            time.sleep(seconds)
            self.gate.release()
        self.gate.acquire()
        threading.Thread(target=wait, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.open.add(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def next_behaviour(self, head, body):
        with self.lock:
            self.heads.append(head)
            self.bodies.append(body)
            return self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]

    def serve(self, connection):
        stream = connection.makefile("rb")
        try:
            while True:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    line = stream.readline()
                    if not line:
                        return
                    head += line
                size = next(int(line.split(b":")[1]) for line in head.split(b"\r\n")
                            if line.lower().startswith(b"content-length:"))
                body = stream.read(size)
                behave = self.next_behaviour(head, body)
                with self.gate:
                    pass
                if not behave(connection, body):
                    return
        except OSError:
            pass
        finally:
            with self.lock:
                self.open.discard(connection)
            stream.close()
            connection.close()
