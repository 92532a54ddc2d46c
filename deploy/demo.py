#!/usr/bin/env python3
"""The quickstart's demonstration: plants a fact in the middle of a long real document and asks a running server for it,
dense and skipping, streaming, then prints both side by side. Standard library only.

  demo.py --log SERVER_LOG --pid SERVER_PID --document FILE
"""
import argparse
import http.client
import json
import os
import re
import sys
import textwrap
import threading
import time

CODE = "7431"
FACT = f"The access code of the north storage room is {CODE}."
QUESTION = "What is the access code of the north storage room?"


def wait_for_address(log, pid, seconds=120):
    """The server's HTTP and gRPC addresses, as it prints them once it is ready."""
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        text = open(log, errors="replace").read()
        http_at = re.search(r"http://([\w.\-\[\]:]+?):(\d+)", text)
        grpc_at = re.search(r"grpc://([\w.\-\[\]:]+:\d+)", text)
        if http_at and grpc_at:
            host = http_at.group(1)
            return ("127.0.0.1" if host == "0.0.0.0" else host), int(http_at.group(2)), grpc_at.group(1)
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            sys.exit("the server did not start:\n" + text)
        time.sleep(0.05)
    sys.exit("the server did not become ready:\n" + open(log, errors="replace").read())


class Ticker:
    """Shows on a terminal that a long prompt is being read."""

    def __init__(self, label):
        self.label, self.done, self.begin = label, threading.Event(), time.monotonic()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.done.wait(0.5):
            if sys.stdout.isatty():
                print(f"\r{self.label} ... {time.monotonic() - self.begin:.0f} s ", end="", flush=True)

    def stop(self):
        self.done.set()
        self.thread.join()
        if sys.stdout.isatty():
            print("\r" + " " * (len(self.label) + 16) + "\r", end="")


def ask(host, port, document, skip):
    """Streams one answer to the terminal. -> the answer and the last chunk, which carries the report."""
    body = json.dumps({
        "messages": [{"role": "user", "content": document + "\n\n" + QUESTION}],
        "temperature": 0, "max_tokens": 32, "stream": True, "stream_options": {"include_usage": True}, "skip": skip,
        "cache_salt": f"{skip} {time.time()}"})  # each reads the document anew
    label = f"{skip}: reading the document"
    if not sys.stdout.isatty():
        print(label, flush=True)
    ticker = Ticker(label)
    connection = http.client.HTTPConnection(host, port, timeout=600)
    answer, last = "", {}
    try:
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            sys.exit(f"the server answered {response.status}: {response.read().decode(errors='replace')}")
        for line in response:
            line = line.decode().strip()
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            last_chunk = json.loads(line[6:])
            if "error" in last_chunk:
                sys.exit(f"the server gave up: {last_chunk['error']}")
            if "skip" in last_chunk:
                last = last_chunk
            for choice in last_chunk["choices"]:
                piece = choice.get("delta", {}).get("content") or ""
                if piece and not answer:
                    ticker.stop()
                    print(f"{skip}: ", end="")
                answer += piece
                print(piece, end="", flush=True)
    finally:
        ticker.stop()
    print()
    return answer, last


def wrapped(text, width, lines):
    """The text in at most so many lines."""
    return textwrap.wrap(text, width, max_lines=lines, placeholder=" \u2026") or [""]


def table(runs):
    """The runs side by side: [(answer, last chunk)] -> text."""
    def row(name, value):
        return f"{name:26}" + "".join(f"{value(*run):>27}" for run in runs)

    def answers():
        columns = [wrapped(answer, 25, 3) for answer, last in runs]
        for i in range(max(map(len, columns))):
            yield f"{'' if i else 'answer':26}" + "".join(f"{c[i] if i < len(c) else '':>27}" for c in columns)

    def rate(seconds):
        return f"{1 / seconds:.0f}" if seconds else "-"

    def percent(share):
        return f"{100 * share:.1f} %"
    return "\n".join((
        row("", lambda answer, last: "dense" if last["skip"]["level"] == "off" else "skipping: " + last["skip"]["level"]),
        *answers(),
        row("fact found", lambda answer, last: "yes" if CODE in answer else "no"),
        row("prompt tokens", lambda answer, last: f"{last['usage']['prompt_tokens']:,}"),
        row("time to first token", lambda answer, last: f"{last['timings']['ttft_seconds']:.2f} s"),
        row("prompt tokens per second",
            lambda answer, last: f"{last['usage']['prompt_tokens'] / last['timings']['ttft_seconds']:,.0f}"),
        row("answer tokens per second", lambda answer, last: rate(last["timings"]["inter_token_mean_seconds"])),
        row("token-layers skipped", lambda answer, last: percent(
            (last["skip"]["attention_skip_ratio"] + last["skip"]["ffn_skip_ratio"]) / 2)),
        row("prefill work saved", lambda answer, last: percent(last["skip"]["skip_ratio"])),
        row("KV tokens cached (layers)", lambda answer, last: f"{last['skip']['kv_token_layers']:,}")))


def try_next(http_address, grpc_address, document):
    """Commands for a shell in the project's folder, a line each."""
    body = '{"stream": true, "messages": [{"role": "user", "content": "Hello"}]}'
    return (f"curl -N {http_address}/v1/chat/completions --json '{body}'",
            "./deploy/python.sh -m pip install -q grpcio-tools"
            f" && ./deploy/python.sh deploy/grpc_hello.py {grpc_address}",
            f"./build/release/server/skipserve inspect .cache/models/*.gguf --file {document}"
            ' --question "Who may copy this?" --html page.html')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", required=True)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--document", required=True)
    a = parser.parse_args()
    host, port, grpc_address = wait_for_address(a.log, a.pid)

    lines = open(a.document, errors="replace").read().split("\n")
    lines.insert(len(lines) // 2, FACT)
    document = "\n".join(lines)
    print(f"{a.document}, with this line planted in its middle: {FACT}\n{QUESTION}\n")
    dense, skipping = (ask(host, port, document, skip) for skip in ("off", "auto"))
    print("\n" + table([dense, skipping]))
    gain = dense[1]["timings"]["ttft_seconds"] / skipping[1]["timings"]["ttft_seconds"]
    print(f"\nFirst token {gain:.2f} times sooner (bound by arithmetic {skipping[1]['skip']['flop_bound']:.2f}).")
    if CODE not in dense[0] or CODE not in skipping[0]:
        sys.exit("the planted fact was not found both ways")
    if not skipping[1]["skip"]["skip_ratio"] > 0:
        sys.exit("the second reading skipped nothing: " + skipping[1]["skip"].get("reason", ""))

    http_address = f"http://{host}:{port}"
    print(f"\nHTTP  {http_address} (for a browser too)      gRPC  {grpc_address}\n\nTry next:")
    for command in try_next(http_address, grpc_address, a.document):
        print("  " + command)
    print()


if __name__ == "__main__":
    main()
