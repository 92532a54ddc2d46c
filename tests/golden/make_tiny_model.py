#!/usr/bin/env python3
"""Writes the golden tiny models under tests/golden/tiny/, each in both formats, with PyTorch's logits.

Usage: python3 tests/golden/make_tiny_model.py [--out tests/golden/tiny]
Needs: torch, transformers, tokenizers, gguf, numpy. The output is committed; run this only to change the models.

  hf/, tiny.gguf, logits.json               llama, tied, bfloat16, plain RoPE; 6 layers, heads * head_dim != width
  tiny.q4.gguf                              the same, o_proj in Q4_1 and down_proj in Q4_0, as their rows fill blocks
  llama3/hf/, llama3/tiny.gguf, ...         llama, untied, float32, llama3 RoPE scaling, shards with an index, BOS
  qwen2/hf/, qwen2/tiny.gguf, ...           qwen2 with QKV bias, tied, float16
  linear/hf/, linear/tiny.gguf, ...         llama, tied, float16, linear RoPE scaling; as small as can be

The folder is what transformers' save_pretrained writes. The GGUF holds the same values, with the rows of Q and K
permuted for interleaved RoPE as llama.cpp's converter does for llama (not for qwen2), and llama3 scaling as the tensor
rope_freqs.weight.

logits.json: {"cases": [{"ids": [token ids], "logits": [logits after the last id, one per vocabulary entry]}, ...]},
computed in float32 with eager attention from the values as stored.
"""
import argparse
import json
import math
import pathlib
import shutil

import gguf
import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM)

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCAB = 320
CHATML = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' "
          "+ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
QWEN2_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
               r"\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3_SPLIT = QWEN2_SPLIT.replace(r"\p{N}| ?", r"\p{N}{1,3}| ?")
TEXT = """The server reads a prompt and answers it one token at a time. The tokens that matter are computed in every
layer; the others are skipped in the upper layers, and the answer stays the same. In the morning there is the sea, and
in the evening there is the harbour with the lights on the water. They are here, then they are there, and there is more
of this than of that. It's 1984, it's 2024; the year isn't the point, the numbers are."""


def make_tokenizer(kind):
    tok = Tokenizer(models.BPE(ignore_merges=kind == "llama3"))
    if kind in ("smollm", "linear"):
        tok.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)])
    else:
        if kind == "qwen2":
            tok.normalizer = normalizers.NFC()
        tok.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(QWEN2_SPLIT if kind == "qwen2" else LLAMA3_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator([TEXT], trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    assert tok.get_vocab_size() == VOCAB
    if kind == "llama3":
        tok.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<|endoftext|> $A", pair="<|endoftext|> $A <|endoftext|>:1 $B:1",
                                          special_tokens=[("<|endoftext|>", 0)])])
    bos = {"llama3": "<|endoftext|>", "qwen2": None}.get(kind, "<|im_start|>")
    return PreTrainedTokenizerFast(tokenizer_object=tok, bos_token=bos, eos_token="<|im_end|>",
                                   chat_template=CHATML)


def make_model(kind, seed):
    if kind == "smollm":
        config = LlamaConfig(
            vocab_size=VOCAB, hidden_size=48, intermediate_size=160, num_hidden_layers=6, num_attention_heads=6,
            num_key_value_heads=2, head_dim=16, max_position_embeddings=2048, rms_norm_eps=1e-5,
            rope_parameters=dict(rope_type="default", rope_theta=100000.0), tie_word_embeddings=True,
            bos_token_id=1, eos_token_id=2)
        model = LlamaForCausalLM(config)
    elif kind == "llama3":
        config = LlamaConfig(
            vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=1, head_dim=8, max_position_embeddings=2048, rms_norm_eps=1e-5,
            rope_parameters=dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
                                 high_freq_factor=4.0, original_max_position_embeddings=64),
            tie_word_embeddings=False, bos_token_id=0, eos_token_id=[2, 0])
        model = LlamaForCausalLM(config)
    elif kind == "linear":
        config = LlamaConfig(
            vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, head_dim=8, max_position_embeddings=2048, rms_norm_eps=1e-5,
            rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0), tie_word_embeddings=True,
            bos_token_id=1, eos_token_id=2)
        model = LlamaForCausalLM(config)
    else:
        config = Qwen2Config(
            vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, max_position_embeddings=2048, rms_norm_eps=1e-6,
            rope_parameters=dict(rope_type="default", rope_theta=1000000.0), tie_word_embeddings=True,
            use_sliding_window=False, bos_token_id=0, eos_token_id=2)
        model = Qwen2ForCausalLM(config)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=rng)
            p.copy_(1 + 0.1 * noise if "norm" in name else 0.2 * noise)
    model.tie_weights()
    dtype = {"smollm": torch.bfloat16, "llama3": torch.float32}.get(kind, torch.float16)
    return model.to(dtype).eval(), dtype


