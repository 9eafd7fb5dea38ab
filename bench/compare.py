#!/usr/bin/env python3
"""rerankd beside other engines on the same model and the same requests, in interleaved rounds."""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time

import chart
import cross_encoder
import fidelity
import machine
import peers
import report
import workload

HERE = os.path.dirname(os.path.abspath(__file__))
SECTIONS = ("request", "candidates", "lengths", "fidelity")
REFERENCE = "torch fp32"
BATCH_SIZES = (1, 4, 8, 16, 32, 64)
# Threads that spin after their work is done shall not meet the next engine's time.
PAUSE_SECONDS = 0.05
FULL = {"rounds": 9, "curve_rounds": 5, "counts": "10,50,100,200,1000", "lengths": "32,128,256,512",
        "queries": 8}
QUICK = {"rounds": 3, "curve_rounds": 2, "counts": "10,100", "lengths": "32,128", "queries": 2}


def say(text):
    print(text, file=sys.stderr, flush=True)


def attempt(engines, engine, action, *arguments):
    """What `action` returns; where the engine fails, None, and the engine leaves the comparison."""
    try:
        return action(*arguments)
    except peers.EngineError as error:
        say(f"{engine.name} is left out: {error}")
        engines.remove(engine)
        engine.stop()
        return None


def tune(engine, key, batch_sizes):
    """The batch size whose best run of two is fastest; stops after two sizes that were no better."""
    best, times = None, {}
    engine.run(key, batch_sizes[0])
    for batch in batch_sizes:
        times[batch] = min(engine.run(key, batch).wall for _ in range(2))
        if best is None or times[batch] < times[best]:
            best = batch
        elif batch_sizes.index(batch) >= batch_sizes.index(best) + 2:
            break
    return best


