// Prefill work against a budget. The cost of a chunk grows with its end, so the largest that fits
// is found by bisection over the ends allowed.
#include "scheduler/prefill_work.h"

#include <algorithm>

namespace skipserve {

double TrunkFlops(const SequenceShape& shape, int64_t begin, int64_t end) {
  const double tokens = static_cast<double>(end - begin);
  // Query i sees i + 1 keys: begin + 1, begin + 2, ..., end.
  const double pairs = tokens * (static_cast<double>(begin) + (tokens + 1) / 2);
  return tokens * shape.trunk_flops_per_token + pairs * shape.trunk_flops_per_pair;
}

PrefillPiece NextChunk(const SequenceShape& shape, int64_t begin, int64_t min_tokens,
                       int64_t max_tokens, double flops) {
  // Ends are numbered 0, 1, ...: the k-th is k minimal chunks after the first, or the prompt's end.
  const int64_t rest = shape.prompt_tokens - begin;
  const int64_t first = min_tokens - begin % min_tokens;
  const int64_t longest = std::min(rest, max_tokens);
  auto end_of = [&](int64_t k) { return begin + std::min(rest, first + k * min_tokens); };
  int64_t low = 0;
  int64_t high = 0;
  if (longest > first) {
    high = (longest - first) / min_tokens;
    // The prompt's last tokens need not fill a minimal chunk.
    if (longest == rest && (longest - first) % min_tokens != 0) ++high;
  }
  while (low < high) {
    const int64_t middle = high - (high - low) / 2;
    if (TrunkFlops(shape, begin, end_of(middle)) <= flops) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return {end_of(low), TrunkFlops(shape, begin, end_of(low))};
}

PrefillPiece NextSlice(const SequenceShape& shape, int32_t layer_begin, double flops) {
  const std::vector<double>& costs = shape.skip_layer_flops;
  PrefillPiece piece{layer_begin + 1, costs[layer_begin - shape.trunk_layers]};
  while (piece.end < shape.layers()) {
    const double more = piece.flops + costs[piece.end - shape.trunk_layers];
    if (!(more <= flops)) break;
    piece = {piece.end + 1, more};
  }
  return piece;
}

}  // namespace skipserve
