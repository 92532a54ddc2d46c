#!/usr/bin/env python3
"""Writes tests/golden/dequant/: for each stored type a few blocks and the floats they stand for.

Usage: python3 tests/golden/make_dequant_golden.py [--out tests/golden/dequant]
Needs: gguf, numpy. The output is committed.

TYPE.blocks holds 3 blocks of a quantized type (192 elements of F16 and BF16), TYPE.f32 the same as little-endian
float32, as the gguf package's own dequantize gives them. The bytes are random, so that every bit of a block matters,
but for the scales, which are finite halves of every kind: normal, subnormal, negative, zero.
"""
import argparse
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

# Where a block holds halves: their byte offsets.
HALVES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q4_K: [0, 2], T.Q5_K: [0, 2],
          T.Q6_K: [208]}
SCALES = np.array([0.0123, -1.75, 3e-6, 0.25, -0.0, 1000.0], dtype=np.float16)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--out", default=str(pathlib.Path(__file__).parent / "dequant"))
    out = pathlib.Path(a.parse_args().out)
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(11)
    for kind, halves in HALVES.items():
        size = gguf.GGML_QUANT_SIZES[kind][1]
        blocks = rng.integers(0, 256, size=(3, size), dtype=np.uint8)
        for b in range(3):
            for h, at in enumerate(halves):
                blocks[b, at:at + 2] = SCALES[(2 * b + h) % len(SCALES)].reshape(1).view(np.uint8)
        (out / f"{kind.name}.blocks").write_bytes(blocks.tobytes())
        (out / f"{kind.name}.f32").write_bytes(gguf.quants.dequantize(blocks, kind).astype("<f4").tobytes())
    bits = rng.integers(0, 1 << 16, size=192, dtype=np.uint16)
    bits[:8] = [0, 0x8000, 1, 0x83ff, 0x0400, 0x7bff, 0x7c00, 0xfc00]
    bits[8:] = np.where((bits[8:] & 0x7c00) == 0x7c00, 0x3c00, bits[8:])  # no NaN: they compare unequal
    (out / "F16.blocks").write_bytes(bits.astype("<u2").tobytes())
    (out / "F16.f32").write_bytes(bits.view(np.float16).astype("<f4").tobytes())
    bits = np.where((bits & 0x7f80) == 0x7f80, 0x3f80, bits).astype(np.uint16)
    (out / "BF16.blocks").write_bytes(bits.astype("<u2").tobytes())
    (out / "BF16.f32").write_bytes((bits.astype("<u4") << 16).tobytes())


if __name__ == "__main__":
    main()
