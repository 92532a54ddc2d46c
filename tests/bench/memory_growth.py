#!/usr/bin/env python3
"""Time from start to ready, and the server's memory over many requests of mixed lengths and ways of reading, four at a time.

  memory_growth.py [--requests 1000] [--skipserve build/release/server/skipserve] [--model MODEL]

Without the prefix cache, which fills the KV memory bit by bit. Ends with 1 where memory after all requests is over 5 % above that
after the first fifth. Standard library only.
"""
import argparse
import concurrent.futures
import http.client
import json
import re
import sys
import time

from servers import DOCUMENT, Skipserve

TEXT = open(DOCUMENT, errors="replace").read()
SKIPS = ("off", "auto", "fast")


def resident_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+) kB", open(f"/proc/{pid}/status").read()).group(1)) / 1024


def ask(port, i):
    """One request; every tenth is long enough to be read with skipping."""
    size = 6000 if i % 10 == 0 else 200 + 37 * (i % 23)
    body = {"prompt": TEXT[i % 5000:][:size], "max_tokens": 8, "temperature": 0, "skip": SKIPS[i % 3], "stream": i % 2 == 0}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    connection.close()
    if response.status != 200:
        sys.exit(f"request {i} got {response.status}: {text[:300]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--skipserve", default="build/release/server/skipserve")
    parser.add_argument("--model", default=".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf")
    a = parser.parse_args()
    begin = time.monotonic()
    server = Skipserve(a.skipserve, a.model, "--no-prefix-cache")
    process, port = server.process, server.port
    print(f"ready after {time.monotonic() - begin:.2f} s, {resident_mb(process.pid):.0f} MB")
    marks = []
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for part in range(5):
            first, last = a.requests * part // 5, a.requests * (part + 1) // 5
            list(pool.map(lambda i: ask(port, i), range(first, last)))
            marks.append(resident_mb(process.pid))
            print(f"after {last} requests {marks[-1]:.0f} MB", flush=True)
    process.terminate()
    code = process.wait()
    if code != 0:
        sys.exit(f"the server ended with {code}")
    if marks[-1] > 1.05 * marks[0]:
        sys.exit("memory has grown")


if __name__ == "__main__":
    main()
