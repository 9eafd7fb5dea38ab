"""A stand-in for Valkey or Redis that may misbehave on purpose: as far as the shared cache speaks with it."""

import os
import socket
import struct
import threading
import time

from harness import eventually

# What comes of a look-up, as the server counts them.
OUTCOMES = ("answered", "late", "refused", "lost", "not_asked", "cancelled")


def is_up(server):
    return server.metrics()["te_shared_cache_up"] == 1


def wait_until_up(*servers):
    for server in servers:
        eventually(lambda server=server: is_up(server), "the shared cache")


def outcomes(server):
    metrics = server.metrics()
    return {name: metrics[f'te_shared_cache_lookups_total{{outcome="{name}"}}'] for name in OUTCOMES}


def bulk(value):
    return b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)


def right(redis, keys):
    return b"*%d\r\n" % len(keys) + b"".join(bulk(redis.data.get(key)) for key in keys)


def changed(change):
    """Right, but each value that is there is changed by a function of key and value."""
    def answer(redis, keys):
        values = [redis.data.get(key) for key in keys]
        return b"*%d\r\n" % len(keys) + b"".join(
            bulk(None if value is None else change(key, value)) for key, value in zip(keys, values))
    return answer


def always(reply):
    return lambda redis, keys: reply


class RedisServer:
    """`with RedisServer() as redis`: redis.url. What MGET gets is redis.mget(redis, keys): bytes; None: silence; or
    bytes and "close", "reset" or "drip" in a pair."""

    def __init__(self, mget=right, password=None, user=None, path=None, data=None):
        self.mget, self.password, self.user = mget, password, user
        self.data = {} if data is None else data
        self.commands = []  # all but MGET and SET, as lists of words
        self.lookups = self.stores = self.connections = 0
        self.options = set()  # what stood behind a SET's value
        self.ended = False
        self.open = set()
        self.lock = threading.Lock()
        if path is None:
            self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
            self.url = "redis://127.0.0.1:%d" % self.listener.getsockname()[1]
        else:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            os.chmod(path, 0o777)
            self.listener.listen(64)
            self.url = path
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended = True
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.drop()

    def drop(self):
        """Closes all connections."""
        with self.lock:
            for connection in self.open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

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

    @staticmethod
    def command(stream):
        head = stream.readline()
        if not head:
            return None
        assert head[:1] == b"*", head
        words = []
        for _ in range(int(head[1:])):
            size = stream.readline()
            assert size[:1] == b"$", size
            words.append(stream.read(int(size[1:])))
            assert stream.read(2) == b"\r\n"
        return words

    def plain(self, words):
        self.commands.append(words)
        if words[0] == b"AUTH":
            wanted = [b"AUTH", *([self.user] if self.user else []), self.password]
            return b"+OK\r\n" if words == wanted else b"-WRONGPASS invalid username-password pair\r\n"
        return b"+PONG\r\n" if words[0] == b"PING" else b"+OK\r\n"

    def reply(self, words):
        if words[0] == b"MGET":
            self.lookups += 1
            return self.mget(self, words[1:])
        if words[0] == b"SET":
            self.stores += 1
            self.data[words[1]] = words[2]
            self.options.add(b" ".join(words[3:]))
            return b"+OK\r\n"
        return self.plain(words)

    def serve(self, connection):
        stream = connection.makefile("rb")
        try:
            while (words := self.command(stream)) is not None:
                reply = self.reply(words)
                how = None
                if isinstance(reply, tuple):
                    reply, how = reply
                if how == "drip":
                    for at in range(len(reply)):
                        connection.sendall(reply[at:at + 1])
                        time.sleep(0.0005)
                elif reply is not None:
                    connection.sendall(reply)
                if how == "reset":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if how in ("close", "reset"):
                    return
        except OSError:
            pass
        finally:
            with self.lock:
                self.open.discard(connection)
            stream.close()
            connection.close()
