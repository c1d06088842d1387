"""python3 -m bench [KERNEL ...] [--json FILE] [--rounds N]

Measures the kernels in turns and prints medians, and how many times each is
better than the first. The default is ipykernel and gokernel.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections import defaultdict

from bench import measure

SIZES = ("private memory, idle", "private memory of 20 kernels")
COUNTS = ("processes", "messages for 200,000 lines")
TAILS = ("1 until reply and idle", "kernel_info")  # with enough samples for a p99


def collect(names, rounds, say):
    samples = {name: defaultdict(list) for name in names}

    def add(name, numbers):
        for what, value in numbers.items():
            samples[name][what].extend(value if isinstance(value, list) else [value])

    for round_ in range(rounds):
        # Nobody is always first.
        order = names[round_ % len(names):] + names[:round_ % len(names)]
        for name in order:
            say("round %d: %s starts" % (round_ + 1, name))
            add(name, measure.cold(name))
        kernels = {name: measure.Kernel(name) for name in order}
        try:
            for name, kernel in kernels.items():
                kernel.client.ready()
                add(name, measure.memory(kernel))
            for what in (measure.latencies, measure.completion, measure.lines, measure.write,
                         measure.displays, measure.running):
                for name in order:
                    say("round %d: %s %s" % (round_ + 1, name, what.__name__))
                    add(name, what(kernels[name]))
        finally:
            for kernel in kernels.values():
                kernel.close()
    for name in names:
        say("%s: twenty at once" % name)
        add(name, measure.many(name))
    return samples


def summary(samples):
    """Name -> what -> number: medians, and the tail where it means something."""
    out = {}
    for name, by_what in samples.items():
        out[name] = {}
        for what, values in by_what.items():
            tail = what in TAILS
            out[name][what + (", p50" if tail else "")] = statistics.median(values)
            if tail:
                out[name][what + ", p99"] = statistics.quantiles(values, n=100)[98]
    return out


def show(what, value):
    base = what.split(", p")[0]
    if base in SIZES:
        return "%.1f MiB" % (value / (1 << 20))
    if base in COUNTS:
        return "%d" % value
    return "%.2f ms" % (value * 1000) if value < 1 else "%.2f s" % value


def table(result, names):
    rows = [["", *names, *("%s / %s" % (names[0], n) for n in names[1:])]]
    for what, first in result[names[0]].items():
        cells = [show(what, result[n][what]) for n in names]
        ratios = ["%.2fx" % (first / result[n][what]) if what not in COUNTS else "" for n in names[1:]]
        rows.append([what, *cells, *ratios])
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    rows.insert(1, ["-" * w for w in widths])
    return "\n".join(
        "| " + " | ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths))) + " |"
        for r in rows
    )


def main():
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("kernels", nargs="*", default=["python3", "gokernel"])
    parser.add_argument("--json", metavar="FILE", help="write every sample there")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    names = list(dict.fromkeys(args.kernels))
    began = time.monotonic()

    def say(what):
        print("%4.0f s  %s" % (time.monotonic() - began, what), file=sys.stderr, flush=True)

    samples = collect(names, args.rounds, say)
    print("\n%s, %d processors, Python %s, medians of %d rounds in turns\n"
          % (platform.platform(), os.cpu_count(), platform.python_version(), args.rounds))
    print(table(summary(samples), names))
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"samples": samples, "summary": summary(samples)}, f, indent=1)


main()
