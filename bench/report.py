#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Shows the results of beam-bench: tables, the goals and what was measured, pictures.

usage: report.py RESULTS.json [--also RESULTS.json]... [--markdown FILE] [--pictures FOLDER]

Prints the tables. --also shows the goals of other runs beside those of this one. --markdown writes
all figures as a page of their own; --pictures draws the pictures with gnuplot, as SVG. Every ratio
is taken within a round, and the median of the rounds is the result.
"""

import argparse
import json
import os
import subprocess
import textwrap
from pathlib import Path
from statistics import median

ONE, TWO, FREE = "one core", "two cores", "unpinned"
BOTH = (ONE, TWO)
# The systems whose bytes go through a socket.
SOCKETS = ("zmq", "nng", "nanomsg", "libuv", "sd-bus")

# For each goal: a title; what is measured, as (work, peer, figure); what it is compared with, or
# None; the bound; and the places.
GOALS = [
    ("W1 round trip, p50", ("w1", "beam", "p50"), ("w1", "raw", "p50"), "<=", 0.10, (TWO,)),
    ("W1 round trip, p99", ("w1", "beam", "p99"), ("w1", "raw", "p99"), "<=", 0.3, (TWO,)),
    ("W1 round trip, p50", ("w1", "beam", "p50"), ("w1", "raw", "p50"), "<=", 1.15, (ONE,)),
    ("W1 round trip, p99", ("w1", "beam", "p99"), ("w1", "raw", "p99"), "<=", 1.5, (ONE,)),
    ("W1 beside busy processes, p50", ("w1-busy", "beam", "p50"), ("w1-busy", "raw", "p50"), "<=", 1.5, BOTH),
    ("W1 beside busy processes, p99", ("w1-busy", "beam", "p99"), ("w1-busy", "raw", "p99"), "<=", 1.5, BOTH),
    ("W2 64 B", ("w2-64", "beam", "rate"), ("w2-64", "raw", "rate"), ">=", 12, BOTH),
    ("W2 64 B", ("w2-64", "beam", "rate"), ("w2-64", "zmq", "rate"), ">=", 5, BOTH),
    ("W2 1 KiB", ("w2-1k", "beam", "rate"), ("w2-1k", "raw", "rate"), ">=", 4, BOTH),
    ("W2 16 KiB", ("w2-16k", "beam", "rate"), ("w2-16k", "raw", "rate"), ">=", 1.6, BOTH),
    ("W2 256 KiB", ("w2-256k", "beam", "rate"), ("w2-256k", "raw", "rate"), ">=", 2.5, BOTH),
    ("W2 1 MiB", ("w2-1m", "beam", "rate"), ("w2-1m", "raw", "rate"), ">=", 2.7, BOTH),
    *[(f"W2 {size}", (work, "beam", "rate"), (work, peer, "rate"), ">=", 1, BOTH)
      for size, work in (("16 KiB", "w2-16k"), ("256 KiB", "w2-256k"), ("1 MiB", "w2-1m")) for peer in SOCKETS],
    ("W3 with a descriptor, borrowed", ("w3", "beam", "rate"), ("w3", "raw", "rate"), ">=", 2.5, BOTH),
    ("W3 the same by send_many", ("w3", "beam-many", "rate"), ("w3", "raw", "rate"), ">=", 4, BOTH),
    ("W3 the same by send_many", ("w3", "beam-many", "rate"), ("w3", "wayland", "rate"), ">=", 1.4, BOTH),
    ("W3 round trip with a descriptor, p50", ("w3-trip", "beam", "p50"), ("w3-trip", "raw", "p50"), "<=", 1.25, (ONE,)),
    ("W3 round trip with a descriptor, p50", ("w3-trip", "beam", "p50"), ("w3-trip", "raw", "p50"), "<=", 0.15, (TWO,)),
    ("W4 four threads, one topic", ("w4", "beam", "rate"), ("w4", "raw", "rate"), ">=", 10, BOTH),
    ("W4 four threads, one topic", ("w4", "beam", "rate"), ("w4", "zmq", "rate"), ">=", 3, BOTH),
    ("W4 four threads, four topics", ("w4-topics", "beam", "rate"), ("w4-topics", "raw", "rate"), ">=", 10, BOTH),
    ("W4 four threads, four topics", ("w4-topics", "beam", "rate"), ("w4-topics", "zmq", "rate"), ">=", 3, BOTH),
    ("W5 rate beside a slow topic", ("w5", "beam", "rate"), ("w5-alone", "beam", "rate"), ">=", 0.9, BOTH),
    ("W5 p99 beside a slow topic", ("w5-trip", "beam", "p99"), ("w5-trip-alone", "beam", "p99"), "<=", 2, BOTH),
    # Time is the inverse of rate.
    ("W6 time a message, 16 topics", ("w6-1", "beam", "rate"), ("w6-16", "beam", "rate"), "<=", 1.2, BOTH),
    ("W6 time a message, 256 topics", ("w6-1", "beam", "rate"), ("w6-256", "beam", "rate"), "<=", 1.2, BOTH),
    ("W7 p99 beside 100 MiB messages", ("w7", "beam", "p99"), ("w7-alone", "beam", "p99"), "<=", 5, BOTH),
    ("W8 wake-ups, idle", ("w8", "beam", "wakeups"), None, "<=", 0, (FREE,)),
    ("W8 wake-ups, a thread waiting", ("w8-blocked", "beam", "wakeups"), None, "<=", 0, (FREE,)),
    ("W8 bytes a channel, unused", ("w8-new", "beam", "channel"), None, "<=", 16 << 10, (FREE,)),
    ("W8 bytes a channel, once used", ("w8-used", "beam", "channel"), None, "<=", 16 << 10, (FREE,)),
    ("W8 bytes of its thread's stack", ("w8-used", "beam", "stack"), None, "<=", 64 << 10, (FREE,)),
    ("W9 three more threads blocked, p50", ("w9", "beam", "p50"), ("w9", "raw", "p50"), "<=", 1.5, (ONE,)),
    ("W9 three more threads blocked, p50", ("w9", "beam", "p50"), ("w9", "raw", "p50"), "<=", 0.3, (TWO,)),
    ("System calls a round trip", ("w1", "beam", "calls"), None, "<=", 8, BOTH),
    ("System calls a message of 64 B", ("w2-64", "beam", "calls"), None, "<=", 0.01, BOTH),
]

# What the overview shows, from the top: work, figure, label.
OVERVIEW = [
    ("w1", "p50", "round trip, 64 B"),
    ("w3-trip", "p50", "round trip, descriptor"),
    ("w2-64", "rate", "one way, 64 B"),
    ("w4", "rate", "one way, 4 threads"),
    ("w3", "rate", "one way, descriptor"),
    ("w2-1k", "rate", "one way, 1 KiB"),
    ("w2-16k", "rate", "one way, 16 KiB"),
    ("w2-256k", "rate", "one way, 256 KiB"),
    ("w2-1m", "rate", "one way, 1 MiB"),
]

UNITS = {"rate": "messages/s", "p50": "p50, µs", "p99": "p99, µs", "calls": "system calls", "wakeups": "wake-ups",
         "cpu": "processor time, µs", "channel": "bytes a channel", "stack": "bytes of stack"}


def short(value):
    """1234567 as 1.23 M."""
    for limit, unit in ((1e6, " M"), (1e4, " k")):
        if value >= limit:
            return f"{value / (1e3 if unit == ' k' else limit):.3g}{unit}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def ratio_text(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 1 else f"{value:.2f}"


class Results:
    def __init__(self, path):
        self.all = json.loads(Path(path).read_text(encoding="utf-8"))
        self.values = {(s["work"], s["cores"], s["peer"], s["figure"]): s["values"] for s in self.all["series"]}
        self.titles = {w["name"]: w["title"] for w in self.all["works"]}
        self.sizes = {w["name"]: w["size"] for w in self.all["works"]}
        # In the order of the works, the figures and the places.
        self.rows = list(dict.fromkeys((w["name"], s["figure"], s["cores"]) for w in self.all["works"]
                                       for s in self.all["series"] if s["work"] == w["name"]))
        # A system has the same line in every picture, whichever systems were measured.
        self.types = {p["name"]: p["number"] for p in self.all["peers"]}
        measured = {s["peer"] for s in self.all["series"]}
        self.peers = [p["name"] for p in self.all["peers"] if p["name"] in measured]

    def get(self, what, cores):
        work, peer, figure = what
        return self.values.get((work, cores, peer, figure))

    def ratios(self, what, against, cores):
        """Returns the ratios, round by round, or None if one of the figures was not measured."""
        values = self.get(what, cores)
        others = self.get(against, cores) if against else None
        if not values or (against and not others):
            return None
        if not against:
            return values
        # A rate of 0 stands for a run that could not be measured.
        return [a / b for a, b in zip(values, others)] if all(others) else None

    def cell(self, work, figure, cores, peer):
        """Returns the figure itself, if it is raw's or raw has none; otherwise its ratio to raw."""
        values = self.get((work, peer, figure), cores)
        if values is None:
            return "–"
        if peer != "raw" and figure in ("rate", "p50", "p99"):
            ratios = self.ratios((work, peer, figure), (work, "raw", figure), cores)
            if ratios:
                return ratio_text(median(ratios))
        return short(median(values))

    def goals(self):
        """(title, compared with, bound, cores, ratios, met), in the order of the goals."""
        for title, what, against, sense, bound, places in GOALS:
            for cores in places:
                ratios = self.ratios(what, against, cores)
                other = "" if not against else against[1] if against[1] != what[1] else self.titles[
                    against[0] if title[:2] != "W6" else what[0]].split(" ", 1)[1]
                met = None
                if ratios:
                    met = median(ratios) <= bound if sense == "<=" else median(ratios) >= bound
                yield title, other, f"{'≤' if sense == '<=' else '≥'} {bound:g}", cores, ratios, met


