"""A stand-in for an OpenTelemetry collector: keeps what it is sent, and answers as it is told."""

import gzip
import http.server
import json
import ssl
import threading
import time

from harness import eventually


def value_of(wrapped):
    """An attribute's value as Python has it."""
    (kind, value), = wrapped.items()
    if kind == "arrayValue":
        return [value_of(entry) for entry in value["values"]]
    return int(value) if kind == "intValue" else value


def attributes_of(owner):
    pairs = owner.get("attributes", [])
    names = [pair["key"] for pair in pairs]
    assert len(set(names)) == len(names), names
    return {pair["key"]: value_of(pair["value"]) for pair in pairs}


class Span:
    def __init__(self, document, resource):
        self.trace, self.id = document["traceId"], document["spanId"]
        self.parent = document.get("parentSpanId")
        self.state = document.get("traceState", "")
        self.flags, self.kind, self.name = document["flags"], document["kind"], document["name"]
        self.begin, self.end = int(document["startTimeUnixNano"]), int(document["endTimeUnixNano"])
        self.attributes = attributes_of(document)
        self.status = document.get("status", {})
        self.resource = resource

    def __repr__(self):
        return f"{self.name} {self.trace}/{self.id} under {self.parent} {self.attributes} {self.status}"


class Collector:
    """With `tls`, a certificate and its key, by https. `answer(number)` gives status, headers and body of the n-th post, from 0; None: silence until the end."""

    def __init__(self, answer=None, tls=None):
        self.answer = answer or (lambda number: (200, {}, b"{}"))
        self.posts = []  # (seconds, path, headers, document), as they came
        self.taken = []  # the spans of those answered with 200
        self.lock = threading.Lock()
        self.over = threading.Event()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                collector.take(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.server.handle_error = lambda *_: None  # who does not trust it leaves
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def take(self, handler):
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        if handler.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        document = json.loads(body)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self.lock:
            number = len(self.posts)
            self.posts.append((time.monotonic(), handler.path, headers, document))
        answer = self.answer(number)
        if answer is None:
            self.over.wait(60)
            handler.close_connection = True
            return
        status, more, reply = answer
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(reply)), **more}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(reply)
        if status == 200:
            with self.lock:
                self.taken += spans_of(document)

    def spans(self, trace=None):
        with self.lock:
            return [span for span in self.taken if trace in (None, span.trace)]

    def wait_for(self, trace):
        """The spans of a trace, the server's first; all of a request come together."""
        return eventually(lambda: sorted(self.spans(trace), key=lambda span: span.kind != 2), f"spans of {trace}")

    def stop(self):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def spans_of(document):
    assert set(document) == {"resourceSpans"}, document
    found = []
    for resource in document["resourceSpans"]:
        named = attributes_of(resource["resource"])
        for scope in resource["scopeSpans"]:
            found += [Span(span, named) for span in scope["spans"]]
    return found
