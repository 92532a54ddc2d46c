// Names for the blocks of a prompt, by which the prefix cache knows prompts that begin alike.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "scheduler/types.h"

namespace skipserve {

// One key for each full block of `block_tokens` tokens: of all tokens up to its end, of the layers
// computed for them, and of the salts. A chain of SHA-256, cut to 128 bits: prompts of different
// people cannot be made to collide.
absl::StatusOr<std::vector<PrefixKey>> PrefixKeys(absl::Span<const int32_t> prompt,
                                                  int32_t trunk_layers,
                                                  absl::Span<const std::string> salts,
                                                  int32_t block_tokens);

}  // namespace skipserve
