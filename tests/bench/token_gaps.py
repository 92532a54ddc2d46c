#!/usr/bin/env python3
"""Do long prompts stall others? Streams decode while prompts of thousands of tokens keep arriving: the gaps between the streams'
tokens, and how fast the prompts are read beside them and alone. With --llama-server, the same on llama.cpp.

  token_gaps.py [--seconds 30] [--streams 4] [--gap-ms 100] [--level off] [--llama-server BIN --peer-model GGUF]
"""
import argparse
import threading
import time

from servers import DOCUMENT, LlamaServer, Skipserve, percentile, stream

TEXT = open(DOCUMENT, errors="replace").read()


def prompt(i, size):
    """As long for every i, and with a first line of its own: nobody's prompt cache helps."""
    return f"Copy {i} of a licence.\n" + TEXT[:size]


def read_prompts(port, seconds, size, extra, done):
    """Prompts one after the other until the time is over: tokens read and the time it took."""
    tokens, i, begin = 0, 0, time.monotonic()
    while time.monotonic() - begin < seconds:
        times, last = stream(port, {"prompt": prompt(f"{begin} {i}", size), "max_tokens": 1, "temperature": 0, **extra})
        tokens, i = tokens + last["usage"]["prompt_tokens"], i + 1
    done.append((tokens, time.monotonic() - begin))


def decode(port, finished, gaps, i, extra):
    """A stream that goes on until the end, asked for again where it comes to its own."""
    def each(times):
        if len(times) > 1:
            gaps.append(times[-1] - times[-2])
        return not finished.is_set()

    while not finished.is_set():
        stream(port, {"prompt": f"Story {i}: Once upon a time", "max_tokens": 4000, "temperature": 0,
                      "ignore_eos": True, **extra}, each=each)


def measure(server, a, extra):
    alone, beside, gaps, finished = [], [], [], threading.Event()
    read_prompts(server.port, a.seconds / 2, a.chars, extra, alone)
    streams = [threading.Thread(target=decode, args=(server.port, finished, gaps, i, extra)) for i in range(a.streams)]
    for thread in streams:
        thread.start()
    time.sleep(3)
    quiet = list(gaps)
    gaps.clear()
    read_prompts(server.port, a.seconds, a.chars, extra, beside)
    busy = list(gaps)
    finished.set()
    for thread in streams:
        thread.join()
    rate = lambda runs: sum(t for t, _ in runs) / sum(s for _, s in runs)  # noqa: E731
    print(f"{server.name:14} gaps alone: median {1e3 * percentile(quiet, .5):.0f} ms | beside prompts: "
          f"median {1e3 * percentile(busy, .5):.0f}, p99 {1e3 * percentile(busy, .99):.0f}, max {1e3 * max(busy):.0f} ms "
          f"({len(busy)} tokens) | prompts: alone {rate(alone):.0f}, beside {rate(beside):.0f} tokens/s "
          f"({100 * rate(beside) / rate(alone):.0f} %)", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--gap-ms", type=int, default=100)
    parser.add_argument("--level", default="off", help="how the prompts are read")
    parser.add_argument("--chars", type=int, default=35000, help="of a prompt; the whole document is 35,149: 7.5K tokens")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skipserve", default="build/release/server/skipserve")
    parser.add_argument("--model", default=".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--llama-server")
    parser.add_argument("--peer-model")
    a = parser.parse_args()
    with Skipserve(a.skipserve, a.model, "--threads", str(a.threads), "--max-token-gap", str(a.gap_ms / 1000)) as server:
        measure(server, a, {"skip": a.level})
    if a.llama_server:
        with LlamaServer(a.llama_server, a.peer_model, a.threads, a.streams + 1, 8192) as server:
            measure(server, a, {"cache_prompt": False})


if __name__ == "__main__":
    main()
