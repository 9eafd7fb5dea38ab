"""Tables on the terminal, and the CSV."""

import csv
import os
import statistics
import time

import machine
import peers

COLUMNS = {  # name: decimal places, or None for text and counts
    "section": None, "engine": None, "version": None, "settings": None, "candidates": None,
    "passage_tokens": None, "tokens": None, "rounds": None, "min_ms": 2, "median_ms": 2,
    "tokens_per_second": 0, "cpu_ms": 2, "cores_used": 2, "other_cores": 2, "peak_mb": 0,
    "not_inference_percent": 1, "max_logit_difference": 6, "kendall_tau": 4, "top10_kept": 2,
}


def shown(row, column, places=None):
    value = row.get(column, "")
    places = COLUMNS.get(column) if places is None else places
    return value if isinstance(value, str) or places is None else f"{value:.{places}f}"


def print_table(title, heads, lines):
    print(f"\n{title}")
    lines = [[str(cell) for cell in line] for line in [heads, *lines]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    for line in lines:
        cells = [cell.ljust(w) if i == 0 or i == len(widths) - 1 else cell.rjust(w)
                 for i, (cell, w) in enumerate(zip(line, widths))]
        print("  ".join(cells).rstrip(), flush=True)


def request(rows):
    columns = ("engine", "min_ms", "median_ms", "tokens_per_second", "cpu_ms", "cores_used", "peak_mb",
               "not_inference_percent", "max_logit_difference", "kendall_tau", "top10_kept", "settings")
    heads = ("engine", "min ms", "median ms", "tokens/s", "CPU ms", "cores", "peak MB", "HTTP etc. %",
             "max diff", "tau", "top 10", "settings")
    places = {"min_ms": 1, "median_ms": 1, "cpu_ms": 1}
    if not rows:
        return
    title = f"One request of {rows[0]['candidates']} passages, {rows[0]['tokens']} tokens"
    print_table(title, heads, [[shown(row, c, places.get(c)) for c in columns] for row in rows])


def ratios(walls):
    """Speed against the rivals, from the rounds: both ran within seconds of each other in each."""
    lines = []
    for name, rivals in peers.RIVALS.items():
        for rival in rivals:
            if name in walls and rival in walls:
                both = zip(walls[name], walls[rival])
                by_round = statistics.median(theirs / own for own, theirs in both)
                of_minima = min(walls[rival]) / min(walls[name])
                lines.append((name, rival, f"{by_round:.2f}", f"{of_minima:.2f}"))
    if lines:
        print_table("How many times as fast", ("engine", "as", "median of rounds", "of the minima"),
                    lines)


def curve(rows, column):
    points = list(dict.fromkeys(row[column] for row in rows))
    names = list(dict.fromkeys(row["engine"] for row in rows))
    cells = {(row["engine"], row[column]): row for row in rows}

    def cell(row):
        return f"{row['min_ms']:.1f} / {row['median_ms']:.1f}" if row else ""

    print_table(f"Latency against {column.replace('_', ' ')}, min / median ms", ["", *points],
                [[name, *(cell(cells.get((name, point))) for point in points)] for name in names])


def fidelity(rows, queries):
    columns = ("engine", "max_logit_difference", "kendall_tau", "top10_kept")
    print_table(f"Against fp32 torch over {queries} requests",
                ("engine", "max diff", "mean tau", "mean of top 10 kept"),
                [[shown(row, c) for c in columns] for row in rows])


def write_csv(path, rows, threads):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    where = {"date": time.strftime("%Y-%m-%d"), "cpu": machine.cpu_name(),
             "features": machine.features(), "threads": threads}
    part = path + ".part"
    with open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*where, *COLUMNS])
        for row in rows:
            writer.writerow([*where.values(), *(shown(row, column) for column in COLUMNS)])
    os.replace(part, path)
