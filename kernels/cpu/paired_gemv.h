// out = a W^T for a decode step's few rows: one pass over the weights, which are what the time goes
// into. A row's sums depend on nothing but the row. Thread-safe.
#pragma once

#include <cstdint>

#include "kernels/cpu/paired_weights.h"
#include "kernels/tensor.h"

namespace skipserve::cpu {

// Outputs of the blocks [begin, end), activations in float32.
void PairedGemv(TensorView a, const PairedWeights& w, int64_t begin, int64_t end, TensorView out);

// The same on AMX tiles, where the machine has them (AmxReady): activations [32, input_blocks * 32]
// rounded to bf16, zeros past k and past `rows`, at most 32. 16 rows take hardly longer than one:
// 32 streams decode 3.3 times as fast as with the vectors.
void AmxGemv(const uint16_t* a, int64_t rows, const PairedWeights& w, int64_t begin, int64_t end,
             TensorView out);

}  // namespace skipserve::cpu
