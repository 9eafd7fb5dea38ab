#!/usr/bin/env python3
"""The wire format of every dialect, against request and reply pairs kept as files.

tests/golden/wire/DIALECT/NAME.request.json holds method, path, headers and body (`body`: JSON; `raw`: text
as it is); NAME.reply.json the status, the headers that matter and the body. Ids, times, versions and paths
are normalised, scores compared within 1e-4, everything else exactly.

    test_wire.py --update     writes the replies anew: read the diff
"""

import glob
import json
import os
import sys

import harness
from harness import Server

TOLERANCE = 1e-4
FOLDER = os.path.join(os.environ.get("RR_GOLDEN", ""), "wire")
HEADERS = ("content-type", "x-truncated-count", "x-compute-tokens", "www-authenticate", "allow",
           "accept-encoding", "retry-after")
VARYING = ("id", "created", "version", "model_id", "root", "tokenization_workers")
ARGUMENTS = ("--served-model-name", "golden/cross-encoder", "--api-key", "golden-key",
             "--max-client-batch-size", "100")


def normalised(value, name=""):
    if isinstance(value, dict):
        if name == "api_version":  # of the API, not of the server
            return value
        return {key: normalised(member, key) for key, member in value.items()}
    if isinstance(value, list):
        return [normalised(member, name) for member in value]
    if name in VARYING and not (name == "id" and value == "golden/cross-encoder"):
        prefix = value.partition("-")[0] + "-" if name == "id" and "-" in value else ""
        return f"<{prefix}{name}>"
    return value


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def ask(server, request):
    headers = dict(request["headers"])
    body = None
    if "body" in request:
        body = json.dumps(request["body"], ensure_ascii=False).encode()
    elif "raw" in request:
        body = request["raw"].encode()
    response = server.request(request["method"], request["path"], body, headers)
    told = {name: response.headers[name] for name in HEADERS if name in response.headers}
    reply = {"status": response.status, "headers": told}
    if response.body:
        reply["body"] = normalised(response.json())
    return reply


def difference(got, wanted, where="", name=""):
    """Where two replies differ, or None."""
    if name in ("score", "relevance_score"):
        near = isinstance(got, (int, float)) and abs(got - wanted) <= TOLERANCE
        return None if near else f"{where}: {got} instead of {wanted}"
    if isinstance(wanted, dict) and isinstance(got, dict):
        if list(got) != list(wanted):
            return f"{where}: members {list(got)} instead of {list(wanted)}"
        pairs = [(got[key], wanted[key], f"{where}.{key}", key) for key in wanted]
    elif isinstance(wanted, list) and isinstance(got, list):
        if len(got) != len(wanted):
            return f"{where}: {len(got)} elements instead of {len(wanted)}"
        pairs = [(one, other, f"{where}[{at}]", name) for at, (one, other) in enumerate(zip(got, wanted))]
    else:
        same = got == wanted and isinstance(got, type(wanted))
        return None if same else f"{where}: {got!r} instead of {wanted!r}"
    return next(filter(None, (difference(*pair) for pair in pairs)), None)


def check(request_path):
    def compare():
        got = ask(harness.shared(), read(request_path))
        problem = difference(got, read(request_path.replace(".request.", ".reply.")))
        assert problem is None, problem

    compare.__name__ = os.path.relpath(request_path, FOLDER).replace(".request.json", "")
    return harness.case(compare)


def update(paths):
    with Server(*ARGUMENTS) as server:
        for path in paths:
            with open(path.replace(".request.", ".reply."), "w", encoding="utf-8") as out:
                json.dump(ask(server, read(path)), out, indent=1, ensure_ascii=False)
                out.write("\n")


SWITCHES = [("--update", "write the replies again, as the server gives them")]


def main():
    arguments = harness.read_arguments(SWITCHES)
    paths = sorted(glob.glob(os.path.join(FOLDER, "*", "*.request.json")))
    if arguments.update:
        update(paths)
        return 0
    for path in paths:
        check(path)
    assert len(paths) > 40, f"only {len(paths)} requests in {FOLDER}"
    harness.shared_server = Server(*ARGUMENTS)
    return harness.main(SWITCHES)


if __name__ == "__main__":
    sys.exit(main())