class Comparison:
    def __init__(self, arguments, load):
        self.arguments = arguments
        self.load = load
        self.engines = []
        self.batches = {}
        self.rows = []

    def start(self):
        arguments = self.arguments
        model = cross_encoder.path(arguments.cache, "model")
        for dtype in filter(None, arguments.dtypes.split(",")):
            self.engines.append(peers.Rerankd(arguments.server, dtype, model, arguments.threads,
                                              arguments.server_option))
        for name in peers.select_names(arguments.peers):
            self.engines.append(peers.Peer(name, arguments.cache, arguments.threads))
        for engine in list(self.engines):
            say(f"starting {engine.name}")
            attempt(self.engines, engine, engine.start)
        if not self.engines:
            raise SystemExit("nothing to compare")

    def stop(self):
        for engine in self.engines:
            engine.stop()

    def batch(self, engine, case):
        return self.batches.get((engine.name, case.sample), 0)

    def prepare(self, case):
        """Chooses every engine's batch size for the case where that has not been done."""
        for engine in list(self.engines):
            if not engine.batches or (engine.name, case.sample) in self.batches:
                continue
            say(f"batch size of {engine.name} for {case.key}")
            texts = self.load.sample(case)
            if attempt(self.engines, engine, engine.keep, case.sample, case.query, texts) is None:
                sizes = [size for size in self.arguments.batch_sizes if size <= len(texts)] or [1]
                best = attempt(self.engines, engine, tune, engine, case.sample, sizes)
                self.batches[engine.name, case.sample] = best

    def measure(self, case, rounds):
        """One untimed run each, then every engine once a round, so that a change of the machine's speed
        meets all alike; each round begins with another engine."""
        for engine in list(self.engines):
            attempt(self.engines, engine, engine.keep, case.key, case.query, case.texts)
        for engine in list(self.engines):
            attempt(self.engines, engine, engine.run, case.key, self.batch(engine, case))
        runs = {engine: [] for engine in self.engines}
        watch = machine.Watch(self.engines, self.arguments.threads)
        for number in range(rounds):
            turn = number % max(len(self.engines), 1)
            for engine in self.engines[turn:] + self.engines[:turn]:
                time.sleep(PAUSE_SECONDS)
                run = attempt(self.engines, engine, engine.run, case.key, self.batch(engine, case))
                if run:
                    runs[engine].append(run)
            say(f"{case.section}, {case.key}: round {number + 1} of {rounds}")
        others = watch.others()
        if others > 0.1:
            say(f"warning: other processes took {others:.1f} cores meanwhile: not figures to use")
        return {engine: runs[engine] for engine in self.engines if runs[engine]}, others

    def row(self, case, engine, runs, others):
        walls = [run.wall for run in runs]
        batch = self.batch(engine, case)
        row = {
            "section": case.section, "engine": engine.name, "version": engine.version,
            "settings": f"batch {batch}, {engine.settings}" if batch else engine.settings,
            "candidates": len(case.texts), "passage_tokens": case.length or "", "tokens": case.tokens,
            "rounds": len(runs),
            "min_ms": 1000 * min(walls), "median_ms": 1000 * statistics.median(walls),
            "tokens_per_second": case.tokens / statistics.median(walls),
            "cpu_ms": 1000 * statistics.median(run.cpu for run in runs),
            "cores_used": statistics.median(run.cpu / run.wall for run in runs), "other_cores": others,
        }
        if runs[0].inference:
            share = statistics.median(1 - run.inference / run.wall for run in runs)
            row["not_inference_percent"] = 100 * share
        return row

    def judge(self, row, scores, references):
        """Adds the fidelity columns: `scores` and `references` hold one list a request."""
        if not references or scores[0] is None:
            return
        pairs = list(zip(scores, references))
        row["max_logit_difference"] = max(fidelity.max_difference(a, b) for a, b in pairs)
        row["kendall_tau"] = statistics.mean(fidelity.kendall_tau(a, b) for a, b in pairs)
        row["top10_kept"] = statistics.mean(fidelity.top_kept(a, b) for a, b in pairs)

    def request(self):
        case = self.load.request(self.arguments.count)
        self.prepare(case)
        for engine in list(self.engines):
            attempt(self.engines, engine, engine.restart)
        runs, others = self.measure(case, self.arguments.rounds)
        reference = [of[0].scores for engine, of in runs.items() if engine.name == REFERENCE]
        rows = []
        for engine, of in runs.items():
            row = self.row(case, engine, of, others)
            row["peak_mb"] = engine.peak_memory() / 1e6
            self.judge(row, [of[0].scores], reference)
            rows.append(row)
        self.rows += rows
        report.request(rows)
        report.ratios({engine.name: [run.wall for run in of] for engine, of in runs.items()})

    def curve(self, cases, title):
        rows = []
        for case in cases:
            self.prepare(case)
            runs, others = self.measure(case, self.arguments.curve_rounds)
            rows += [self.row(case, engine, of, others) for engine, of in runs.items()]
        self.rows += rows
        report.curve(rows, title)

    def candidates(self):
        self.curve(self.load.candidates(self.arguments.counts), "candidates")

    def lengths(self):
        self.curve(self.load.lengths(self.arguments.lengths), "passage_tokens")

    def fidelity(self):
        cases = self.load.fidelity(self.arguments.queries, self.arguments.count)
        engines = [engine for engine in self.engines if engine.name != "tokenizers"]
        if not any(engine.name == REFERENCE for engine in engines):
            say(f"no fidelity without {REFERENCE}")
            return
        self.prepare(cases[0])
        scores = {}
        for engine in engines:
            if engine not in self.engines:
                continue
            scores[engine] = attempt(self.engines, engine, self.scores, engine, cases)
        self.report_fidelity(cases, {e: s for e, s in scores.items() if e in self.engines})

    def scores(self, engine, cases):
        found = []
        for case in cases:
            engine.keep(case.key, case.query, case.texts)
            found.append(engine.run(case.key, self.batch(engine, case)).scores)
        return found

    def report_fidelity(self, cases, scores):
        reference = [of for engine, of in scores.items() if engine.name == REFERENCE]
        rows = []
        for engine, of in scores.items():
            row = {"section": "fidelity", "engine": engine.name, "version": engine.version,
                   "settings": engine.settings, "rounds": len(cases),
                   "candidates": sum(len(case.texts) for case in cases),
                   "tokens": sum(case.tokens for case in cases)}
            self.judge(row, of, reference[0] if reference else None)
            rows.append(row)
        self.rows += rows
        report.fidelity(rows, len(cases))


def prepare_models(arguments):
    """In a process of its own, whose memory goes with it."""
    wanted = ["model"] + [peers.PEERS[name]["model"] for name in peers.select_names(arguments.peers)]
    for artifact in cross_encoder.missing(arguments.cache, wanted):
        say(f"preparing {cross_encoder.path(arguments.cache, artifact)}")
        command = [sys.executable, os.path.join(HERE, "cross_encoder.py"), "--source", arguments.model,
                   "--cache", arguments.cache, "--candidates", arguments.candidates, artifact]
        log = os.path.join(arguments.cache, f"prepare-{artifact}.log")
        os.makedirs(arguments.cache, exist_ok=True)
        with open(log, "wb") as file:
            status = subprocess.run(command, env=peers.peer_environment(arguments.threads), stdout=file,
                                    stderr=file, check=False).returncode
        if status != 0:
            say(f"that failed (see {log}); what needs it is left out")


