"""Stand-ins around HAProxy: servers that answer as a test says, and a name server."""

import http.server
import json
import socket
import struct
import threading


class QuietServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Clients that reset connections, as HAProxy does after its checks."""


class Stub:
    """A server with /ready; what POST is answered, the test decides: a status, "close" or "cut"."""

    def __init__(self, address="127.0.0.1", port=0):
        self.ready, self.posts, self.ids = 200, 0, []
        self.next, self.always = [], 200  # answers of the next requests, and of those after them
        self.gate = threading.Semaphore(1000000)
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                self.reply(stub.ready if self.path == "/ready" else 200, b"")

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                stub.posts += 1
                stub.ids.append(self.headers["x-request-id"])
                answer = stub.next.pop(0) if stub.next else stub.always
                with stub.gate:
                    pass
                if isinstance(answer, int):
                    self.reply(answer, json.dumps({"bytes": len(body)}).encode())
                    return
                if answer == "cut":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[{")
                self.close_connection = True

            def reply(self, status, body):
                self.send_response(status)
                if status in (429, 503):
                    self.send_header("Retry-After", "7")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = QuietServer((address, port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class NameServer:
    """Answers every question for an address with `addresses`, and every other with nothing."""

    def __init__(self):
        self.addresses = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                query, sender = self.socket.recvfrom(4096)
            except OSError:
                return
            end = query.index(b"\0", 12) + 5
            question = query[12:end]
            found = self.addresses if struct.unpack(">H", question[-4:-2])[0] == 1 else []
            answers = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + socket.inet_aton(address) for address in found)
            self.socket.sendto(query[:2] + struct.pack(">HHHHH", 0x8180, 1, len(found), 0, 0) + question + answers, sender)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
