#!/usr/bin/env python3
"""Runs SkipServe's bench and llama-bench of llama.cpp or of a fork in turn and prints medians and ratios. Called by
versus_llama_cpp.sh.

Prefill is tokens per second of a prompt of each length; decode is tokens per second from an almost empty context, and after a
prompt of --depth tokens. Standard library only.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys


def run_json(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def ours(a, length, levels, decode_tokens):
    """-> {level: (prefill tokens/s, decode tokens/s, report)} of one run after a warm-up."""
    results = run_json([
        a.skipserve, "bench", a.model, "--dtype", a.dtype, "--threads", str(a.threads), "--prompt-lengths", str(length),
        "--levels", ",".join(levels), "--repeat", "1", "--decode-tokens", str(decode_tokens), "--json", "-"])["results"]
    return {r["requested_level"]: (r["prefill_tokens_per_second"], r["decode_tokens_per_second"], r["skip"])
            for r in results}


def peer(a, prompt_tokens, new_tokens, depth=0):
    """Tokens per second of the peer: prefill where new_tokens is 0, else decode."""
    at = ["-d", str(depth)] if depth else []
    return run_json([a.llama_bench, "-m", a.peer_model, "-t", str(a.threads), "-p", str(prompt_tokens),
                     "-n", str(new_tokens), "-r", "1", "-o", "json"] + at)[0]["avg_ts"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--lengths", type=lambda text: [int(n) for n in text.split()], required=True)
    parser.add_argument("--levels", type=lambda text: text.split(), required=True)
    parser.add_argument("--decode-tokens", type=int, default=128)
    parser.add_argument("--depth", type=int, default=0, help="measure decoding after a prompt of so many tokens too")
    parser.add_argument("--dtype", default="bf16", help="of skipserve")
    parser.add_argument("--peer-name", default="llama.cpp")
    parser.add_argument("--model", required=True)
    parser.add_argument("--peer-model", required=True)
    parser.add_argument("--skipserve", required=True)
    parser.add_argument("--llama-bench", required=True)
    parser.add_argument("--json", help="write every run's figures here")
    a = parser.parse_args()

    levels = ["off"] + a.levels
    theirs = {length: [] for length in a.lengths}
    speeds = {(length, level): [] for length in a.lengths for level in levels}
    skips = {}
    decode = {"peer": [], "skipserve": []}
    deep = {name: [] for name in ["peer"] + levels}
    for number in range(a.rounds):
        for length in a.lengths:
            print(f"round {number + 1} of {a.rounds}: {length} tokens", file=sys.stderr, flush=True)
            theirs[length].append(peer(a, length, 0))
            for level, (prefill, _, skip) in ours(a, length, levels, 1).items():
                speeds[length, level].append(prefill)
                skips[length, level] = skip
        print(f"round {number + 1} of {a.rounds}: decode", file=sys.stderr, flush=True)
        decode["peer"].append(peer(a, 0, a.decode_tokens))
        decode["skipserve"].append(ours(a, 1, ["off"], a.decode_tokens)["off"][1])
        if a.depth:
            print(f"round {number + 1} of {a.rounds}: decode after {a.depth}", file=sys.stderr, flush=True)
            deep["peer"].append(peer(a, 0, 32, a.depth))
            for level, (_, speed, _) in ours(a, a.depth, levels, 32).items():
                deep[level].append(speed)

    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    print(f"{os.path.basename(a.model)} as {a.dtype}, peer {os.path.basename(a.peer_model)}, {cpu}, {a.threads} threads, medians of {a.rounds} alternating rounds\n")
    print(f"{'':24}{'tokens/s':>10}{'ratio to the peer':>20}{'FLOP bound of skipping':>24}")

    def row(name, values, base, bound=""):
        median = statistics.median(values)
        print(f"{name:24}{median:10.0f}{median / statistics.median(base):19.2f}x{bound:>24}")
    for length in a.lengths:
        base = theirs[length]
        row(f"prompt {length}  {a.peer_name}", base, base)
        for level in levels:
            skip = skips[length, level]
            bound = f"{skip['flop_bound']:.2f}x" if level != "off" else ""
            name = "dense" if level == "off" else f"{level} = {skip['level']}" if level != skip["level"] else level
            row(f"  {name}", speeds[length, level], base, bound)
    row(f"decode  {a.peer_name}", decode["peer"], decode["peer"])
    row("  skipserve", decode["skipserve"], decode["peer"])
    if a.depth:
        row(f"decode after {a.depth}  {a.peer_name}"[:24], deep["peer"], deep["peer"])
        for level in levels:
            row("  dense" if level == "off" else f"  {level}", deep[level], deep["peer"])
    if a.json:
        runs = {"prefill_peer": theirs, "decode": decode, "decode_deep": deep,
                "prefill": {f"{length} {level}": values for (length, level), values in speeds.items()}}
        with open(a.json, "w") as out:
            json.dump(runs, out, indent=1)


if __name__ == "__main__":
    main()