def permute(w, heads):
    """Half-rotated rows to interleaved rows: what llama.cpp's converter does to Q and K."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def rope_divisors(c):
    p, out = c.rope_parameters, []
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    low, high = (p["original_max_position_embeddings"] / p[k] for k in ("low_freq_factor", "high_freq_factor"))
    for i in range(0, head_dim, 2):
        wavelength = 2 * math.pi * p["rope_theta"] ** (i / head_dim)
        if wavelength < high:
            out.append(1.0)
        elif wavelength > low:
            out.append(p["factor"])
        else:
            smooth = ((p["original_max_position_embeddings"] / wavelength - p["low_freq_factor"])
                      / (p["high_freq_factor"] - p["low_freq_factor"]))
            out.append(1 / ((1 - smooth) / p["factor"] + smooth))
    return np.array(out, dtype=np.float32)


def gguf_name(name):
    fixed = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}
    if name in fixed:
        return fixed[name]
    _, _, layer, *rest = name.split(".")
    part = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
            "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
            "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
            "post_attention_layernorm": "ffn_norm"}[".".join(rest[:-1])]
    return f"blk.{layer}.{part}.{rest[-1]}"


def write_gguf(path, kind, model, dtype, tok, four_bits=False):
    c = model.config
    arch = "qwen2" if kind == "qwen2" else "llama"
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    w = gguf.GGUFWriter(path, arch)
    w.add_name(f"tiny {kind}")
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_rope_freq_base(c.rope_parameters["rope_theta"])
    if kind == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(c.rope_parameters["factor"])
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_vocab_size(c.vocab_size)
    w.add_rope_dimension_count(head_dim)
    w.add_key_length(head_dim)
    w.add_value_length(head_dim)

    backend = json.loads(tok.backend_tokenizer.to_str())
    texts = tok.convert_ids_to_tokens(list(range(VOCAB)))
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre({"llama3": "llama-bpe", "qwen2": "qwen2"}.get(kind, "smollm"))
    w.add_token_list(texts)
    w.add_token_types([gguf.TokenType.CONTROL if t in SPECIAL else gguf.TokenType.NORMAL for t in texts])
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in backend["model"]["merges"]])
    if c.bos_token_id is not None:
        w.add_bos_token_id(c.bos_token_id)
    w.add_eos_token_id(2)
    w.add_add_bos_token(kind == "llama3")
    w.add_chat_template(CHATML)

    if kind == "llama3":
        w.add_tensor("rope_freqs.weight", rope_divisors(c))
    for name, p in model.state_dict().items():
        if name == "lm_head.weight" and c.tie_word_embeddings:
            continue
        x = p.to(torch.float32).numpy()
        if arch == "llama" and "q_proj" in name:
            x = permute(x, c.num_attention_heads)
        if arch == "llama" and "k_proj" in name:
            x = permute(x, c.num_key_value_heads)
        if four_bits and ("o_proj" in name or "down_proj" in name):
            stored = gguf.GGMLQuantizationType["Q4_1" if "o_proj" in name else "Q4_0"]
            w.add_tensor(gguf_name(name), gguf.quants.quantize(x, stored), raw_dtype=stored)
        elif x.ndim == 2 and dtype == torch.bfloat16:
            bits = (np.ascontiguousarray(x).view(np.uint32) >> 16).astype(np.uint16)
            w.add_tensor(gguf_name(name), bits.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
        elif x.ndim == 2 and dtype == torch.float16:
            w.add_tensor(gguf_name(name), x.astype(np.float16))
        else:
            w.add_tensor(gguf_name(name), np.ascontiguousarray(x))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def write_logits(path, hf, lengths):
    """From the folder, so that the values are the stored ones, in float32."""
    cls = Qwen2ForCausalLM if json.load(open(hf / "config.json"))["model_type"] == "qwen2" else LlamaForCausalLM
    model = cls.from_pretrained(hf, dtype=torch.float32, attn_implementation="eager").eval()
    rng = np.random.default_rng(7)
    cases = []
    for length in lengths:
        ids = [int(i) for i in rng.integers(3, VOCAB, size=length)]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1].numpy()
        cases.append(dict(ids=ids, logits=[float(f"{v:.9g}") for v in logits]))
        print(path, length, "std", float(logits.std()), "max", float(logits.max()))
    lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
    path.write_text('{"cases":[\n' + lines + "\n]}\n")


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--out", default=str(pathlib.Path(__file__).parent / "tiny"))
    out = pathlib.Path(a.parse_args().out)
    for seed, kind in enumerate(["smollm", "llama3", "qwen2", "linear"]):
        top = out if kind == "smollm" else out / kind
        hf = top / "hf"
        shutil.rmtree(hf, ignore_errors=True)
        hf.mkdir(parents=True)
        tok = make_tokenizer(kind)
        model, dtype = make_model(kind, seed)
        model.save_pretrained(hf, max_shard_size="60KB" if kind == "llama3" else "1GB")
        tok.save_pretrained(hf)
        write_gguf(str(top / "tiny.gguf"), kind, model, dtype, tok)
        if kind == "smollm":
            write_gguf(str(top / "tiny.q4.gguf"), kind, model, dtype, tok, four_bits=True)
        lengths = {"smollm": [1, 5, 33, 300, 300], "linear": [33, 300]}.get(kind, [1, 5, 33, 300])
        write_logits(top / "logits.json", hf, lengths)


if __name__ == "__main__":
    main()
