#!/usr/bin/env python3
"""Cost against length: TTFT of dense and of skipping readings from `skipserve bench --json`, with what the FLOP bound allows.

  length_plot.py BENCH.json PICTURE.png      needs matplotlib
"""
import argparse
import json

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("picture")
    a = parser.parse_args()
    with open(a.bench) as file:
        cells = json.load(file)["results"]
    by_level = {}
    for cell in cells:
        by_level.setdefault(cell["requested_level"], []).append(cell)
    dense = {c["prompt_tokens"]: c["ttft_seconds"] for c in by_level["off"]}

    figure, (cost, gain) = plt.subplots(1, 2, figsize=(9, 3.6))
    for level, found in by_level.items():
        lengths = [c["prompt_tokens"] for c in found]
        name = "dense" if level == "off" else found[0]["skip"]["level"]
        line, = cost.loglog(lengths, [c["ttft_seconds"] for c in found], "o-", label=name)
        if level == "off":
            continue
        bounds = [c["skip"]["flop_bound"] for c in found]
        cost.loglog(lengths, [dense[n] / b for n, b in zip(lengths, bounds)], "--", color=line.get_color(), label="dense / FLOP bound")
        gain.semilogx(lengths, [c["gain"] for c in found], "o-", color=line.get_color(), label="measured")
        gain.semilogx(lengths, bounds, "--", color=line.get_color(), label="FLOP bound")
    for axis, title in ((cost, "seconds to the first token"), (gain, "dense over skipping")):
        axis.set_xlabel("prompt tokens")
        axis.set_title(title)
        axis.set_xticks(list(dense), [f"{n:,}" for n in dense], fontsize=8)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend()
    gain.set_ylim(bottom=1)
    figure.tight_layout()
    figure.savefig(a.picture, dpi=110)


main()
