#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"

namespace skipserve {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// One order everywhere: the better logit first, then the lower id.
struct Scored {
  float logit;
  int32_t id;
  bool operator<(const Scored& o) const {
    return logit > o.logit || (logit == o.logit && id < o.id);
  }
};

// NaN never wins, and an infinity must not make a difference of infinities.
float Tame(float x) {
  return std::isnan(x) ? kNever : std::min(x, std::numeric_limits<float>::max());
}

bool IsId(int32_t id, size_t vocab) { return id >= 0 && static_cast<size_t>(id) < vocab; }

std::vector<float> Adjust(absl::Span<const float> raw, const SamplingParams& params,
                          const TokenCounts& counts, absl::Span<const int32_t> banned) {
  std::vector<float> logits(raw.size());
  std::transform(raw.begin(), raw.end(), logits.begin(), Tame);
  for (const auto& [id, bias] : params.logit_bias) {
    if (IsId(id, logits.size())) logits[id] = Tame(logits[id] + bias);
  }
  const float repetition = params.repetition_penalty > 0 ? params.repetition_penalty : 1.0f;
  if (repetition != 1.0f || params.presence_penalty != 0 || params.frequency_penalty != 0) {
    for (const auto& [id, count] : counts.counts()) {
      if (!IsId(id, logits.size())) continue;
      float& logit = logits[id];
      logit = logit > 0 ? logit / repetition : logit * repetition;
      if (count.answer > 0) {
        logit -= params.presence_penalty + params.frequency_penalty * count.answer;
      }
      logit = Tame(logit);
    }
  }
  for (const int32_t id : banned) {
    if (IsId(id, logits.size())) logits[id] = kNever;
  }
  return logits;
}

// The k best with a finite logit, best first: one pass with a heap of k entries.
std::vector<Scored> TopK(absl::Span<const float> logits, size_t k) {
  std::vector<Scored> heap;  // its front is the worst kept
  if (k == 0) return heap;
  heap.reserve(std::min(k, logits.size()));
  for (size_t i = 0; i < logits.size(); ++i) {
    const Scored entry{Tame(logits[i]), static_cast<int32_t>(i)};
    if (entry.logit == kNever) continue;
    if (heap.size() < k) {
      heap.push_back(entry);
      std::push_heap(heap.begin(), heap.end());
    } else if (entry < heap.front()) {
      std::pop_heap(heap.begin(), heap.end());
      heap.back() = entry;
      std::push_heap(heap.begin(), heap.end());
    }
  }
  std::sort_heap(heap.begin(), heap.end());
  return heap;
}

Scored Best(absl::Span<const float> logits) {
  Scored best{kNever, -1};
  for (size_t i = 0; i < logits.size(); ++i) {
    const float logit = Tame(logits[i]);
    if (logit > best.logit) best = {logit, static_cast<int32_t>(i)};
  }
  return best;
}

// Weights relative to the best token's, so none is above 1 and the sum is at least 1.
struct Softmax {
  float max;
  float temperature;
  double operator()(float logit) const { return std::exp((logit - max) / temperature); }
};

// The last entry of the smallest best-first prefix that holds at least the share `top_p` of the
// whole weight. Halves the range around the end of the prefix, so the work is linear.
Scored EndOfNucleus(std::vector<Scored> entries, const Softmax& weight, double total,
                    double top_p) {
  // Entries this light hold less than 1 - top_p together: none of them is in the prefix.
  const double light = (1.0 - top_p) * total / static_cast<double>(entries.size()) * 0.5;
  entries.erase(std::remove_if(entries.begin(), entries.end(),
                               [&](const Scored& e) { return weight(e.logit) < light; }),
                entries.end());
  double wanted = top_p * total;
  auto begin = entries.begin(), end = entries.end();
  while (end - begin > 1) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end);
    const double half = std::accumulate(
        begin, middle, 0.0, [&](double sum, const Scored& e) { return sum + weight(e.logit); });
    if (half >= wanted) {
      end = middle;
    } else {
      wanted -= half;
      begin = middle;
    }
  }
  return *begin;
}

