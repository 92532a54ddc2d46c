// What one request may ask for at most, the same at both front ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace skipserve {

inline constexpr int kMaxChoices = 128;         // answers of one call: n times its prompts
inline constexpr int64_t kMaxLogprobs = 20;     // beside the token's own
inline constexpr size_t kMaxTokenRules = 4096;  // token ids in logit_bias, and among the stop rules
inline constexpr size_t kMaxStops = 16;
inline constexpr size_t kMaxStopBytes = 1024;                              // of each
inline constexpr int64_t kMaxCount = std::numeric_limits<int32_t>::max();  // max_tokens, top_k ...

}  // namespace skipserve
