#!/usr/bin/env python3
"""Writes the goldens of the skipping prefill: what the method's reference computes, for the C++ tests to equal.

Usage: python3 tests/golden/make_spts_golden.py --reference SPTS_REFERENCE.PY
           (--tiny tests/golden/tiny/hf | --gguf MODEL.gguf --text FILE) [--out tests/golden]
Needs: torch, transformers, gguf. The output is committed; run this only to change the cases.

SPTS_REFERENCE.PY is the method in plain PyTorch float32, kept outside this tree beside the method's description. It has
a class Llama with prefill(ids, policy, on_ffn_input) -> (logits, cache, log), decode(ids, position, cache) and
build_proxy(texts, d_low, rank): PAP (the last queries' softmax over all candidates, reduced over window and heads, then
max-pooled), LTP (score times the norm a low-rank SwiGLU predicts), MSDP (candidates cut after a stage's last layer).

spts_tiny.json (model: tests/golden/tiny):
  {"cases": [CASE, ...],
   "proxy": {"d_low", "rank",
             "calibration": [[token ids] per text],      at most 256 tokens a text, so every row's saliency counts
             "importance": [[one per channel] per layer],
             "kept": [[channel numbers, ascending] per layer],   the d_low most important
             "prompt": [token ids],
             "norms": [[c of each token] per layer],     in a dense prefill of "prompt"
             "input_rows": [positions],
             "inputs": [[[width values] per input row] per layer]}}   normed inputs of the FFN at these positions
spts_smollm2.json: {"cases": [CASE, ...], "proxy": {"d_low", "rank", "calibration"}}, all with one prompt, which the
first case holds ("prompt" is absent in the others): the beginning of the text (committed: Debian's GPL-3). The
calibration pieces follow it in the text.

CASE: {"name",
       "policy": null (dense) or all fields of a skip policy, sizes as counts,
       "prompt": [token ids],
       "layers": [{"candidates": count, "attention": ROWS, "ffn": ROWS} per layer],
       "steps": [{"token": greedy token, "top": [[id, log-probability] * 10]} * 8]}
ROWS: positions in the prompt as runs, flat: [first, count, first, count, ...], ascending.

Fractions became counts by max(1, round half away from zero(fraction * prompt tokens)). "product" uses the proxy above.
The set of best rows takes the lower row where scores are equal, which torch.topk leaves open; max-pooling makes equal
scores common. In the tiny cases no other score lies within a relative 1e-4 (product: 1e-3) of the one at a cut, and the
first greedy choice is never closer than 1e-3, so the order of float32 sums cannot change a set: seeds are tried until
that holds, and it is asserted.
"""
import argparse
import importlib.util
import json
import math
import os
import random

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

NEW_TOKENS = 8
D_LOW, RANK = 64, 24


def oracle_class(reference):
    class Oracle(reference.Llama):
        """The reference with heads * head_dim != width allowed, ties broken, and near-ties at a cut noticed."""

        def __init__(self, hf):
            super().__init__(hf)
            c = hf.config
            self.head_dim = getattr(c, "head_dim", None) or self.head_dim
            self.width = self.heads * self.head_dim  # the reference uses it only to reshape attention's output
            theta = (getattr(c, "rope_parameters", None) or {}).get("rope_theta", getattr(c, "rope_theta", 1e4))
            self.inv_freq = 1.0 / theta ** (torch.arange(0, self.head_dim, 2).float() / self.head_dim)
            self.closest = math.inf

        def best(self, score, count, always):
            count = min(count, len(score))
            s = score.masked_fill(always, torch.inf)
            order = torch.sort(s, descending=True, stable=True).indices
            if count < len(s):
                assert int(always.sum()) < count, "the always-kept rows must leave room"
                v = s[order[count - 1]]
                others = s[(s != v) & ~always]
                if len(others):
                    near = others if s[order[count]] == v else s[order[count]][None]
                    self.closest = min(self.closest, float(((near - v).abs() / v.abs()).min()))
            return order[:count].sort().values
    return Oracle


def runs(rows):
    out = []
    for r in rows:
        if out and out[-2] + out[-1] == r:
            out[-1] += 1
        else:
            out += [r, 1]
    return out


