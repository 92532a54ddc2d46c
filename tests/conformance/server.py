"""Starts the real server for a test module and stops it as an operator would: SIGTERM, and exit code 0."""

import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

START_SECONDS = 120  # reading a large model from a cold disk
STOP_SECONDS = 60


def binary():
    return os.environ["SKIPSERVE_BINARY"]


def model():
    return os.environ["SKIPSERVE_TEST_MODEL"]


def free_of_proxies():
    """The server is on this machine; a proxy in the environment must not come between."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)


class Server:
    """`with Server() as server:`; then server.http ("http://host:port") and server.grpc ("host:port")."""

    def __init__(self, *flags):
        self.flags = flags
        self.http = self.grpc = None

    def __enter__(self):
        free_of_proxies()
        self.log = tempfile.NamedTemporaryFile(prefix="skipserve-", suffix=".log", delete=False)
        command = [binary(), "serve", model(), "--grpc-port", "0", "--http-port", "0", *self.flags]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)
        try:
            self._await_ready()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return self

    def __exit__(self, kind, *_):
        try:
            code = self.stop()
        finally:
            if kind is None:
                os.unlink(self.log.name)
        if kind is None:
            assert code == 0, f"the server ended with exit code {code} after SIGTERM"

    def text(self):
        """All that the server has printed."""
        return pathlib.Path(self.log.name).read_text(errors="replace")

    def stop(self):
        """SIGTERM, and the exit code; killed where it does not end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def load(self):
        with urllib.request.urlopen(self.http + "/load", timeout=60) as reply:
            return json.load(reply)

    def await_idle(self):
        """The load once no request is left."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            now = self.load()
            if now["waiting"] + now["prefilling"] + now["decoding"] == 0:
                return now
            time.sleep(0.02)
        raise AssertionError(f"requests still run: {now}")

    def _await_ready(self):
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended at its start:\n{self.text()}")
            self._find_addresses()
            if self.http and self.grpc and self._is_ready():
                return
            time.sleep(0.02)
        raise RuntimeError(f"the server was not ready within {START_SECONDS} s:\n{self.text()}")

    def _find_addresses(self):
        text = self.text()
        http = re.search(r"^  (http://\S+:\d+)$", text, re.MULTILINE)
        grpc = re.search(r"^  grpc://(\S+:\d+)$", text, re.MULTILINE)
        self.http = http and http.group(1)
        self.grpc = grpc and grpc.group(1)

    def _is_ready(self):
        try:
            with urllib.request.urlopen(self.http + "/ready", timeout=5) as reply:
                return reply.status == 200
        except (urllib.error.URLError, OSError):
            return False
