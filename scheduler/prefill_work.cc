// Prefill work against a time. What a piece takes grows with its end, so the largest that fits is
// found by bisection over the ends allowed.
#include "scheduler/prefill_work.h"

#include <algorithm>

namespace skipserve {
namespace {

// Query i sees i + 1 keys: begin + 1, begin + 2, ..., end.
double Pairs(int64_t begin, int64_t end) {
  const double tokens = static_cast<double>(end - begin);
  return tokens * (static_cast<double>(begin) + (tokens + 1) / 2);
}

// The largest i in [0, count) that fits, where i = 0 always does and what fits ends somewhere.
template <class Fits>
int64_t Largest(int64_t count, const Fits& fits) {
  int64_t low = 0, high = count - 1;
  while (low < high) {
    const int64_t middle = high - (high - low) / 2;
    if (fits(middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// Rows [begin, end) of one layer: the first half attends, the second feeds forward.
Work LayerWork(const SkipLayer& layer, int64_t begin, int64_t end) {
  Work work;
  work[WorkKind::kLayer] = 1;
  const int64_t half = layer.rows;
  if (begin == 0) {
    work[WorkKind::kMatMul] += layer.key_flops;
    work[WorkKind::kProbe] += layer.probe_flops;
  }
  if (begin < half) {
    const int64_t stop = std::min(end, half);
    work[WorkKind::kMatMul] += static_cast<double>(stop - begin) * layer.attention_flops_per_row;
    work[WorkKind::kAttention] += Pairs(begin, stop) * layer.attention_flops_per_pair;
    work[WorkKind::kKeys] += static_cast<double>(stop);
  }
  if (end > half) {
    const int64_t start = std::max(begin, half);
    if (start == half) work[WorkKind::kProbe] += layer.ffn_probe_flops;
    work[WorkKind::kMatMul] += static_cast<double>(end - start) * layer.ffn_flops_per_row;
  }
  return work;
}

// The ends allowed in one layer after row `begin`, in order; the last is the layer's own.
class Stops {
 public:
  Stops(int64_t half, int64_t begin, int64_t step)
      : half_(half),
        step_(step),
        first_(begin < half ? begin / step + 1 : (begin - half) / step + 1),
        attending_(begin < half ? Steps(half) - first_ + 1 : 0),
        count_(begin < half ? attending_ + Steps(half)
                            : std::max<int64_t>(1, Steps(half) - first_ + 1)) {}
  int64_t count() const { return count_; }
  int64_t at(int64_t i) const {
    if (i < attending_) return std::min(half_, (first_ + i) * step_);
    const int64_t fed = attending_ > 0 ? i - attending_ + 1 : first_ + i;
    return half_ + std::min(half_, fed * step_);
  }

 private:
  int64_t Steps(int64_t rows) const { return (rows + step_ - 1) / step_; }

  const int64_t half_, step_, first_, attending_, count_;
};

}  // namespace

Work TrunkWork(const SequenceShape& shape, int64_t begin, int64_t end, int32_t layers) {
  Work work;
  work[WorkKind::kMatMul] = static_cast<double>(end - begin) * shape.trunk_flops_per_token * layers;
  work[WorkKind::kAttention] = Pairs(begin, end) * shape.trunk_flops_per_pair * layers;
  work[WorkKind::kKeys] = static_cast<double>(end) * layers;
  work[WorkKind::kLayer] = layers;
  return work;
}

Work SkipWork(const SequenceShape& shape, SkipPoint begin, SkipPoint end) {
  Work work;
  while (begin.layer < end.layer || (begin.layer == end.layer && begin.row < end.row)) {
    const SkipLayer& layer = shape.skip_layers[begin.layer - shape.trunk_layers];
    const bool whole = begin.layer < end.layer;
    work += LayerWork(layer, begin.row, whole ? 2 * layer.rows : end.row);
    begin = whole ? SkipPoint{begin.layer + 1, 0} : end;
  }
  return work;
}

Work PrefillWork(const SequenceShape& shape, int64_t begin) {
  Work work = TrunkWork(shape, begin, shape.prompt_tokens, shape.trunk_layers);
  if (!shape.prefix_only) work += SkipWork(shape, {shape.trunk_layers, 0}, {shape.layers(), 0});
  return work;
}

TrunkPiece NextChunk(const SequenceShape& shape, TrunkPoint at, int64_t min_tokens,
                     int64_t max_tokens, double seconds, const CostModel& cost) {
  if (at.layer == 0) {
    // Ends are numbered 0, 1, ...: the k-th is k minimal chunks after the first, or the prompt's.
    const int64_t rest = shape.prompt_tokens - at.begin;
    const int64_t first = min_tokens - at.begin % min_tokens;
    const int64_t longest = std::min(rest, max_tokens);
    const auto end_of = [&](int64_t k) {
      return at.begin + std::min(rest, first + k * min_tokens);
    };
    int64_t count = 1;
    if (longest > first) {
      count += (longest - first) / min_tokens;
      // The prompt's last tokens need not fill a minimal chunk.
      if (longest == rest && (longest - first) % min_tokens != 0) ++count;
    }
    at.end = end_of(Largest(count, [&](int64_t k) {
      return cost.Seconds(TrunkWork(shape, at.begin, end_of(k), 1)) <= seconds;
    }));
  }
  TrunkPiece piece{at.end, shape.trunk_layers, {}, 0};
  const int32_t layers = shape.trunk_layers - at.layer;
  if (layers > 0) {
    piece.layer_end = at.layer + 1 + static_cast<int32_t>(Largest(layers, [&](int64_t k) {
                        const auto through = static_cast<int32_t>(k + 1);
                        return cost.Seconds(TrunkWork(shape, at.begin, at.end, through)) <= seconds;
                      }));
  }
  piece.work = TrunkWork(shape, at.begin, at.end, piece.layer_end - at.layer);
  piece.seconds = cost.Seconds(piece.work);
  return piece;
}

SkipPiece NextSlice(const SequenceShape& shape, SkipPoint begin, int64_t min_rows, double seconds,
                    const CostModel& cost) {
  SkipPiece piece{begin, {}, 0};
  while (piece.end.layer < shape.layers()) {
    const SkipLayer& layer = shape.skip_layers[piece.end.layer - shape.trunk_layers];
    const int64_t row = piece.end.row;
    const Stops stops(layer.rows, row, min_rows);
    const auto until = [&](int64_t stop) {
      Work work = piece.work;
      work += LayerWork(layer, row, stop);
      return work;
    };
    const bool first = piece.end == begin;
    const auto fits = [&](int64_t i) { return cost.Seconds(until(stops.at(i))) <= seconds; };
    if (!first && !fits(0)) break;
    const int64_t stop =
        stops.at(fits(stops.count() - 1) ? stops.count() - 1 : Largest(stops.count(), fits));
    piece.work = until(stop);
    const bool whole = stop == 2 * layer.rows;
    piece.end = whole ? SkipPoint{piece.end.layer + 1, 0} : SkipPoint{piece.end.layer, stop};
    if (!whole) break;
  }
  piece.seconds = cost.Seconds(piece.work);
  return piece;
}

}  // namespace skipserve
