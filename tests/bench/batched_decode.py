#!/usr/bin/env python3
"""Many answers at once: new tokens a second of all streams together, over HTTP, beside llama.cpp's llama-batched-bench in process.

  batched_decode.py [--streams 1,8,32] [--rounds 3] [--dtype bf16] [--batched-bench BIN --peer-model GGUF]

In turn, medians of the rounds. Standard library only.
"""
import argparse
import json
import statistics
import subprocess
import sys
import threading
import time

from servers import Skipserve, stream


def ours(port, streams, new_tokens):
    """From the moment that all have their first token to the moment that the first has its last."""
    arrivals, lock = [], threading.Lock()

    def ask(i):
        body = {"prompt": f"Story {i}: Once upon a time", "max_tokens": new_tokens, "temperature": 0, "ignore_eos": True, "skip": "off"}
        begin = time.monotonic()
        times, _ = stream(port, body)
        with lock:
            arrivals.append([begin + t for t in times])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    begin, end = max(times[0] for times in arrivals), min(times[-1] for times in arrivals)
    if end <= begin:
        sys.exit(f"of {streams} streams one ended before all had begun: raise --new-tokens")
    return sum(begin < t <= end for times in arrivals for t in times) / (end - begin)


def peer(a, streams):
    done = subprocess.run([a.batched_bench, "-m", a.peer_model, "-c", "16384", "-npp", "16", "-ntg", str(a.new_tokens), "-npl", str(streams),
                           "-t", str(a.threads), "-tb", str(a.threads), "--output-format", "jsonl"], capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        sys.exit(done.stderr[-2000:])
    return json.loads(lines[-1])["speed_tg"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=lambda text: [int(n) for n in text.split(",")], default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skipserve", default="build/release/server/skipserve")
    parser.add_argument("--model", default=".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--dtype", default="bf16", help="of this server")
    parser.add_argument("--batched-bench")
    parser.add_argument("--peer-model")
    a = parser.parse_args()
    mine, theirs = {n: [] for n in a.streams}, {n: [] for n in a.streams}
    for _ in range(a.rounds):
        with Skipserve(a.skipserve, a.model, "--threads", str(a.threads), "--dtype", a.dtype) as server:
            for n in a.streams:
                mine[n].append(ours(server.port, n, a.new_tokens))
        for n in a.streams if a.batched_bench else []:
            theirs[n].append(peer(a, n))
    for n in a.streams:
        line = f"{n:3} streams: {statistics.median(mine[n]):6.0f} tokens/s"
        if theirs[n]:
            line += f", llama.cpp {statistics.median(theirs[n]):6.0f}, ratio {statistics.median(mine[n]) / statistics.median(theirs[n]):.2f}"
        print(line)


if __name__ == "__main__":
    main()
