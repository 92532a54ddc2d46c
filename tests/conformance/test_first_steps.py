"""What a newcomer does: the quickstart's end, its table, and the first commands that it and the README name."""

import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from server import Server, binary, model

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "deploy"))
import demo  # noqa: E402


@pytest.fixture(scope="module")
def server():
    with Server() as running:
        yield running


def run_curl(command):
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("data: [DONE]\n\n"), done.stdout


def test_the_readmes_curl_runs_as_written(server):
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    command = next(block for block in blocks if block.startswith("curl "))
    assert "http://127.0.0.1:8080/" in command
    run_curl(command.replace("http://127.0.0.1:8080", server.http))


def test_the_demonstrations_curl_runs_as_written(server):
    run_curl(next(c for c in demo.try_next(server.http, server.grpc, "document") if c.startswith("curl ")))


def test_the_demonstrations_table():
    def run(answer, level, share):
        return answer, {"usage": {"prompt_tokens": 7500},
                        "timings": {"ttft_seconds": 2.5, "inter_token_mean_seconds": 0.02},
                        "skip": {"level": level, "skip_ratio": share, "attention_skip_ratio": share,
                                 "ffn_skip_ratio": share / 2, "kv_token_layers": 225000}}
    rows = demo.table([run("It is\n7431.", "off", 0), run("The code " * 40, "balanced", 0.6)]).splitlines()
    assert [len(row) for row in rows] == [80] * len(rows)
    cells = [re.split(r"  +", row.strip()) for row in rows]
    assert cells[0] == ["dense", "skipping: balanced"]
    assert cells[1] == ["answer", "It is 7431.", "The code The code The"]
    assert cells[3] == ["The code The code The \u2026"]
    assert cells[4] == ["fact found", "yes", "no"]
    assert ["time to first token", "2.50 s", "2.50 s"] in cells
    assert ["answer tokens per second", "50", "50"] in cells
    assert ["token-layers skipped", "0.0 %", "45.0 %"] in cells
    assert ["KV tokens cached (layers)", "225,000", "225,000"] in cells


@pytest.fixture
def project(tmp_path):
    """A tree in which quickstart.sh has nothing left to do but to serve."""
    (tmp_path / "deploy").mkdir()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "build/release/server").mkdir(parents=True)
    (tmp_path / "build/release/server/skipserve").symlink_to(binary())
    shutil.copy(ROOT / "deploy/quickstart.sh", tmp_path / "deploy")
    for name in ("install_packages.sh", "build.sh", "fetch_model.sh", "default_skip_settings.sh", "python.sh"):
        script = tmp_path / "deploy" / name
        script.write_text(f"#!/bin/sh\necho '{model()}'\n")
        script.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm"])
def test_the_quickstart_ends_the_server_well(project, how):
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(HTTP_PORT="0", GRPC_PORT="0")
        os.execv("/bin/sh", ["sh", str(project / "deploy/quickstart.sh")])
    log = project / ".cache/server.log"
    end = time.monotonic() + 120
    while not (log.exists() and "is ready" in log.read_text()):
        assert time.monotonic() < end, "the server did not become ready"
        time.sleep(0.02)
    if how == "ctrl-c":
        os.write(terminal, b"\x03")
    else:
        os.kill(pid, signal.SIGTERM)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert "stopped" in log.read_text().splitlines()[-1]
    assert os.waitstatus_to_exitcode(status) == 0
