#!/usr/bin/env python3
"""bench/load measures the real server, and tells apart everything that a bad one does."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

import harness
import standin
from harness import PATIENCE, case
from load_support import WORDS, candidates, program
from standin import StandIn

def command(folder, url, *arguments):
    return [program(), "--url", url, "--candidates", candidates(folder), *arguments]


def call(folder, url, *arguments):
    return subprocess.run(command(folder, url, *arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=4 * PATIENCE, text=True)


def load(url, *arguments, status=0):
    """The JSON report."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "report.json")
        result = call(folder, url, "--json", path, *arguments)
        assert result.returncode == status, result
        assert not harness.SANITIZER.search(result.stderr), result.stderr
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
    counts = report["counts"]
    ended = counts["right"] + counts["failed"] + counts["dropped"] + counts["cancelled"]
    assert counts["offered"] == ended, counts  # nothing is lost
    assert sum(report["failures"].values()) == counts["failed"], report
    assert report["latency_ms"]["count"] == counts["right"], report
    return report


# --- the real server ------------------------------------------------------------------------------


@case
def every_dialect_of_the_real_server_is_right():
    server = harness.shared()
    for dialect in ("tei", "cohere", "infinity", "llamacpp", "jina", "vllm", "voyage"):
        report = load(f"http://127.0.0.1:{server.port}", "--dialect", dialect, "--model", "any", "--connections",
                      "3", "--requests", "12", "--sizes", "3:0.5,15:0.5", "--top-n", "2")
        assert report["counts"]["right"] == 12 and not report["failures"], report


@case
def an_open_loop_and_every_report():
    server = harness.shared()
    with tempfile.TemporaryDirectory() as folder:
        html, csv = os.path.join(folder, "page.html"), os.path.join(folder, "figures.csv")
        result = call(folder, f"http://localhost:{server.port}", "--rate", "100", "--requests", "50", "--sizes", "5",
                      "--warmup-requests", "5", "--deadline-ms", "100000", "--html", html, "--csv", csv, "--words", "4",
                      "--label", "a & <b>")
        assert result.returncode == 0, result
        assert re.search(r"^right +50 answers", result.stdout, re.M), result.stdout
        with open(html, encoding="utf-8") as file:
            page = file.read()
        with open(csv, encoding="utf-8") as file:
            names, figures = file.read().splitlines()
        assert not [name for name in os.listdir(folder) if name.endswith(".part")]
    assert len(names.split(",")) == 28 and ",50," in figures and '"a & <b>"' in figures, (names, figures)
    pictures = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(pictures) == 2, page
    for picture in pictures:
        xml.etree.ElementTree.fromstring(picture)
    assert "a &amp; &lt;b&gt;" in page and "<script" not in page and "://" not in page, page


@case
def the_journal_has_a_line_for_every_measured_request():
    with StandIn([standin.good, standin.status("503 Busy"), standin.good]) as server, \
            tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "journal.csv")
        report = load(server.url, "--rate", "200", "--arrivals", "even", "--requests", "40", "--warmup-requests", "5",
                      "--sizes", "3", "--journal", path)
        with open(path, encoding="utf-8") as file:
            names, *lines = [line.rstrip("\n").split(",") for line in file]
    assert names == ["intended_s", "latency_ms", "outcome"], names
    assert len(lines) == 40 == report["counts"]["offered"], report
    outcomes = [outcome for _, _, outcome in lines]
    assert outcomes.count("right") == report["counts"]["right"] > 0, report
    assert outcomes.count("status 503") == report["failures"].get("status 503", 0), report
    starts = sorted(float(start) for start, _, _ in lines)
    assert abs(starts[-1] - starts[0] - 39 / 200) < 0.001, starts
    assert abs(max(float(took) for _, took, outcome in lines if outcome == "right")
               - report["latency_ms"]["max"]) <= report["latency_ms"]["max"] / 100, report


@case
def keys_and_headers_are_sent():
    with harness.Server("--api-key", "secret") as server:
        url = f"http://127.0.0.1:{server.port}"
        report = load(url, "--connections", "1", "--requests", "3", "--sizes", "2", status=1)
        assert report["failures"] == {"status 401": 3}, report
        report = load(url, "--connections", "1", "--requests", "3", "--sizes", "2", "--api-key", "secret")
        assert report["counts"]["right"] == 3, report
    with StandIn([standin.good]) as server:
        load(server.url + "/base", "--connections", "1", "--requests", "1", "--header", "x-mine: yes", "--path", "/p")
        assert server.heads[0].startswith(b"POST /base/p HTTP/1.1\r\n"), server.heads
        assert b"\r\nx-mine: yes\r\n" in server.heads[0], server.heads


