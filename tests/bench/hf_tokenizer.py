#!/usr/bin/env python3
"""A GGUF model's byte-level BPE as a Hugging Face tokenizer folder, for load generators that count tokens themselves.

  hf_tokenizer.py MODEL.gguf FOLDER      needs gguf and transformers (PyPI)
"""
import sys

import gguf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def main():
    model, folder = sys.argv[1:]
    fields = gguf.GGUFReader(model).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    bpe = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    eos = tokens[fields["tokenizer.ggml.eos_token_id"].contents()]
    PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=eos, bos_token=eos).save_pretrained(folder)


if __name__ == "__main__":
    main()
