"""Servers for benchmarks, and one streamed request with the time of each of its tokens. Standard library only."""
import http.client
import json
import re
import socket
import subprocess
import sys
import tempfile
import time

DOCUMENT = "/usr/share/common-licenses/GPL-3"


class Skipserve:
    """`skipserve serve` on ports of its own choice, until the end of a with statement."""

    def __init__(self, binary, model, *flags):
        self.log = tempfile.NamedTemporaryFile("r")
        command = [binary, "serve", model, "--http-port", "0", "--grpc-port", "0", *flags]
        self.process = subprocess.Popen(command, stdout=open(self.log.name, "w"), stderr=subprocess.STDOUT)
        self.name = "skipserve"
        while self.process.poll() is None:
            address = re.search(r"http://127.0.0.1:(\d+)", open(self.log.name).read())
            if address:
                self.port = int(address.group(1))
                return
            time.sleep(0.005)
        sys.exit(open(self.log.name).read())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


class LlamaServer(Skipserve):
    """llama.cpp's server with the same streams at once; its prompt cache is off unless asked for."""

    def __init__(self, binary, model, threads, streams, context):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.log = tempfile.NamedTemporaryFile("r")
        command = [binary, "-m", model, "--port", str(self.port), "-t", str(threads), "-tb", str(threads),
                   "-np", str(streams), "-c", str(streams * context), "--no-webui"]
        self.process = subprocess.Popen(command, stdout=open(self.log.name, "w"), stderr=subprocess.STDOUT)
        self.name = "llama-server"
        while self.process.poll() is None:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        sys.exit(open(self.log.name).read())


def stream(port, body, path="/v1/completions", each=lambda times: True):
    """The times of a request's tokens, seconds since it was sent, and its last chunk; ends early where each() says no."""
    body = {**body, "stream": True, "stream_options": {"include_usage": True}}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    begin = time.monotonic()
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        sys.exit(f"{response.status}: {response.read()[:500]}")
    times, last = [], {}
    for line in response:
        if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
            continue
        chunk = json.loads(line[6:])
        if chunk.get("choices"):
            times.append(time.monotonic() - begin)
        last.update({k: v for k, v in chunk.items() if v})
        if not each(times):
            break
    connection.close()
    return times, last


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
