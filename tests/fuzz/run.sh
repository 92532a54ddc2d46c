#!/bin/sh
# Runs every fuzz target for so many seconds (default 60), starting from the goldens. Stops at the first crash.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-60}
corpus=build/fuzz/corpus
for target in gguf safetensors tokenizer chat_template skip_file; do mkdir -p "$corpus/$target"; done

cp tests/golden/tiny/qwen2/tiny.gguf tests/golden/tiny/tiny.q4.gguf "$corpus/gguf/"
cp tests/golden/tiny/qwen2/hf/model.safetensors "$corpus/safetensors/"
for model in . llama3 qwen2; do
  cp "tests/golden/tiny/$model/hf/config.json" "$corpus/safetensors/$model.json"
  cp "tests/golden/tiny/$model/hf/tokenizer.json" "$corpus/tokenizer/$model.json"
done
python3 - "$corpus" <<'END'
import json, pathlib, struct, sys
corpus, golden = pathlib.Path(sys.argv[1]), pathlib.Path("tests/golden/chat")
templates = [t["template"] for t in json.load(open(golden / "templates.json"))]
templates += [c["template"] for c in json.load(open(golden / "snippets.json"))["cases"]]
for i, text in enumerate(templates):
    (corpus / "chat_template" / f"{i}.jinja").write_text(text)

policy = {"start": 1, "stage_ends": [1], "budgets": [0.5], "keeps": [8], "window": 4, "ffn_score": "product"}
figures = {"lengths": [{"prompt_tokens": 2048, "cases": 9, "flop_bound": 1.5, "kl": 0.1, "agreement": 0.9,
                        "facts_found": 3, "facts_asked": 4}], "weak_tasks": ["counting"], "measured_on": "texts"}
header = json.dumps({"fingerprint": "f", "layers": 2, "width": 4, "ffn_width": 6, "default_level": "some", "min_prompt": 9,
                     "levels": [{"name": "some", "policy": policy, "figures": figures}],
                     "proxy": {"d_low": 3, "rank": 2}}).encode()
proxies = bytes(2 * 4 * (8 + 6 + 8 + 6 + 9))
(corpus / "skip_file" / "seed").write_bytes(b"SKIPSRV\n" + struct.pack("<II", 2, len(header)) + header + proxies)
END

for target in gguf safetensors tokenizer chat_template skip_file; do
  echo "== $target"
  log="$corpus/$target.log"
  "build/fuzz/tests/fuzz/${target}_fuzz" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 \
    -print_final_stats=1 -artifact_prefix="$corpus/$target-" "$corpus/$target" >"$log" 2>&1 ||
    { tail -n 40 "$log"; exit 1; }
  tail -n 5 "$log"
done