def print_table(head, lines):
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    for line in [head, *lines]:
        print("  ".join(f"{text:{'<' if i < 3 else '>'}{widths[i]}}" for i, text in enumerate(line)).rstrip())


def markdown_table(head, lines):
    return ["| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines]] + [""]


def range_text(values, text):
    """The median of the values, with their minimum and maximum."""
    return f"{text(median(values))} ({text(min(values))}–{text(max(values))})"


def summary(results):
    head = ["work", "", "cores", *results.peers]
    lines = []
    for work, figure, cores in results.rows:
        cells = [results.cell(work, figure, cores, peer) for peer in results.peers]
        lines.append([results.titles[work], UNITS[figure], cores, *cells])
    return head, lines


def goal_lines(runs):
    """A column for each run, and in how many runs the goal was met."""
    lines = []
    for goals in zip(*[results.goals() for results in runs]):
        title, other, bound, cores, *_ = goals[0]
        measured = [range_text(ratios, ratio_text) if ratios else "–" for *_, ratios, _ in goals]
        met = [met for *_, met in goals if met is not None]
        if met:
            verdict = "met" if all(met) else f"met in {met.count(True)} of {len(met)}" if any(met) else "MISSED"
            lines.append([title, f"× {other}" if other else "", cores, bound, *measured, verdict])
    heads = ["median (min–max)"] if len(runs) == 1 else [f"run {i + 1}" for i in range(len(runs))]
    return ["goal", "", "cores", "bound", *heads, ""], lines


def spread_lines(results):
    lines = []
    for work, figure, cores in results.rows:
        for peer in results.peers:
            values = results.get((work, peer, figure), cores)
            if not values:
                continue
            ratios = results.ratios((work, peer, figure), (work, "raw", figure), cores) if peer != "raw" else None
            if figure not in ("rate", "p50", "p99"):
                ratios = None
            lines.append([results.titles[work], f"{cores}, {UNITS[figure]}", peer, range_text(values, short),
                          range_text(ratios, ratio_text) if ratios else ""])
    return ["work", "where and what", "by", "median (min–max)", "× raw (min–max)"], lines


def notes(results):
    lines = [f"{note['name']}: {note['text']}" for note in results.all["notes"]]
    why = {}
    for refusal in results.all["cannot"]:
        why.setdefault((refusal["peer"], refusal["why"]), []).append(results.titles[refusal["work"]])
    return lines + [f"{peer}: {reason} ({', '.join(works)})" for (peer, reason), works in why.items()]


def machine(results):
    about = results.all["machine"]
    return (f"Beam {about['beam']}, {about['day']}: {about['processor']}, {about['cores']} cores, "
            f"Linux {about['kernel']}; {results.all['rounds']} rounds of {results.all['seconds']:g} s each")


# ---- Pictures ----


def blocks(path, curves):
    """Writes data for gnuplot: a block for each curve, with its name in the first line."""
    with open(path, "w", encoding="utf-8") as out:
        for name, points in curves:
            print(f'"{name}"', file=out)
            for x, y in points:
                print(x, y, file=out)
            print("\n", file=out)


def gnuplot(script, folder, name, curves, types, settings):
    """Draws FOLDER/NAME.svg."""
    data = folder / f"{name}.dat"
    blocks(data, curves)
    settings = {"data": data.resolve(), "picture": folder.resolve() / f"{name}.svg", "types": types, **settings}
    command = "; ".join(f"{key}='{value}'" for key, value in settings.items()) + f"; curves={len(curves)}"
    subprocess.run(["gnuplot", "-e", command, script], check=True, cwd=Path(__file__).resolve().parent)
    data.unlink()
    return f"{name}.svg"


def speed(results, work, figure, cores, peer):
    """How many times as fast as raw: for a round trip, the inverse of the ratio of times. None if
    it was not measured."""
    ratios = results.ratios((work, peer, figure), (work, "raw", figure), cores)
    if not ratios:
        return None
    return median(ratios) if figure == "rate" else 1 / median(ratios)


def draw_overview(results, folder):
    """Draws a panel for each place, with a line for each load and a point for each system. Returns
    [name], or [] if there is nothing to show."""
    # More than two panels cannot be read.
    places = [cores for cores in (ONE, TWO, FREE) if speed(results, "w1", "p50", cores, "beam")][:2]
    # Beam comes last, so that its points are on top.
    peers = sorted((peer for peer in results.peers if peer != "raw"), key=lambda peer: peer.startswith("beam"))
    curves = [(peer, [(x, -i) for i, (work, figure, _) in enumerate(OVERVIEW)
                      for x in [speed(results, work, figure, cores, peer)] if x])
              for cores in places for peer in peers]
    # gnuplot does not count an empty block.
    curves = [(peer, points or [("NaN", "NaN")]) for peer, points in curves]
    if not places:
        return []
    variables = {
        "heading": "",
        "labels": ", ".join(f'"{label}" {-i}' for i, (*_, label) in enumerate(OVERVIEW)),
        "places": " ".join(f'"{cores}"' for cores in places),
        "lowest": 0.4 - len(OVERVIEW),
    }
    types = " ".join(str(results.types[peer]) for peer in peers)
    return [gnuplot("overview.gp", folder, "overview", curves, types, variables)]


def draw(results, folder):
    """Draws the pictures, and returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = draw_overview(results, folder)
    for cores in (ONE, TWO, FREE):
        rates = []
        for peer in results.peers:
            measured = [(results.sizes[work], results.get((work, peer, "rate"), cores))
                        for work in results.titles if work.startswith("w2-")]
            rates.append((peer, [(size, median(values)) for size, values in measured if values]))
        latencies = [(item["peer"], [(p, us) for p, us in zip(item["percentiles"], item["us"]) if 0 < p < 1])
                     for item in results.all["latencies"] if item["work"] == "w1" and item["cores"] == cores]
        for kind, title, curves in (("throughput", "One way", rates), ("latency", "Round trip of 64 B", latencies)):
            curves = [curve for curve in curves if curve[1]]
            if curves:
                types = " ".join(str(results.types[peer]) for peer, _ in curves)
                names.append(gnuplot(f"{kind}.gp", folder, f"{kind}-{cores.replace(' ', '-')}", curves, types,
                                     {"heading": f"{title}, {cores}"}))
    return names


# ---- The page ----


def wrapped(text, indent=""):
    return textwrap.wrap(text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def page(runs, folder, pictures):
    results = runs[0]
    lines = ["<!-- Generated by tools/bench --markdown, which overwrites it: do not edit. -->", "",
             "# Figures of the benchmark", ""]
    lines += wrapped("`tools/bench --markdown FILE` generates this page. [performance.md](../performance.md) says what"
                     " the figures mean for a program. [development.md](development.md) says how they are measured and"
                     " which goals are missed, and why.")
    lines += ["", *wrapped(f"Measured with {machine(results)}."), "", "## Goals", ""]
    if len(runs) > 1:
        lines += wrapped(f"{len(runs)} separate runs. Each cell is the median of the rounds of a run, with their"
                         " minimum and maximum in parentheses. All other tables and the pictures show run 1.")
        lines += [""]
    lines += markdown_table(*goal_lines(runs))
    lines += ["## Against the raw program", ""]
    lines += wrapped("The raw column is absolute, and so are rows without a raw figure and rows that count system"
                     " calls. Every other cell is a ratio to raw.")
    lines += ["", *markdown_table(*summary(results))]
    lines += wrapped("A dash means that the system was not measured with this load. W5 to W9 are loads for Beam, and"
                     " some of them for raw. The other reasons are:")
    lines += ["", *[line for note in notes(results) for line in wrapped(f"- {note}", "  ")], ""]
    if pictures:
        lines += ["## Pictures", ""]
        lines += [f"![{name[:-4].replace('-', ' ')}]({folder}/{name})" for name in pictures] + [""]
    lines += ["## Every figure", ""]
    lines += markdown_table(*spread_lines(results))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results")
    parser.add_argument("--also", action="append", default=[])
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    results = Results(options.results)

    print_table(*summary(results))
    print()
    runs = [results, *map(Results, options.also)]
    print_table(*goal_lines(runs))
    print()
    for note in notes(results):
        print(note)
    met = [met for *_, met in results.goals()]
    print(f"{met.count(True)} goals met, {met.count(False)} missed, {met.count(None)} not measured")

    pictures = draw(results, options.pictures) if options.pictures else []
    if options.markdown:
        folder = os.path.relpath(options.pictures, options.markdown.parent) if options.pictures else ""
        options.markdown.write_text(page(runs, folder, pictures), encoding="utf-8")


if __name__ == "__main__":
    main()
