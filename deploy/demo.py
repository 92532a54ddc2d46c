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
import threading
import time

FACT = "The access code of the north storage room is 7431."
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
        "temperature": 0, "max_tokens": 32, "stream": True, "stream_options": {"include_usage": True}, "skip": skip})
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
    runs = {skip: ask(host, port, document, skip) for skip in ("off", "auto")}

    def row(name, value):
        print(f"{name:26}" + "".join(f"{value(*run):>24}" for run in runs.values()))
    print()
    row("", lambda answer, last: "dense" if last["skip"]["level"] == "off" else "skipping: " + last["skip"]["level"])
    row("fact found", lambda answer, last: "yes" if "7431" in answer else "no")
    row("prompt tokens", lambda answer, last: f"{last['usage']['prompt_tokens']:,}")
    row("time to first token", lambda answer, last: f"{last['timings']['ttft_seconds']:.2f} s")
    row("prompt tokens per second",
        lambda answer, last: f"{last['usage']['prompt_tokens'] / last['timings']['ttft_seconds']:,.0f}")
    row("answer tokens per second",
        lambda answer, last: f"{1 / last['timings']['inter_token_mean_seconds']:.0f}"
        if last["timings"]["inter_token_mean_seconds"] else "-")
    row("token-layers skipped", lambda answer, last: f"{100 * last['skip']['attention_skip_ratio']:.1f} %")
    row("prefill work saved", lambda answer, last: f"{100 * last['skip']['skip_ratio']:.1f} %")
    row("KV tokens cached (layers)", lambda answer, last: f"{last['skip']['kv_token_layers']:,}")
    ttft = [last["timings"]["ttft_seconds"] for _, last in runs.values()]
    print(f"\nFirst token {ttft[0] / ttft[1]:.2f} times sooner (bound by arithmetic "
          f"{runs['auto'][1]['skip']['flop_bound']:.2f}).")
    if not all("7431" in answer for answer, _ in runs.values()):
        sys.exit("the planted fact was not found both ways")

    print(f"""
HTTP  http://{host}:{port}      gRPC  {grpc_address}

Try next:
  curl -N http://{host}:{port}/v1/chat/completions -d '{{"stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}'
  ./deploy/python.sh -m pip install -q grpcio-tools && ./deploy/python.sh deploy/grpc_hello.py {grpc_address}
  ./build/release/server/skipserve inspect .cache/models/*.gguf --file {a.document} --question "Who may copy this?" --html page.html
""")


if __name__ == "__main__":
    main()