def numbers(text):
    values = [int(part) for part in text.split(",") if part]
    if not values or min(values) < 1:
        raise argparse.ArgumentTypeError("expected positive numbers, comma-separated")
    return values


def read_arguments():
    parser = argparse.ArgumentParser(prog="bench/compare", description=__doc__)
    add = parser.add_argument
    add("--server", help="the rerankd binary (needed unless --dtypes is empty)")
    add("--model", required=True, help="all-MiniLM-L6-v2's directory (see deploy/get-model)")
    add("--candidates", required=True, help="JSON lines: query, candidates[].text")
    add("--line", type=int, default=0, help="the query that is timed (default: 0, the first line)")
    add("--count", type=int, default=100, help="candidates of the one request (default: 100)")
    add("--peers", default=",".join(peers.PEERS),
        help=f"comma-separated beginnings of: {', '.join(peers.PEERS)} (default: all; may be empty)")
    add("--dtypes", default=",".join(peers.DTYPES),
        help="of rerankd (default: %(default)s; may be empty)")
    add("--sections", default=",".join(SECTIONS), help="default: %(default)s")
    add("--quick", action="store_true", help="few rounds, short curves; no file without --results")
    add("--rounds", type=int, help="of the one request (default: 9; quick: 3)")
    add("--curve-rounds", type=int, help="of each point of a curve (default: 5; quick: 2)")
    add("--counts", type=numbers, help="candidates (default: 10,50,100,200,1000; quick: 10,100)")
    add("--lengths", type=numbers, help="passage tokens (default: 32,128,256,512; quick: 32,128)")
    add("--queries", type=int, help="requests that fidelity is taken on (default: 8; quick: 2)")
    add("--batch-sizes", type=numbers, default=list(BATCH_SIZES),
        help="tried with each peer, ascending (default: 1,4,8,16,32,64)")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)),
        help="and cores (default: all there are)")
    add("--server-option", action="append", default=[], metavar="OPTION=VALUE",
        help="one more argument for rerankd: --server-option=--max-batch-tokens=2048; repeatable")
    add("--cache", default=".cache/bench", help="where prepared models are kept (default: %(default)s)")
    add("--results", help="folder for the CSV and the picture (default: bench/results)")
    add("--check-arguments", action="store_true", help="do nothing else")
    arguments = parser.parse_args()
    for name, value in (QUICK if arguments.quick else FULL).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, numbers(value) if isinstance(value, str) else value)
    if arguments.dtypes and not arguments.server:
        parser.error("--server is needed for rerankd's --dtypes")
    if arguments.dtypes and not os.access(arguments.server, os.X_OK):
        parser.error(f"--server: no program '{arguments.server}'")
    for path in (os.path.join(arguments.model, "tokenizer.json"), arguments.candidates):
        if not os.path.isfile(path):
            parser.error(f"no file '{path}'")
    arguments.sections = [name for name in arguments.sections.split(",") if name]
    if not set(arguments.sections) <= set(SECTIONS):
        parser.error(f"--sections: of {', '.join(SECTIONS)}")
    for name in ("count", "rounds", "curve_rounds", "queries", "threads"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: at least 1")
    if arguments.line < 0 or arguments.threads > len(os.sched_getaffinity(0)):
        parser.error("--line is at least 0, --threads at most the number of cores")
    if arguments.results is None and not arguments.quick:
        arguments.results = os.path.join(HERE, "results")
    return arguments


def main():
    arguments = read_arguments()
    if arguments.check_arguments:
        return
    # So that the engines are stopped then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    prepare_models(arguments)
    load = workload.Workload(arguments.candidates, arguments.line, arguments.model)
    comparison = Comparison(arguments, load)
    title = f"{machine.cpu_name()}, {arguments.threads} threads"
    print(f"{title} ({machine.features()})", flush=True)
    try:
        comparison.start()
        for section in arguments.sections:
            getattr(comparison, section)()
            # After each section: a run that is broken off has not been for nothing.
            if arguments.results:
                base = os.path.join(arguments.results, machine.file_name())
                report.write_csv(base + ".csv", comparison.rows, arguments.threads)
                chart.write(base + ".svg", comparison.rows, title)
        if arguments.results:
            say(f"written: {base}.csv, {base}.svg")
    finally:
        comparison.stop()


if __name__ == "__main__":
    main()