def run_case(model, name, ids, policy):
    model.closest = math.inf
    logits, cache, log = model.prefill(torch.tensor(ids), policy)
    steps, margin = [], math.inf
    for n in range(NEW_TOKENS):
        top = torch.topk(logits.log_softmax(-1), 10)
        margin = min(margin, float(top.values[0] - top.values[1]))
        steps.append(dict(token=int(top.indices[0]), top=[[int(i), round(float(v), 5)] for v, i in zip(*top)]))
        logits = model.decode(top.indices[:1], len(ids) + n, cache)[0]
    layers = [dict(candidates=l["candidates"], attention=runs(l["attention"]), ffn=runs(l["ffn"])) for l in log]
    return dict(name=name, policy=policy, prompt=ids, layers=layers, steps=steps), model.closest, margin


def count(fraction, n):
    return max(1, math.floor(fraction * n + 0.5))


def policy_of(n, start, ends, budgets, keeps, **other):
    """Sizes as fractions of n below 1, else counts."""
    size = lambda x: count(x, n) if x < 1 else x
    p = dict(start=start, stage_ends=ends, budgets=[size(b) for b in budgets], keeps=[size(k) for k in keeps],
             sink=4, recent=16, window=1, window_reduce="max", head_reduce="mean", pool=1, ffn_score="attention")
    p.update(other)
    return p


def layered(n, start, layers, first, last, **other):
    steps = layers - start - 1
    sizes = [first * (last / first) ** (i / steps) for i in range(steps + 1)]
    return policy_of(n, start, list(range(start, layers)), sizes, sizes, **other)


def tiny_policies():
    """(name, prompt length, policy for that length)"""
    best = dict(window=16, window_reduce="max", head_reduce="max", pool=15)
    return [
        ("dense", 60, lambda n: None),
        ("staged, last query, attention", 100, lambda n: policy_of(n, 1, [2, 4], [60, 40], [50, 30])),
        ("staged, last query, product", 150, lambda n: policy_of(n, 2, [3, 4], [.6, .4], [.5, .3],
                                                                ffn_score="product")),
        ("staged, last query, exact", 200, lambda n: policy_of(n, 0, [1, 3, 5], [.7, .5, .3], [.6, .4, .2],
                                                              ffn_score="exact")),
        ("layered, window 16, pool 15, product", 400, lambda n: layered(n, 2, 6, .5, .1, ffn_score="product", **best)),
        ("layered, window 16, pool 15, exact", 300, lambda n: layered(n, 1, 6, .8, .1, ffn_score="exact", **best)),
        ("layered, window 16, mean over heads, attention", 256,
         lambda n: layered(n, 1, 6, .6, .15, window=16, pool=15)),
        ("window 16 by mean, max over heads, pool 3, exact", 180,
         lambda n: layered(n, 3, 6, .5, .2, window=16, window_reduce="mean", head_reduce="max", pool=3,
                           ffn_score="exact")),
        ("cuts looser than budgets, window 4", 220,
         lambda n: policy_of(n, 1, [3, 5], [.4, .3], [.7, .5], window=4, pool=7, ffn_score="exact")),
        ("one stage, two layers after it", 128, lambda n: policy_of(n, 2, [3], [50], [40], ffn_score="product")),
        ("the first stage's budget holds everything", 90,
         lambda n: policy_of(n, 1, [2, 4], [90, 45], [80, 40], window=16, ffn_score="exact")),
        ("no sink, no recent, window 32", 140,
         lambda n: layered(n, 2, 6, .5, .2, sink=0, recent=0, window=32, pool=5, ffn_score="exact")),
    ]


def random_ids(seed, n, vocab):
    rng = random.Random(seed)
    return [rng.randrange(3, vocab) for _ in range(n)]