# --- what a bad server does -----------------------------------------------------------------------


@case
def each_fault_is_counted_as_its_kind():
    faults = [
        (standin.status("500 Internal Server Error"), "status 500"),
        (standin.status("429 Too Many Requests"), "status 429"),
        (standin.reset, "reset"),
        (standin.close, "reset"),
        (standin.half, "cut answer"),
        (standin.half_head, "cut answer"),
        (standin.not_http, "not HTTP"),
        (standin.changed(lambda r: r[:-1]), "wrong: wrong number of results"),
        (standin.changed(lambda r: r[:-1] + [{**r[-1], "index": len(r)}]), "wrong: index out of range"),
        (standin.changed(lambda r: r[:-1] + [{**r[-1], "index": r[0]["index"]}]), "wrong: an index twice"),
        (standin.changed(lambda r: r[::-1]), "wrong: not descending"),
        (standin.changed(lambda r: [{**x, "score": None} for x in r]), "wrong: score not a number"),
        (standin.changed(lambda r: [{**x, "score": float("nan")} for x in r]), "wrong: not JSON"),
        (standin.changed(lambda r: {"results": r}), "wrong: no list of results"),
        (standin.changed(lambda r: json.dumps(r).encode()[:-3]), "wrong: not JSON"),
    ]
    for behave, kind in faults:
        with StandIn([behave, standin.good, behave, behave, standin.good]) as server:
            report = load(server.url, "--connections", "1", "--requests", "6", "--sizes", "4")
        assert report["failures"] == {kind: 3}, (kind, report)
        assert report["counts"]["right"] == 3, (kind, report)


@case
def unusual_but_right_answers_are_right():
    for behave in (standin.in_pieces, standin.until_the_end, standin.after(0.02)):
        with StandIn([behave]) as server:
            report = load(server.url, "--connections", "2", "--requests", "5", "--sizes", "3")
            assert report["counts"]["right"] == 5 and not report["failures"], report


@case
def an_answer_beyond_the_bound_is_not_kept():
    padded = standin.changed(lambda r: b" " * (2 << 20) + json.dumps(r).encode())
    with StandIn([padded, standin.good]) as server:
        report = load(server.url, "--connections", "1", "--requests", "4", "--sizes", "2", "--max-buffer-mb", "1")
    assert report["failures"] == {"answer too large": 1} and report["counts"]["right"] == 3, report


@case
def what_takes_too_long_is_a_timeout():
    with StandIn([standin.good, standin.after(20), standin.good]) as server:
        report = load(server.url, "--connections", "1", "--requests", "3", "--sizes", "2", "--timeout-ms", "3000")
    assert report["failures"] == {"timeout": 1} and report["counts"]["right"] == 2, report


@case
def nobody_there_is_a_failure_to_connect():
    port = harness.free_port()
    report = load(f"http://127.0.0.1:{port}", "--connections", "2", "--requests", "4", status=1)
    assert report["failures"] == {"connect": 4}, report
    report = load(f"http://127.0.0.1:{port}", "--rate", "500", "--requests", "20", status=1)
    assert report["failures"] == {"connect": 20}, report


@case
def a_server_that_stalls_shows_in_the_latency_from_the_intended_start():
    with StandIn([standin.good]) as server, tempfile.TemporaryDirectory() as folder:
        starts = os.path.join(folder, "starts")
        with open(starts, "w", encoding="ascii") as file:
            file.write("".join(f"{i / 100}\n" for i in range(100)))  # all within the first second
        server.answer_later(requests=100, seconds=0.5)
        report = load(server.url, "--arrivals", starts, "--sizes", "2")
    assert report["counts"]["right"] == 100 and report["counts"]["most_in_flight"] == 100, report
    # All had been sent before the first was answered; the first was to start 0.99 s before the last.
    assert report["latency_ms"]["min"] >= 500 and report["latency_ms"]["max"] >= 1490, report


@case
def a_stall_of_the_generator_itself_is_not_hidden():
    """While it is stopped no request can start; their latency tells so all the same."""
    with StandIn([standin.good]) as server, tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "report.json")
        process = subprocess.Popen(command(folder, server.url, "--rate", "100", "--arrivals", "even", "--requests", "400",
                                           "--sizes", "2", "--quiet", "--json", path), stdin=subprocess.DEVNULL)
        harness.eventually(lambda: len(server.bodies) > 5, "some requests")
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.6)
        process.send_signal(signal.SIGCONT)
        assert process.wait(4 * PATIENCE) == 0
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
    assert report["counts"]["right"] == 400, report
    assert report["latency_ms"]["max"] >= 550 and report["start_lag_ms"]["max"] >= 550, report


