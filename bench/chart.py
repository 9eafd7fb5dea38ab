#!/usr/bin/env python3
"""The picture: latency against candidates and against passage length, both axes logarithmic.
Draws a results file again with: bench/chart.py FILE.csv FILE.svg"""

import argparse
import csv
import math
import os
from xml.sax.saxutils import escape

PANELS = (("candidates", "candidates", "passages in the request, as given"),
          ("lengths", "passage_tokens", "tokens of each of 100 passages"))
COLOURS = {"rerankd": "#c1272d", "rerankd-int8": "#e07b39", "fastapi": "#8a5a00", "infinity": "#2559a8",
           "infinity-int8": "#7a3e9d", "tei": "#1b7f4b", "onnxruntime": "#1b7f4b", "openvino": "#2559a8", "torch": "#8a5a00",
           "tokenizers": "#777777"}
DASHES = {"fp32": "", "float32": "", "bf16": "7 3", "bfloat16": "7 3", "int8": "2 3",
          "int8+bf16": "8 3 2 3", "auto": "12 3 2 3", "p50": "2 3", "p99": ""}
OTHERS = ("#2559a8", "#1b7f4b", "#8a5a00", "#7a3e9d", "#000000", "#0e8a9a", "#b5379a")  # for other families
WIDTH, HEIGHT = 560, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 140, 56, 52
LABEL_STEP = 14


def ticks(low, high):
    """1, 2, 5 times powers of ten within the range."""
    found = []
    for power in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1):
        found += [m * 10 ** power for m in (1, 2, 5) if low <= m * 10 ** power <= high]
    return found


def number(value):
    return f"{value:,.0f}" if value >= 1 and value == int(value) or value >= 100 else f"{value:g}"


def spread(wanted):
    """Label heights near the wanted ones, at least a step apart, in the same order."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = [0.0] * len(wanted)
    groups = []  # [sum of (wanted - offset in the group), members]
    for i in order:
        groups.append([wanted[i], [i]])
        while len(groups) > 1:
            (sum_a, a), (sum_b, b) = groups[-2:]
            if sum_a / len(a) + LABEL_STEP * len(a) <= sum_b / len(b):
                break
            groups[-2:] = [[sum_a + sum_b - LABEL_STEP * len(a) * len(b), a + b]]
    for total, members in groups:
        for at, i in enumerate(members):
            placed[i] = total / len(members) + LABEL_STEP * at
    return placed


class Panel:
    def __init__(self, left, lines, x_label, x_points, y_label="median latency, ms"):
        values = [y for points in lines.values() for _, y in points]
        self.left, self.lines, self.x_label, self.x_points = left, lines, x_label, x_points
        self.y_label = y_label
        self.x_range = (min(x_points) / 1.1, max(x_points) * 1.1)
        self.y_range = (min(values) / 1.3, max(values) * 1.3)

    def x(self, value):
        low, high = (math.log(v) for v in self.x_range)
        return self.left + LEFT + (math.log(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value):
        low, high = (math.log(v) for v in self.y_range)
        return HEIGHT - BOTTOM - (math.log(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def y_ticks(self):
        return ticks(*self.y_range)

    def axes(self):
        x0, x1, y0 = self.left + LEFT, self.left + WIDTH - RIGHT, HEIGHT - BOTTOM
        for value in self.y_ticks():
            y = self.y(value)
            yield f'<line x1="{x0}" x2="{x1}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e2e2e2"/>'
            yield f'<text x="{x0 - 6}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>'
        for value in self.x_points:
            x = self.x(value)
            yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{y0}" stroke="#e2e2e2"/>'
            yield f'<text x="{x:.1f}" y="{y0 + 16}" text-anchor="middle">{number(value)}</text>'
        middle = f'x="{(x0 + x1) / 2}" text-anchor="middle"'
        yield f'<text {middle} y="{y0 + 38}">{escape(self.x_label)}</text>'
        yield f'<text x="{x0}" y="{TOP - 10}">{escape(self.y_label)}</text>'

    def curves(self):
        names = list(self.lines)
        heights = spread([self.y(self.lines[name][-1][1]) for name in names])
        families = {name.partition(" ")[0] for name in names}
        strangers = sorted(families - set(COLOURS))
        taken = {COLOURS[family] for family in families & set(COLOURS)}
        others = [colour for colour in OTHERS if colour not in taken] or OTHERS
        for name, height in zip(names, heights):
            family, _, kind = name.partition(" ")
            colour = COLOURS[family] if family in COLOURS else others[strangers.index(family) % len(others)]
            dash = DASHES.get(kind, "")
            points = [(self.x(x), self.y(y)) for x, y in self.lines[name]]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            style = f'fill="none" stroke="{colour}"'
            width = 2.4 if family.startswith("rerankd") else 1.4
            dashes = f' stroke-dasharray="{dash}"' if dash else ""
            yield f'<polyline points="{path}" {style} stroke-width="{width}"{dashes}/>'
            for x, y in points:
                yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>'
            (x, y), edge = points[-1], self.left + WIDTH - RIGHT
            lead = f"M{x + 3:.1f} {y:.1f} L{edge + 2} {height:.1f} h6"
            yield f'<path d="{lead}" {style} stroke-width="0.5"/>'
            yield f'<text x="{edge + 11}" y="{height + 4:.1f}" fill="{colour}">{escape(name)}</text>'

    def draw(self):
        return [*self.axes(), *self.curves()]


def page(width, title, body):
    """The SVG's text around the panels' elements."""
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" '
            f'viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif" font-size="12" fill="#222222">')
    return "\n".join([head, '<rect width="100%" height="100%" fill="#ffffff"/>',
                      f'<text x="16" y="22" font-size="14">{escape(title)}</text>', *body, "</svg>", ""])


def lines_of(rows, section, column):
    """{engine: [(x, median ms)]} of one section, x ascending."""
    lines = {}
    for row in rows:
        if row["section"] == section:
            lines.setdefault(row["engine"], []).append((float(row[column]), float(row["median_ms"])))
    return {name: sorted(points) for name, points in lines.items()}


def draw(rows, title):
    """The SVG's text, or None where the rows hold no curve."""
    body, left = [], 0
    for section, column, label in PANELS:
        lines = lines_of(rows, section, column)
        if lines:
            x_points = sorted({x for points in lines.values() for x, _ in points})
            body += Panel(left, lines, label, x_points).draw()
            left += WIDTH
    if not body:
        return None
    return page(left, title, body)


def write(path, rows, title):
    picture = draw(rows, title)
    if picture:
        with open(path + ".part", "w", encoding="utf-8") as file:
            file.write(picture)
        os.replace(path + ".part", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", metavar="FILE.csv")
    parser.add_argument("svg", metavar="FILE.svg")
    arguments = parser.parse_args()
    with open(arguments.csv, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if rows:
        write(arguments.svg, rows, f"{rows[0]['cpu']}, {rows[0]['threads']} threads")


if __name__ == "__main__":
    main()
