#!/usr/bin/env python3
"""Policies that differ in one thing each, as `skipserve eval --policy @FILE` takes them: the paper's own ablations scaled to a
model of so many layers, then what we changed.

  ablations.py LAYERS > ablations.json
"""
import json
import sys


def policy(start, ends, budgets, keeps, **more):
    """The paper's probe unless `more` says otherwise: the last query alone, mean over heads, no pooling."""
    p = dict(start=start, stage_ends=ends, budgets=budgets, keeps=keeps, sink=4, recent=16, window=1, window_reduce="max",
             head_reduce="mean", pool=1, ffn_score="product")
    p.update(more)
    return p


def layered(start, layers, first, last, **more):
    """A cut in every layer, budgets falling geometrically, keeps equal to budgets."""
    ends = list(range(start, layers))
    steps = max(1, len(ends) - 1)
    budgets = [first * (last / first) ** (i / steps) for i in range(len(ends))]
    return policy(start, ends, budgets, budgets, **more)


def main():
    layers = int(sys.argv[1])
    at = lambda share: round(share * layers)  # noqa: E731
    start, ends = at(0.3), [at(0.4), at(0.567), at(0.733), at(0.867)]
    budgets, keeps = [9 / 32, 7 / 32, 4 / 32, 2 / 32], [8 / 32, 6 / 32, 3 / 32, 1 / 32]
    everything = 2 ** 30
    paper = dict(start=start, ends=ends, budgets=budgets)
    wide = dict(window=32, head_reduce="max", pool=15, ffn_score="attention")
    policies = {
        "PAP alone": policy(**paper, keeps=[everything] * 4, ffn_score="attention"),
        "PAP + LTP": policy(**paper, keeps=[everything] * 4),
        "PAP + LTP + MSDP (the paper, scaled)": policy(**paper, keeps=keeps),
        "paper, drop instead of keep": policy(**paper, keeps=[1 - 1 / 32, 1 - 2 / 32, 1 - 3 / 32, 1 - 4 / 32]),
        "paper, FFN rows by attention": policy(**paper, keeps=keeps, ffn_score="attention"),
        "paper, FFN rows by exact change": policy(**paper, keeps=keeps, ffn_score="exact"),
        "paper, max over heads": policy(**paper, keeps=keeps, head_reduce="max"),
        "paper, pool 7": policy(**paper, keeps=keeps, pool=7),
        "paper, pool 15": policy(**paper, keeps=keeps, pool=15),
        "paper, start two fifths": policy(at(0.4), [e + at(0.1) for e in ends], budgets, keeps),
    }
    for window in (4, 16, 32, 64):
        for reduce in ("mean", "max"):
            policies[f"paper, window {window} by {reduce}"] = policy(**paper, keeps=keeps, window=window, window_reduce=reduce)
    middle = at(0.4)
    policies["layered, own scores in every layer"] = layered(middle, layers, 0.35, 0.06, **wide)
    policies["layered, FFN rows by product"] = layered(middle, layers, 0.35, 0.06, **dict(wide, ffn_score="product"))
    for recent in (64, 128, 256):
        policies[f"layered, last {recent} kept"] = layered(middle, layers, 0.35, 0.06, **dict(wide, recent=recent))
    policies["layered, scores remembered"] = layered(middle, layers, 0.35, 0.06, **wide, probe_layers=list(range(middle, layers)),
                                                     memory=1)
    json.dump(policies, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
