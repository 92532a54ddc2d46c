// What both loaders check once a file is understood: that the weights fit the shape, and that the
// vocabulary fits the weights. Pure functions, safe from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/model_file.h"
#include "engine/model_file_tensor.h"

namespace skipserve {

// INVALID_ARGUMENT where a weight that the decoder needs is missing or of another shape than the
// config's, naming it and both shapes.
absl::Status CheckWeights(const ModelFile& file);

// INVALID_ARGUMENT for a bias the decoder would ignore: any whose name does not end in one of
// `used_suffixes`.
absl::Status CheckBiases(const StoredTensors& tensors,
                         absl::Span<const absl::string_view> used_suffixes);

// The last step of a TokenizerSpec whose tokens, kinds, bos_id, add_bos and declared eos_id and
// eos_ids are in: pads the vocabulary to `vocab_size` with unused tokens, takes the first of
// eos_ids where no eos_id is declared, adds the well-known tokens that end a turn (whatever a file
// declares, a chat model stops at these), and checks the ids.
// INVALID_ARGUMENT where there are more tokens than `vocab_size`, or an id lies outside.
absl::Status FinishTokenizer(int32_t vocab_size, TokenizerSpec* spec);

}  // namespace skipserve
