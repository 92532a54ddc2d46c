#!/usr/bin/env python3
"""Writes a Llama of random weights as a GGUF file, for measuring speed at sizes and lengths that no model at hand has.

  random_model.py OUT.gguf TOKENIZER.gguf [--layers 16 --width 2048 --heads 32 --kv-heads 8 --ffn 8192 --context 65536]

The defaults are the shape of Llama 3.2 1B with the vocabulary of the second file. Weights are bf16, normal, each row of length
about one, so that activations stay in range. Needs the package gguf from PyPI.
"""
import argparse

import numpy
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter


def bf16(random, rows, columns):
    values = random.standard_normal((rows, columns), dtype=numpy.float32) / numpy.float32(columns**0.5)
    return (values.view(numpy.uint32) >> 16).astype(numpy.uint16).view(numpy.uint8)


def copy_tokenizer(writer, path):
    for name, field in GGUFReader(path).fields.items():
        if name.startswith("tokenizer."):
            kind = field.types[0]
            writer.add_key_value(name, field.contents(), kind, field.types[1] if len(field.types) > 1 else None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("tokenizer")
    for name, default in (("layers", 16), ("width", 2048), ("heads", 32), ("kv-heads", 8), ("ffn", 8192), ("context", 65536)):
        parser.add_argument(f"--{name}", type=int, default=default)
    a = parser.parse_args()
    random = numpy.random.default_rng(1)
    vocabulary = len(GGUFReader(a.tokenizer).fields["tokenizer.ggml.tokens"].data)
    head = a.width // a.heads

    writer = GGUFWriter(a.out, "llama")
    writer.add_name("random")
    writer.add_context_length(a.context)
    writer.add_embedding_length(a.width)
    writer.add_block_count(a.layers)
    writer.add_feed_forward_length(a.ffn)
    writer.add_head_count(a.heads)
    writer.add_head_count_kv(a.kv_heads)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(500000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocabulary)
    copy_tokenizer(writer, a.tokenizer)

    def matrix(name, rows, columns):
        writer.add_tensor(name, bf16(random, rows, columns), raw_dtype=GGMLQuantizationType.BF16)

    def ones(name):
        writer.add_tensor(name, numpy.ones(a.width, dtype=numpy.float32))

    matrix("token_embd.weight", vocabulary, a.width)
    ones("output_norm.weight")
    for i in range(a.layers):
        ones(f"blk.{i}.attn_norm.weight")
        matrix(f"blk.{i}.attn_q.weight", a.heads * head, a.width)
        matrix(f"blk.{i}.attn_k.weight", a.kv_heads * head, a.width)
        matrix(f"blk.{i}.attn_v.weight", a.kv_heads * head, a.width)
        matrix(f"blk.{i}.attn_output.weight", a.width, a.heads * head)
        ones(f"blk.{i}.ffn_norm.weight")
        matrix(f"blk.{i}.ffn_gate.weight", a.ffn, a.width)
        matrix(f"blk.{i}.ffn_up.weight", a.ffn, a.width)
        matrix(f"blk.{i}.ffn_down.weight", a.width, a.ffn)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
