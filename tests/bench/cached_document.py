#!/usr/bin/env python3
"""A document and many questions: time to the first token without and with the prefix cache, read densely and at each level; then
with the document read ahead, as /v1/prefixes reads it and mode auto then asks.

  cached_document.py [--questions 20] [--levels off,gentle,balanced,fast]
"""
import argparse
import http.client
import json
import statistics

from servers import DOCUMENT, Skipserve, stream

TEXT = open(DOCUMENT, errors="replace").read()
TOPICS = ("warranty", "source code", "patents", "termination", "conveying", "installation", "liability", "modification",
          "translation", "propagation", "compilers", "interfaces", "copyright", "charges", "notices", "aggregates", "keys",
          "downstream recipients", "revised versions", "interactive programs")


def read_ahead(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    body = {"name": "document", "messages": [{"role": "user", "content": TEXT}]}
    connection.request("POST", "/v1/prefixes", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    print("read ahead:", response.status, response.read().decode()[:200])


def ask(server, level, i):
    body = {"messages": [{"role": "user", "content": f"{TEXT}\n\nWhat does the text say about {TOPICS[i % len(TOPICS)]}?"}],
            "max_tokens": 2, "temperature": 0, "skip": level}
    times, last = stream(server.port, body, "/v1/chat/completions")
    return times[0], last["usage"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--uncached", type=int, default=3, help="questions to a server without a cache")
    parser.add_argument("--levels", default="off,gentle,balanced,fast")
    parser.add_argument("--skipserve", default="build/release/server/skipserve")
    parser.add_argument("--model", default=".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf")
    a = parser.parse_args()
    levels = a.levels.split(",")
    without, with_cache = {}, {}
    with Skipserve(a.skipserve, a.model, "--no-prefix-cache") as server:
        for level in ["off", "auto"] + [x for x in levels if x != "off"]:
            without[level] = statistics.median(ask(server, level, i)[0] for i in range(a.uncached))
    with Skipserve(a.skipserve, a.model) as server:
        for level in levels + ["auto"]:
            ask(server, level, 0) if level != "auto" else read_ahead(server)
            runs = [ask(server, level, i) for i in range(1, a.questions + 1)]
            cached = min(u["prompt_tokens_details"]["cached_tokens"] for _, u in runs)
            with_cache[level] = statistics.median(t for t, _ in runs)
            print(f"{level:10} {runs[0][1]['prompt_tokens']} tokens, {cached} cached: TTFT {with_cache[level]:.3f} s; without a "
                  f"cache {without[level]:.3f} s ({without[level] / with_cache[level]:.1f}x), dense without "
                  f"{without['off']:.3f} s ({without['off'] / with_cache[level]:.1f}x)", flush=True)


if __name__ == "__main__":
    main()
