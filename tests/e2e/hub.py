"""A stand-in for the hub on loopback: the parts of its protocol that fetching a model takes, two origins
(the hub and the storage that it redirects to), a record of what was asked, and faults on demand."""

import contextlib
import hashlib
import json
import os
import re
import ssl
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import harness

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


def git_hash(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Fault:
    """What a handler does instead of its duty, `times` times (None: always). `act` takes the handler and
    the file's bytes and returns True if it has answered."""

    def __init__(self, act, times=1):
        self.act = act
        self.times = times


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle(self):
        try:
            super().handle()
        except (ConnectionError, ssl.SSLError): # a client that left, or does not trust the hub
            pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        try:
            self.hub.record(self)
            self.respond()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def reply(self, status, headers=None, body=b"", length=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status, code=None):
        self.reply(status, {"X-Error-Code": code} if code else {}, b'{"error": "no"}')

    def send_file(self, data, headers=None, ranges=True):
        """The file, or the rest of it that is asked for."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(asked.group(1)) if asked and ranges else 0
        headers = dict(headers or {})
        if first == 0:
            self.reply(200, headers, data)
        elif first >= len(data):
            self.reply(416, headers)
        else:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
            self.reply(206, headers, data[first:])


class HubHandler(Handler):
    role = "hub"

    def respond(self):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        hub = self.hub
        for pattern, respond in ((r"/api/models/(.+)/revision/(.+)", self.revision),
                                 (r"/api/models/(.+)/tree/(.+)", self.tree),
                                 (r"/api/resolve-cache/models/(.+?)/([0-9a-f]{40})/(.+)", self.small),
                                 (r"/(.+?)/resolve/(refs/pr/\d+|[^/]+)/(.+)", self.resolve)):
            found = re.fullmatch(pattern, path)
            if found:
                if not self.refuse(found.group(1)):
                    respond(*found.groups()[1:])
                return
        self.error(404)

    def refuse(self, repo):
        hub = self.hub
        if hub.fault(self, "api" if self.path.startswith("/api/models") else "resolve", b""):
            return True
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self.error(401, None if self.headers.get("Authorization") else "RepoNotFound")
        elif hub.gated:
            self.error(403, "GatedRepo")
        elif repo != hub.repo:
            self.error(404 if hub.token else 401, "RepoNotFound")
        else:
            return False
        return True

    def revision(self, revision):
        commit = self.hub.revisions.get(revision)
        if commit is None:
            self.error(404, "RevisionNotFound")
            return
        body = {"id": self.hub.repo, "sha": commit,
                "siblings": [{"rfilename": name} for name in self.hub.listed()]}
        self.reply(200, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def tree(self, _):
        entries = []
        for name, data in self.hub.files.items():
            entry = {"type": "file", "path": name, "size": len(data), "oid": git_hash(data)}
            if self.hub.is_large(name):
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data),
                                "pointerSize": 134}
            entries.append(entry)
        self.reply(200, {"Content-Type": "application/json"}, json.dumps(entries).encode())

    def resolve(self, revision, name):
        hub = self.hub
        commit = hub.revisions.get(revision)
        if commit is None:
            self.error(404, "RevisionNotFound")
        elif name not in hub.files:
            self.error(404, "EntryNotFound")
        elif hub.is_large(name):
            data = hub.files[name]
            headers = {"X-Repo-Commit": commit, "X-Linked-Size": str(len(data)),
                       "X-Linked-ETag": f'"{hashlib.sha256(data).hexdigest()}"',
                       "ETag": '"of-the-redirect"', "Location": hub.storage_url(name)}
            self.reply(302, {**headers, **hub.headers.get(name, {})}, b"elsewhere")
        else: # the hub redirects to itself
            quoted = urllib.parse.quote(name)
            self.reply(307, {"Location": f"/api/resolve-cache/models/{hub.repo}/{commit}/{quoted}"})

    def small(self, commit, name):
        data = self.hub.files[name]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{git_hash(data)}"'}
        headers.update(self.hub.headers.get(name, {}))
        if not self.hub.fault(self, name, data):
            self.send_file(data, {key: value for key, value in headers.items() if value is not None})


class StorageHandler(Handler):
    role = "storage"

    def respond(self):
        name = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)[1:]
        data = self.hub.files[name]
        if not self.hub.fault(self, name, data):
            self.send_file(data, {"ETag": '"storage-has-its-own"'})


class Hub:
    """`with Hub("org/name", files) as hub`: files maps names to bytes."""

    def __init__(self, repo, files):
        self.repo = repo
        self.files = dict(files)
        self.hidden = []       # names listed without being there
        self.revisions = {"main": COMMIT, COMMIT: COMMIT}
        self.token = None      # wanted from everybody
        self.gated = False
        self.headers = {}      # by file: headers instead of the true ones
        self.faults = {}       # by file, or "api", "resolve"
        self.certificate = None # (certificate, key): files, for https on the hub itself
        self.requests = []     # (role, method, path, headers)
        self.lock = threading.Lock()

    def __enter__(self):
        self.servers = []
        for kind in (HubHandler, StorageHandler):
            handler = type(kind.__name__, (kind,), {"hub": self})
            server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            server.daemon_threads = True
            if self.certificate and kind is HubHandler:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*self.certificate)
                server.socket = context.wrap_socket(server.socket, server_side=True,
                                                    do_handshake_on_connect=False)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05},
                             daemon=True).start()
            self.servers.append(server)
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    @property
    def url(self):
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://127.0.0.1:{self.servers[0].server_port}"

    def storage_url(self, name):
        return (f"http://127.0.0.1:{self.servers[1].server_port}/{urllib.parse.quote(name)}"
                "?signature=secret")

    def is_large(self, name):
        return name.endswith((".safetensors", ".bin"))

    def listed(self):
        return [*self.files, *self.hidden]

    def record(self, handler):
        with self.lock:
            self.requests.append((handler.role, handler.command, handler.path, dict(handler.headers)))

    def fault(self, handler, name, data):
        with self.lock:
            fault = self.faults.get(name)
            if fault is None or fault.times == 0 or handler.command == "HEAD" and name in self.files:
                return False
            if fault.times is not None:
                fault.times -= 1
        return fault.act(handler, data)

    def asked(self, role, method, words=""):
        with self.lock:
            return [request for request in self.requests
                    if request[0] == role and request[1] == method and words in request[2]]


# --- faults -----------------------------------------------------------------------------------------


def status(code, headers=None):
    def act(handler, _):
        handler.reply(code, headers, b"no")
        return True
    return act


def cut(size):
    """Sends so many bytes of what is asked for, and closes."""
    def act(handler, data):
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        first = int(asked.group(1)) if asked else 0
        handler.send_response(206 if asked else 200)
        if asked:
            handler.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - first))
        handler.end_headers()
        handler.wfile.write(data[first:first + size])
        handler.wfile.flush()
        handler.close_connection = True
        return True
    return act


def body(change, chunked=False, ranges=False):
    """Sends other bytes than those of the file."""
    def act(handler, data):
        changed = change(data)
        if not chunked:
            handler.send_file(changed, ranges=ranges)
            return True
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(changed), changed))
        return True
    return act


def whole(handler, data):
    """Knows no ranges."""
    handler.send_file(data, ranges=False)
    return True


def wrong_range(handler, data):
    if "Range" not in handler.headers:
        return False
    handler.reply(206, {"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"}, data)
    return True


def trickle(first, seconds, size=1):
    """Sends `first` bytes, then `size` each tenth of a second for so long, and closes."""
    def act(handler, data):
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        begin = int(asked.group(1)) if asked else 0
        handler.send_response(206 if asked else 200)
        if asked:
            handler.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - begin))
        handler.end_headers()
        at = begin + first
        handler.wfile.write(data[begin:at])
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and at < len(data):
            handler.wfile.write(data[at:at + size])
            handler.wfile.flush()
            at += size
            time.sleep(0.1)
        handler.close_connection = True
        return True
    return act


@contextlib.contextmanager
def endless():
    """The environment of a server whose --model-id team/model does not come."""
    files = {}
    for name in os.listdir(harness.small_model()):
        with open(os.path.join(harness.small_model(), name), "rb") as file:
            files[name] = file.read()
    home = harness.temporary_folder()
    with Hub("team/model", files) as hub:
        hub.faults["model.safetensors"] = Fault(trickle(1000, seconds=120))
        yield {"HF_ENDPOINT": hub.url, "HF_HOME": home, "HOME": home, "NO_PROXY": "127.0.0.1", "HF_HUB_DOWNLOAD_TIMEOUT": "60"}
