"""rerankd against other engines on the same model and the same request, in interleaved rounds."""

import argparse
import csv
import json
import os
import platform
import statistics
import sys
import time

import cross_encoder
import peers


def read_request(path, number, candidates):
    with open(path, encoding="utf-8") as file:
        for at, line in enumerate(file):
            if at == number:
                row = json.loads(line)
                texts = [c["text"] for c in row["candidates"][:candidates]]
                return row["query"], texts
    sys.exit(f"{path}: no line {number}")


def cpu_name():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown CPU"


def measure(engines, query, texts, rounds):
    """Times every engine once a round, so that a change of the machine's speed meets all alike."""
    rows = {engine.name: [] for engine in engines}
    for number in range(rounds):
        for engine in engines:
            cpu = engine.cpu_seconds()
            begin = time.perf_counter()
            engine.score(query, texts)
            wall = time.perf_counter() - begin
            rows[engine.name].append((wall, engine.cpu_seconds() - cpu))
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return rows


def fidelity(scores, reference):
    worst = max(abs(a - b) for a, b in zip(scores, reference))
    pairs = concordant = 0
    for i in range(len(scores)):
        for k in range(i):
            if reference[i] != reference[k]:
                pairs += 1
                concordant += (scores[i] - scores[k]) * (reference[i] - reference[k]) > 0
    return worst, 2 * concordant / max(pairs, 1) - 1


def report(rows, engines, scores, threads, out):
    reference = scores.get("torch fp32") or next(iter(scores.values()))
    first = min(wall for wall, _ in rows[engines[0].name])
    table = []
    for engine in engines:
        walls = [wall for wall, _ in rows[engine.name]]
        cores = statistics.median(cpu / wall for wall, cpu in rows[engine.name])
        worst, tau = fidelity(scores[engine.name], reference)
        table.append({
            "engine": engine.name, "settings": engine.settings,
            "min_ms": round(1000 * min(walls), 1), "median_ms": round(1000 * statistics.median(walls), 1),
            "ratio_of_min": round(min(walls) / first, 3), "cores_used": round(cores, 2),
            "max_logit_difference": f"{worst:.2g}", "kendall_tau": round(tau, 4),
        })
    print(f"{cpu_name()}, {threads} threads")
    columns = list(table[0])
    widths = [max(len(str(row[c])) for row in [dict(zip(columns, columns))] + table) for c in columns]
    for row in [dict(zip(columns, columns))] + table:
        print("  ".join(str(row[c]).ljust(w) for c, w in zip(columns, widths)).rstrip())
    if out:
        with open(out, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(table)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, help="the rerankd binary")
    parser.add_argument("--model", required=True, help="all-MiniLM-L6-v2's directory (see deploy/get-model)")
    parser.add_argument("--candidates", required=True, help="JSON lines: query, candidates[].text")
    parser.add_argument("--line", type=int, default=0, help="which line of it (default: the first)")
    parser.add_argument("--count", type=int, default=100, help="candidates of the request (default: 100)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--peers", default=",".join(peers.NAMES),
                        help=f"comma-separated, of: {', '.join(peers.NAMES)}")
    parser.add_argument("--cache", default=".cache/bench", help="where exported models are kept")
    parser.add_argument("--csv", help="write the table here too")
    arguments = parser.parse_args()

    query, texts = read_request(arguments.candidates, arguments.line, arguments.count)
    directory = cross_encoder.make(arguments.model, arguments.cache)
    engines = [peers.Rerankd(arguments.server, directory, arguments.threads)]
    try:
        for name in filter(None, arguments.peers.split(",")):
            engines.append(peers.make(name, directory, arguments.cache, arguments.threads))
        scores = {}
        for engine in engines:
            engine.tune(query, texts)
            scores[engine.name] = engine.score(query, texts)
        rows = measure(engines, query, texts, arguments.rounds)
        report(rows, engines, scores, arguments.threads, arguments.csv)
        engines[0].report_overhead()
    finally:
        engines[0].stop()


if __name__ == "__main__":
    main()
