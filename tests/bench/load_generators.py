#!/usr/bin/env python3
"""Other people's load generators against the server, unmodified: guidellm and aiperf, over OpenAI's streaming endpoints.

  load_generators.py TOOLS TOKENIZER [--streams 4] [--requests 24] [--prompt-tokens 2000] [--new-tokens 64] [--model MODEL]

TOOLS is a folder with both programs, TOKENIZER a Hugging Face tokenizer of the model; tests/bench/load_generators.sh has both. Prints
a table of what the two report.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

from servers import Skipserve


def run(command, log):
    with open(log, "w") as out:
        if subprocess.run(command, stdout=out, stderr=subprocess.STDOUT).returncode:
            sys.exit(f"{' '.join(command)}\n{open(log).read()[-3000:]}")


def guidellm(a, port, folder):
    run([f"{a.tools}/guidellm", "run", "--backend", f"kind=openai_http,target=http://127.0.0.1:{port}",
         "--profile", f"kind=concurrent,streams={a.streams}", "--constraint", f"kind=max_requests,count={a.requests}",
         "--data", f"kind=synthetic_text,prompt_tokens={a.prompt_tokens},output_tokens={a.new_tokens}",
         "--tokenizer", f"kind=huggingface_auto,model={a.tokenizer}", "--disable-progress",
         "--output", f"kind=json,path={folder}/guidellm.json"], folder / "guidellm.log")
    benchmark = json.loads((folder / "guidellm.json").read_text())["benchmarks"][0]["metrics"]
    totals = benchmark["request_totals"]

    def of(name):
        values = benchmark[name]["successful"]
        return values["median"], values["percentiles"]["p99"]

    return {"good": totals["successful"], "failed": totals["errored"], "prompt": of("prompt_token_count")[0],
            "ttft": of("time_to_first_token_ms"), "gap": of("inter_token_latency_ms"),
            "rate": benchmark["output_tokens_per_second"]["successful"]["mean"]}


def aiperf(a, port, folder):
    run([f"{a.tools}/aiperf", "profile", "--model", "default", "--url", f"http://127.0.0.1:{port}", "--endpoint-type", "chat", "--streaming",
         "--tokenizer", a.tokenizer, "--use-server-token-count", "--isl", str(a.prompt_tokens), "--osl", str(a.new_tokens),
         "--concurrency", str(a.streams), "--request-count", str(a.requests), "--extra-inputs", "ignore_eos:true", "--ui", "none",
         "--artifact-dir", str(folder)], folder / "aiperf.log")
    report = json.loads((folder / "profile_export_aiperf.json").read_text())

    def of(name):
        return report[name]["p50"], report[name]["p99"]

    return {"good": int(report["request_count"]["avg"]), "failed": int((report.get("error_request_count") or {"avg": 0})["avg"]),
            "prompt": of("input_sequence_length")[0], "ttft": of("time_to_first_token"), "gap": of("inter_token_latency"),
            "rate": report["output_token_throughput"]["avg"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools")
    parser.add_argument("tokenizer")
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--requests", type=int, default=24)
    parser.add_argument("--prompt-tokens", type=int, default=2000)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--skipserve", default="build/release/server/skipserve")
    parser.add_argument("--model", default=".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf")
    a = parser.parse_args()
    print(f"{a.streams} streams; milliseconds, median and 99th percentile\n")
    print("| tool | prompts read | requests, failed | prompt tokens | TTFT | between tokens | new tokens/s, all streams |")
    print("|---|---|---|---|---|---|---|")
    for tool in (guidellm, aiperf):
        for level in ("off", "balanced"):
            flags = ("--default-skip-level", level, "--skip-min-prompt", "512", "--log-level", "warn")
            with Skipserve(a.skipserve, a.model, *flags) as server, tempfile.TemporaryDirectory() as folder:
                r = tool(a, server.port, pathlib.Path(folder))
            print(f"| {tool.__name__} | {'densely' if level == 'off' else f'`{level}`'} | {r['good']}, {r['failed']} | {r['prompt']:,.0f} | "
                  f"{r['ttft'][0]:,.0f}, {r['ttft'][1]:,.0f} | {r['gap'][0]:.0f}, {r['gap'][1]:.0f} | {r['rate']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