def proxy_golden(model, texts, vocab):
    saliency = [[] for _ in range(model.layers)]

    def collect(i, h):
        w = model.w[i]
        saliency[i].append((torch.nn.functional.silu(h @ w["g"].T) * (h @ w["u"].T)).abs())
    for ids in texts:
        model.prefill(torch.tensor(ids), on_ffn_input=collect)
    importance = []
    for s in map(torch.cat, saliency):
        importance.append(torch.topk(s, max(1, int(0.2 * len(s))), dim=0).values.mean(0))
    kept = [sorted(torch.topk(x, D_LOW).indices.tolist()) for x in importance]
    for x in importance:
        v = x.sort(descending=True).values
        assert v[D_LOW - 1] - v[D_LOW] > 1e-4 * v[D_LOW], "a channel is kept by less than float32 can tell"

    prompt, inputs = random_ids(99, 60, vocab), []
    model.prefill(torch.tensor(prompt), on_ffn_input=lambda i, h: inputs.append(h.clone()))
    one = torch.ones(len(prompt))
    norms = [model.ffn_probe(h, i, one, dict(ffn_score="product")) for i, h in enumerate(inputs)]
    rows = [0, 1, 7, 20, 33, 46, 58, 59]
    significant = lambda t: [float(f"{float(x):.8g}") for x in t]
    return dict(d_low=D_LOW, rank=RANK, calibration=texts, importance=[significant(x) for x in importance], kept=kept,
                prompt=prompt, norms=[significant(x) for x in norms], input_rows=rows,
                inputs=[[significant(h[r]) for r in rows] for h in inputs])


def make_tiny(oracle, folder):
    hf = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model, vocab = oracle(hf), hf.config.vocab_size
    texts = [random_ids(1000 + i, 200, vocab) for i in range(6)]
    model.build_proxy(texts, D_LOW, RANK)
    cases = []
    for name, length, policy_for in tiny_policies():
        policy = policy_for(length)
        gap = 1e-3 if policy and policy["ffn_score"] == "product" else 1e-4
        for seed in range(2000):
            case, closest, margin = run_case(model, name, random_ids(seed, length, vocab), policy)
            if closest > gap and margin > 1e-3:
                break
        assert closest > gap and margin > 1e-3, f"no prompt without near-ties for {name}"
        print(f"{name}: seed {seed}, closest score at a cut {closest:.1e}, greedy margin {margin:.1e}", flush=True)
        cases.append(case)
    return dict(cases=cases, proxy=proxy_golden(model, texts, vocab))


def make_real(oracle, gguf_path, text_path, tokens=1500):
    folder, name = os.path.split(os.path.abspath(gguf_path))
    hf = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    tok = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = oracle(hf)
    text = tok(open(text_path, errors="replace").read())["input_ids"]
    ids = text[:tokens]
    calibration = [text[i:i + 256] for i in range(tokens, tokens + 4 * 256, 256)]
    proxy = dict(d_low=hf.config.intermediate_size // 6, rank=hf.config.hidden_size // 6)
    model.build_proxy(calibration, proxy["d_low"], proxy["rank"])
    n = len(ids)
    balanced = lambda score: layered(n, 12, 30, .35, .06, window=16, head_reduce="max", pool=15, ffn_score=score)
    policies = [
        ("dense", None),
        ("balanced, product", balanced("product")),
        ("balanced, exact", balanced("exact")),
        ("the paper's, scaled to the prompt, attention",
         policy_of(n, 9, [12, 17, 22, 26], [x / 32 for x in (9, 7, 4, 2)], [x / 32 for x in (8, 6, 3, 1)])),
    ]
    cases = []
    for name, policy in policies:
        case, closest, margin = run_case(model, name, ids, policy)
        print(f"{name}: {n} tokens, closest score at a cut {closest:.1e}, greedy margin {margin:.1e}", flush=True)
        if cases:
            del case["prompt"]
        cases.append(case)
    return dict(cases=cases, proxy=dict(proxy, calibration=calibration))


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    a.add_argument("--reference", required=True)
    a.add_argument("--tiny")
    a.add_argument("--gguf")
    a.add_argument("--text")
    a.add_argument("--out", default=here)
    a = a.parse_args()
    spec = importlib.util.spec_from_file_location("spts_reference", a.reference)
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    oracle = oracle_class(reference)

    def write(name, content):
        with open(os.path.join(a.out, name), "w") as f:
            f.write(json.dumps(content, separators=(",", ":")) + "\n")
    if a.tiny:
        write("spts_tiny.json", make_tiny(oracle, a.tiny))
    if a.gguf:
        write("spts_smollm2.json", make_real(oracle, a.gguf, a.text))


if __name__ == "__main__":
    main()