@case
def what_exceeds_the_bound_in_flight_is_dropped_and_told():
    with StandIn([standin.good]) as server:
        server.answer_later(requests=7, seconds=1)
        report = load(server.url, "--rate", "500", "--requests", "100", "--sizes", "2", "--max-in-flight", "7")
    counts = report["counts"]
    assert counts["most_in_flight"] == 7 and counts["right"] == 100 - counts["dropped"], report
    assert counts["dropped"] > 0 and len(server.bodies) == counts["right"], report
    assert server.connections <= 7, server.connections


@case
def a_closed_loop_has_its_connections_and_no_more():
    with StandIn([standin.good]) as server:
        report = load(server.url, "--connections", "3", "--requests", "60", "--sizes", "2")
        assert server.connections == 3, server.connections
    assert report["counts"]["most_in_flight"] == 3 and report["counts"]["right"] == 60, report


@case
def goodput_counts_what_came_within_the_deadline():
    with StandIn([standin.after(1.2), standin.after(1.2), standin.good]) as server:
        report = load(server.url, "--connections", "1", "--requests", "5", "--sizes", "2", "--deadline-ms", "1000")
    assert report["counts"]["right"] == 5 and report["counts"]["good"] <= 3, report
    assert abs(report["rates"]["good_share"] - report["counts"]["good"] / 5) < 1e-6, report


# --- what is sent ---------------------------------------------------------------------------------


@case
def the_same_seed_sends_the_same():
    sent = []
    for seed in ("5", "5", "6"):
        with StandIn([standin.good]) as server:
            report = load(server.url, "--connections", "1", "--requests", "40", "--sizes", "2,5", "--seed", seed,
                          "--repeat", "0.5", "--warmup-requests", "3")
            sent.append(server.bodies)
            assert len(server.bodies) == 43 and report["counts"]["offered"] == 40, report
    assert sent[0] == sent[1] and sent[0] != sent[2]


@case
def the_mix_is_as_asked():
    with StandIn([standin.good]) as server:
        report = load(server.url, "--connections", "1", "--requests", "200", "--sizes", "10", "--repeat", "0.4",
                      "--words", "3")
        requests = [json.loads(body) for body in server.bodies]
    seen, repeats = set(), 0
    for request in requests:
        assert len(request["texts"]) == 10 == len(set(request["texts"])), request
        assert request["query"] in WORDS and all(3 <= len(text.split()) <= 4 for text in request["texts"]), request
        repeats += sum(text in seen for text in request["texts"])
        seen |= set(request["texts"])
    assert repeats == report["counts"]["repeats"] and 0.36 < repeats / 2000 < 0.44, (repeats, report)


# --- the program ----------------------------------------------------------------------------------


@case
def only_loopback_is_spoken_to():
    with tempfile.TemporaryDirectory() as folder:
        result = call(folder, "http://192.0.2.1:9", "--rate", "1", "--requests", "1")
    assert result.returncode == 2 and "--allow-remote" in result.stderr, result


@case
def an_interrupted_run_reports_what_it_has():
    with StandIn([standin.good]) as server, tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(command(folder, server.url, "--rate", "200", "--duration", "1000", "--sizes", "2"),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        harness.eventually(lambda: len(server.bodies) > 20, "some requests")
        server.gate.acquire()  # so that some are in flight
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=4 * PATIENCE)
        server.gate.release()
    assert process.returncode == 0 and ", interrupted" in output and "cancelled" in output, output


@case
def a_terminal_gets_a_line_of_progress():
    with StandIn([standin.after(0.05)]) as server, tempfile.TemporaryDirectory() as folder:
        reader, writer = pty.openpty()
        process = subprocess.Popen(command(folder, server.url, "--connections", "1", "--duration", "1.8", "--sizes", "2"),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=writer)
        os.close(writer)
        shown = b""
        try:
            while True:
                chunk = os.read(reader, 4096)
                if not chunk:
                    break
                shown += chunk
        except OSError:  # how a terminal ends
            pass
        os.close(reader)
        assert process.wait(4 * PATIENCE) == 0
    assert re.search(rb"\r\x1b\[K1 s  [0-9.]+/s right  p50 [0-9.]+  p99 [0-9.]+ ms  1 in flight  0 failed", shown), shown


@case
def a_report_that_cannot_be_written_is_an_error():
    with StandIn([standin.good]) as server, tempfile.TemporaryDirectory() as folder:
        result = call(folder, server.url, "--connections", "1", "--requests", "1", "--json", folder + "/none/report")
    assert result.returncode == 2 and "/none/report" in result.stderr, result


if __name__ == "__main__":
    sys.exit(harness.main())
