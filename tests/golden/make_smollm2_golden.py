#!/usr/bin/env python3
"""Writes tests/golden/smollm2_logprobs.json: what transformers says SmolLM2-135M-Instruct (Q4_1) continues with.

Usage: python3 tests/golden/make_smollm2_golden.py MODEL.gguf [--out tests/golden/smollm2_logprobs.json]
Needs: torch, transformers, gguf. The weights are the file's own, dequantized; everything is computed in float32.

{"file": the GGUF file's name, "size": its bytes,
 "cases": [{"text": the prompt's text, "ids": its token ids,
            "top": the ten likeliest next tokens after the last id, [[id, natural log of its probability], ...],
            "greedy": the eight tokens that follow when the likeliest is taken each time}, ...]}
"""
import argparse
import json
import os
import pathlib

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

LONG = ("The lighthouse keeper wrote down the weather every evening, the wind and the height of the sea, and whatever "
        "ships had passed. ")
PROMPTS = [
    "Paris is the capital of",
    "def fibonacci(n):\n    ",
    "<|im_start|>user\nWhat is 12 times 12?<|im_end|>\n<|im_start|>assistant\n",
    "Die Hauptstadt von Österreich ist",
    LONG * 12 + "In short, the keeper wrote about the",
]


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("model")
    a.add_argument("--out", default=str(pathlib.Path(__file__).parent / "smollm2_logprobs.json"))
    a = a.parse_args()
    folder, name = os.path.split(os.path.abspath(a.model))
    tok = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    cases = []
    for text in PROMPTS:
        ids = tok(text)["input_ids"]
        greedy = []
        with torch.no_grad():
            out = model(torch.tensor([ids]), use_cache=True)
            top = torch.topk(out.logits[0, -1].log_softmax(-1), 10)
            for _ in range(8):
                greedy.append(int(out.logits[0, -1].argmax()))
                out = model(torch.tensor([greedy[-1:]]), past_key_values=out.past_key_values, use_cache=True)
        cases.append(dict(text=text, ids=ids, top=[[int(i), round(float(v), 5)] for v, i in zip(*top)],
                          greedy=greedy))
        print(len(ids), repr(tok.decode(greedy)))
    body = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
    head = f'{{"file":{json.dumps(name)},"size":{os.path.getsize(a.model)},"cases":[\n'
    pathlib.Path(a.out).write_text(head + body + "\n]}\n")


if __name__ == "__main__":
    main()
