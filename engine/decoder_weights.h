// The weights of a decoder in a backend's memory, and how they come out of a model file.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model_file.h"
#include "engine/rope.h"
#include "kernels/ops.h"

namespace skipserve {

// One layer. Q and V are one matrix, K another: a skipping layer needs K of every candidate but Q
// and V of few.
struct LayerWeights {
  Buffer attention_norm;            // [1, width]
  std::unique_ptr<Weight> k;        // [kv_heads * head_dim, width]
  std::unique_ptr<Weight> qv;       // [(heads + kv_heads) * head_dim, width], Q first
  Buffer k_bias, qv_bias;           // [1, rows of k / qv]; empty where the model has none
  std::unique_ptr<Weight> o;        // [width, heads * head_dim]
  Buffer ffn_norm;                  // [1, width]
  std::unique_ptr<Weight> gate_up;  // [2 * ffn_width, width], gate first
  std::unique_ptr<Weight> down;     // [width, ffn_width]
};

struct DecoderWeights {
  std::unique_ptr<Weight> embedding;  // [vocab_size, width]
  std::unique_ptr<Weight> head;       // [vocab_size, width]; null: the embedding serves
  Buffer final_norm;                  // [1, width]
  std::vector<LayerWeights> layers;
  RopeMemory rope;

  const Weight& unembedding() const { return head ? *head : *embedding; }
};

// Shapes are not looked at here: a ModelFile that opened has every weight in the shape of its
// config (CheckWeights). With kInt4 what the file has in 4 bits stays so (of two matrices kept as
// one, where both are) and other weights are kInt8; INVALID_ARGUMENT where it has none.
// RESOURCE_EXHAUSTED without memory. `positions`: how many positions the rotary tables cover.
absl::StatusOr<DecoderWeights> LoadDecoderWeights(const ModelFile& file, WeightType type,
                                                  int64_t positions, Ops& ops);

}  // namespace skipserve
