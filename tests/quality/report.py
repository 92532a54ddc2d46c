#!/usr/bin/env python3
"""The quality page: tables and a picture from what `skipserve eval --json` wrote.

  report.py EVAL.json [EVAL.json ...] --page QUALITY.md --picture quality.png

Needs matplotlib (PyPI). Nothing is measured here. Files of one model are put together: a case that
is in several has the readings of all.
"""
import argparse
import json
import os

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

METHODS = {"skip": ("skipping", "o-", "#1a6fb5"), "last": ("last tokens only", "s--", "#c2571a"),
           "prune_once": ("pruned once", "^:", "#3c8c3c")}
FEWEST = 8  # facts on which methods are compared in the picture


def load(paths):
    """-> readings by name, cases, and the first file's facts."""
    files = [json.load(open(path)) for path in paths]
    if any(not f["held_out"] for f in files):
        raise SystemExit("these are calibration tasks: quality is reported on held-out ones alone")
    readings = {}
    for f in files:
        for reading in f["readings"]:
            readings.setdefault(reading["name"], reading)
    cases = {}
    for f in files:
        names = [reading["name"] for reading in f["readings"]]
        for case in f["cases"]:
            key = case["task"], case["tokens"], case["index"]
            known = cases.setdefault(key, dict(case, outcomes={}))
            known["outcomes"].update(zip(names, case["outcomes"]))
    return readings, list(cases.values()), files[0], [reason for f in files for reason in f["left_out"]]


def mean(parts, weights):
    return sum(parts) / sum(weights) if sum(weights) else float("nan")


def measure(cases, name):
    """One reading's figures over the cases that have it; None where none has."""
    cases = [case for case in cases if name in case["outcomes"]]
    if not cases:
        return None
    pairs = [(case["outcomes"]["dense"], case["outcomes"][name]) for case in cases]
    mine = [o for _, o in pairs]
    tokens = [o["answer_tokens"] for o in mine]
    return dict(
        cases=len(pairs), bound=len(mine) / sum(1 / o["flop_bound"] for o in mine),
        speedup=mean([d["prefill_seconds"] for d, _ in pairs], [o["prefill_seconds"] for o in mine]),
        kl=mean([o["kl"] for o in mine], tokens), agreement=mean([o["agreed"] for o in mine], tokens),
        asked=sum(d["score"] == 1 for d, _ in pairs), found=sum(d["score"] == 1 and o["score"] == 1 for d, o in pairs),
        gained=sum(d["score"] != 1 and o["score"] == 1 for d, o in pairs),
        loss=mean([o["loss"] for o in mine], [1] * len(mine)))


def answered(cases):
    """Those that dense answers in full: along other answers there is nothing right to keep to."""
    return [case for case in cases if case["has_answers"] and case["outcomes"]["dense"]["score"] == 1]


def groups(cases):
    keys = sorted({(case["task"], case["tokens"]) for case in cases}, key=lambda k: (k[0] != "fact", k[0], k[1]))
    for task, tokens in keys:
        yield task, tokens, [c for c in cases if c["task"] == task and c["tokens"] == tokens]


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


FACT_HEAD = ["tokens", "reading", "FLOP bound", "prefill gain", "found", "lost, gained", "KL", "agreement", "KL, all"]


def fact_rows(cases, names):
    for task, tokens, group in groups(cases):
        if task != "fact":
            continue
        good = answered(group)
        for name in names:
            m, every = measure(good, name), measure(group, name)
            if m:
                yield [f"{tokens:,}", name, f"{m['bound']:.2f}x", f"{m['speedup']:.2f}x", f"{m['found']} of {m['asked']}",
                       f"{m['asked'] - m['found']}, {every['gained']}", f"{m['kl']:.3f}", f"{m['agreement']:.3f}",
                       f"{every['kl']:.3f}"]


def task_rows(cases, names):
    for task, tokens, group in groups(cases):
        if task == "fact":
            continue
        for name in names:
            m = measure(group, name)
            if not m:
                continue
            answers = f"{m['found']} of {m['asked']}" if group[0]["has_answers"] else ""
            loss = f"{m['loss']:.3f}" if m["loss"] else ""
            yield [task, f"{tokens:,}", name, f"{m['bound']:.2f}x", answers, f"{m['kl']:.3f}", f"{m['agreement']:.3f}", loss]


def ablation_rows(paths):
    readings, cases, _, _ = load(paths)
    for name in readings:
        facts = [c for c in cases if c["task"] == "fact"]
        m, every = measure(answered(facts), name), measure(facts, name)
        whole = measure([c for c in cases if c["task"] != "fact"], name)
        yield [name, f"{m['bound']:.2f}x", f"{m['found']} of {m['asked']}", f"{m['kl']:.3f}", f"{m['agreement']:.3f}",
               f"{every['kl']:.3f}", f"{whole['kl']:.3f}"]


def without(column, head, rows):
    at = head.index(column)
    return head[:at] + head[at + 1:], [row[:at] + row[at + 1:] for row in rows]


def comparable(cases, readings):
    """Cases that every drawn method has read, and the methods: of too few, those that skipping alone has read."""
    good = answered(cases)
    every = [c for c in good if all(name in c["outcomes"] for name in readings)]
    return (every, METHODS) if len(every) >= FEWEST else (good, {"skip": METHODS["skip"]})