// The filters as one bound: tokens after it in the order are out.
Scored LastKept(absl::Span<const float> logits, const SamplingParams& params,
                const Softmax& weight) {
  Scored last{std::numeric_limits<float>::lowest(), std::numeric_limits<int32_t>::max()};
  const bool top_k = params.top_k > 0 && static_cast<size_t>(params.top_k) < logits.size();
  const bool top_p = params.top_p < 1.0f;
  if (top_k || top_p) {
    std::vector<Scored> entries;
    if (top_k) {
      entries = TopK(logits, params.top_k);
      last = entries.back();
    } else {
      for (size_t i = 0; i < logits.size(); ++i) {
        if (logits[i] != kNever) entries.push_back({logits[i], static_cast<int32_t>(i)});
      }
    }
    if (top_p) {
      double total = 0;
      for (const Scored& e : entries) total += weight(e.logit);
      last = EndOfNucleus(std::move(entries), weight, total, std::max(0.0f, params.top_p));
    }
  }
  if (params.min_p > 0) {
    // weight >= min_p, in logits: the best token's weight is 1 and always passes.
    const double bound = weight.max + weight.temperature * std::log(std::min(1.0f, params.min_p));
    const float least = static_cast<float>(bound);
    last = std::min(last, {least, std::numeric_limits<int32_t>::max()});
  }
  return last;
}

int32_t Pick(absl::Span<const float> logits, const Scored& last, const Softmax& weight,
             double uniform) {
  std::vector<std::pair<int32_t, double>> kept;
  double total = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const Scored entry{logits[i], static_cast<int32_t>(i)};
    if (entry.logit == kNever || last < entry) continue;
    const double w = weight(entry.logit);
    if (w == 0) continue;
    kept.emplace_back(entry.id, w);
    total += w;
  }
  double left = uniform * total;
  for (const auto& [id, w] : kept) {
    if (left < w) return id;
    left -= w;
  }
  return kept.back().first;  // rounding used up the last token's share
}

void AddLogprobs(absl::Span<const float> raw, float max, int32_t count, Sampler::Result& result) {
  double sum = 0;
  for (const float logit : raw) sum += std::exp(Tame(logit) - max);
  const double log_sum = max + std::log(sum);
  const auto logprob = [log_sum](float logit) {
    return std::max(static_cast<float>(Tame(logit) - log_sum), Sampler::kNoProbability);
  };
  result.logprob = logprob(raw[result.token]);
  for (const Scored& e : TopK(raw, count)) result.top.push_back({e.id, logprob(e.logit)});
}

}  // namespace

absl::StatusOr<Sampler::Result> Sampler::Draw(absl::Span<const float> logits,
                                              const SamplingParams& params,
                                              const TokenCounts& counts,
                                              absl::Span<const int32_t> banned, uint64_t position,
                                              int32_t logprobs) const {
  const Scored raw_best = Best(logits);
  if (raw_best.id < 0) {
    return absl::InternalError(absl::StrCat("the model gave no finite logit among ", logits.size(),
                                            ", at position ", position));
  }
  const std::vector<float> adjusted = Adjust(logits, params, counts, banned);
  const Scored best = Best(adjusted);
  if (best.id < 0) {
    return absl::InternalError("bias, penalties and banned tokens leave no token to choose");
  }
  Result result;
  result.token = best.id;
  if (params.temperature > 0) {
    const Softmax weight{best.logit,
                         std::min(params.temperature, std::numeric_limits<float>::max())};
    result.token = Pick(adjusted, LastKept(adjusted, params, weight), weight,
                        UniformDraw(params.seed, params.choice, position));
  }
  if (logprobs >= 0) AddLogprobs(logits, raw_best.logit, logprobs, result);
  return result;
}

double UniformDraw(uint64_t seed, uint32_t choice, uint64_t position) {
  // Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
  uint32_t c0 = static_cast<uint32_t>(position), c1 = static_cast<uint32_t>(position >> 32);
  uint32_t c2 = choice, c3 = 0;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c0, p1 = uint64_t{0xCD9E8D57} * c2;
    const uint32_t next0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t next2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = next0;
    c2 = next2;
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  const uint64_t bits = (uint64_t{c0} << 32 | c1) >> 11;
  return static_cast<double>(bits) * 0x1.0p-53;
}

}  // namespace skipserve