def draw(readings, cases, picture, times):
    """Facts and KL against the FLOP bound, and facts against the measured gain; one line per method, one column a length."""
    plots = [("bound", "share", "FLOP bound", "facts found, of dense's"), ("bound", "kl", "FLOP bound", "KL, nats per token")]
    if times:
        plots.append(("speedup", "share", "prefill time, dense over this", "facts found, of dense's"))
    lengths = [tokens for task, tokens, _ in groups(cases) if task == "fact"]
    columns = max(1, len(lengths))
    figure, axes = plt.subplots(len(plots), columns, figsize=(4.2 * columns, 3.2 * len(plots)), squeeze=False)
    for column, tokens in enumerate(lengths):
        good, methods = comparable([c for c in cases if c["task"] == "fact" and c["tokens"] == tokens], readings)
        for method, (label, style, colour) in methods.items():
            figures = [measure(good, n) for n, r in readings.items() if r["method"] == method]
            points = sorted((m for m in figures if m), key=lambda m: m["bound"])
            if not points:
                continue
            for m in points:
                m["share"] = m["found"] / m["asked"]
            for row, (x, y, _, _) in enumerate(plots):
                axes[row][column].plot([m[x] for m in points], [m[y] for m in points], style, color=colour, label=label)
        for row, (_, y, x_label, y_label) in enumerate(plots):
            axis = axes[row][column]
            axis.set_xlabel(x_label)
            axis.set_ylabel(y_label if column == 0 else "")
            axis.grid(alpha=0.3)
            if y == "share":
                axis.set_ylim(-0.03, 1.03)
        axes[0][column].set_title(f"{len(good)} facts in {tokens:,} tokens")
    axes[0][0].legend(loc="lower left")
    figure.tight_layout()
    figure.savefig(picture, dpi=110)


def page(readings, cases, first, left_out, picture, ablations, times, ideas):
    names = [n for n in readings if n != "dense"]
    skip = [n for n in names if readings[n]["method"] == "skip"]
    out = f"""# What skipping costs

{first['model']['name']}, measured by `tests/quality/report.sh`. All tasks are held out: other documents, words and phrases than
settings were searched on. Beside every level stand two other ways to spend its FLOPs: reading only the last tokens of the
document, and pruning once at the level's first layer. KL is in nats per token along dense's own answers; agreement is the
share of those tokens that are the reading's own first choice.

![Quality against cost]({os.path.basename(picture)})

## Facts

A sentence planted in a real document, asked for in plain words. Counted are those that the dense model answers; KL and
agreement are along those answers, "KL, all" along the others too. Answers that are nearly ties fall either way: "lost" are
those that only dense gives, "gained" those that dense does not.

"""
    head, rows = FACT_HEAD, list(fact_rows(cases, names))
    if not times:
        head, rows = without("prefill gain", head, rows)
    out += table(head, rows)
    facts = [f"{len(group)} of {tokens:,} tokens" for task, tokens, group in groups(cases) if task == "fact"]
    out += f"\nPrompts: {', '.join(facts)}. Readings with fewer saw the first ones.\n"
    counts = [len(group) for task, _, group in groups(cases) if task != "fact"]
    out += f"\n## Other tasks\n\n{min(counts, default=0)} to {max(counts, default=0)} prompts of each.\n\n" + table(
        ["task", "tokens", "reading", "FLOP bound", "found", "KL", "agreement", "loss"],
        task_rows(cases, names))
    out += "\n`loss` is the next-token loss on the text's true continuation, in nats; dense has "
    out += ", ".join(f"{measure(g, 'dense')['loss']:.3f} ({t} at {n:,})" for t, n, g in groups(cases)
                     if measure(g, "dense")["loss"]) or "none here"
    out += ".\n\n"
    if ablations:
        out += "## One thing changed at a time\n\n`tests/quality/ablations.py`, prompts of 2,048 tokens.\n\n"
        out += table(["policy", "FLOP bound", "facts found", "KL", "agreement", "KL, all facts", "KL, summaries"],
                     ablation_rows(ablations)) + "\n"
    if ideas:
        out += open(ideas).read() + "\n"
    out += "## The policies\n\n"
    for name in skip:
        out += f"`{name}`: `{json.dumps(readings[name]['policy'])}`\n\n"
    for reason in left_out:
        out += f"Left out: {reason}\n\n"
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--page", default="QUALITY.md")
    parser.add_argument("--picture", default="quality.png")
    parser.add_argument("--ablations", nargs="*", default=[], help="evaluations of the policies of ablations.py")
    parser.add_argument("--ideas", default="", help="a text that belongs on the page")
    parser.add_argument("--no-times", action="store_true", help="leave out what was timed: the machine had other work")
    a = parser.parse_args()
    readings, cases, facts, left_out = load(a.files)
    draw(readings, cases, a.picture, not a.no_times)
    with open(a.page, "w") as file:
        file.write(page(readings, cases, facts, left_out, a.picture, a.ablations, not a.no_times, a.ideas))
    print(f"wrote {a.page} and {a.picture}")


if __name__ == "__main__":
    main()
