#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/logits.h"

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

// As TameLogits: a bias or a penalty may undo what it did.
float Tame(float x) {
  return std::isnan(x) ? kNever : std::min(x, std::numeric_limits<float>::max());
}

bool IsId(int32_t id, size_t vocab) { return id >= 0 && static_cast<size_t>(id) < vocab; }

bool Penalises(const SamplingParams& p) {
  return p.repetition_penalty != 1.0f || p.presence_penalty != 0 || p.frequency_penalty != 0;
}

bool Adjusts(const SamplingParams& p) { return Penalises(p) || !p.logit_bias.empty(); }

std::vector<float> Adjust(absl::Span<const float> raw, const SamplingParams& params,
                          const TokenCounts& counts, absl::Span<const int32_t> banned) {
  std::vector<float> logits(raw.size());
  TameLogits(raw, logits.data());
  for (const auto& [id, bias] : params.logit_bias) {
    if (IsId(id, logits.size())) logits[id] = Tame(logits[id] + bias);
  }
  const float repetition = params.repetition_penalty > 0 ? params.repetition_penalty : 1.0f;
  if (Penalises(params)) {
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

// The k best with a finite logit, best first: one pass with a heap of k entries, in which a token
// that is no better than the worst of them is passed over, many at once.
std::vector<Scored> TopK(absl::Span<const float> logits, size_t k) {
  std::vector<Scored> heap;  // its front is the worst kept
  if (k == 0) return heap;
  heap.reserve(std::min(k, logits.size()));
  const auto size = static_cast<int64_t>(logits.size());
  const auto next = [&](int64_t begin) {
    if (heap.size() < k) return NextAtLeast(logits, begin, kNever);
    // A later token's id is higher: it must be better, not as good.
    return NextAtLeast(logits, begin, std::nextafter(heap.front().logit, -kNever));
  };
  for (int64_t i = next(0); i < size; i = next(i + 1)) {
    const Scored entry{Tame(logits[i]), static_cast<int32_t>(i)};
    if (heap.size() == k) {
      std::pop_heap(heap.begin(), heap.end());
      heap.pop_back();
    }
    heap.push_back(entry);
    std::push_heap(heap.begin(), heap.end());
  }
  std::sort_heap(heap.begin(), heap.end());
  return heap;
}

Scored Best(absl::Span<const float> logits) {
  const int64_t best = BestLogit(logits);
  if (best < 0) return {kNever, -1};
  return {Tame(logits[best]), static_cast<int32_t>(best)};
}

// Weights relative to the best token's, so none is above 1 and the sum is at least 1.
struct Softmax {
  float max;
  float temperature;
  double operator()(float logit) const { return std::exp((logit - max) / temperature); }
};

// The last entry of the smallest best-first prefix that holds the weight `wanted`. Halves the range
// around the end of the prefix, so the work is linear.
Scored EndOfPrefix(std::vector<Scored> entries, const Softmax& weight, double wanted) {
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

Scored EndOfNucleus(absl::Span<const float> logits, const Softmax& weight, float top_p) {
  const double total = SumOfExp(logits, weight.max, weight.temperature);
  // Entries this light hold less than 1 - top_p of the whole together, so none is in the nucleus:
  // of a model's distribution that leaves few to look at.
  const double light = 0.5 * (1.0 - top_p) * total / static_cast<double>(logits.size());
  const double least = weight.max + weight.temperature * std::log(light);
  std::vector<Scored> entries;
  const auto size = static_cast<int64_t>(logits.size());
  const auto next = [&](int64_t begin) {
    return NextAtLeast(logits, begin, static_cast<float>(least));
  };
  for (int64_t i = next(0); i < size; i = next(i + 1)) {
    entries.push_back({logits[i], static_cast<int32_t>(i)});
  }
  return EndOfPrefix(std::move(entries), weight, top_p * total);
}

// The filters as one bound: tokens after it in the order are out.
Scored LastKept(absl::Span<const float> logits, const SamplingParams& params,
                const Softmax& weight) {
  Scored last{std::numeric_limits<float>::lowest(), std::numeric_limits<int32_t>::max()};
  const bool use_top_p = params.top_p < 1.0f;
  const float top_p = std::max(0.0f, params.top_p);
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < logits.size()) {
    std::vector<Scored> entries = TopK(logits, params.top_k);
    last = entries.back();
    if (use_top_p) {
      double total = 0;
      for (const Scored& e : entries) total += weight(e.logit);
      last = EndOfPrefix(std::move(entries), weight, top_p * total);
    }
  } else if (use_top_p) {
    last = EndOfNucleus(logits, weight, top_p);
  }
  if (params.min_p > 0) {
    // weight >= min_p, in logits: the best token's weight is 1 and always passes.
    const double least = weight.max + weight.temperature * std::log(std::min(1.0f, params.min_p));
    last = std::min(last, {static_cast<float>(least), std::numeric_limits<int32_t>::max()});
  }
  return last;
}

// Takes the tokens after `last` out of the row.
void DropAfter(const Scored& last, std::vector<float>& logits) {
  for (size_t i = 0; i < logits.size(); ++i) {
    if (last < Scored{logits[i], static_cast<int32_t>(i)}) logits[i] = kNever;
  }
}

// Inverts the cumulative distribution, in id order. Sums of blocks find the block.
int32_t Pick(absl::Span<const float> logits, const Softmax& weight, double uniform) {
  constexpr size_t kBlock = 512;
  std::vector<double> sums;
  double total = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    sums.push_back(SumOfExp(logits.subspan(begin, kBlock), weight.max, weight.temperature));
    total += sums.back();
  }
  size_t end_block = sums.size() - 1;
  while (sums[end_block] == 0) --end_block;  // the best token's block has weight
  double left = uniform * total;
  size_t block = 0;
  while (block < end_block && left >= sums[block]) left -= sums[block++];
  // Where rounding leaves more than the block holds, its last token with any weight is taken.
  int32_t token = -1;
  for (size_t i = block * kBlock; i < std::min((block + 1) * kBlock, logits.size()); ++i) {
    const double w = logits[i] == kNever ? 0.0 : weight(logits[i]);
    if (w == 0) continue;
    token = static_cast<int32_t>(i);
    if (left < w) break;
    left -= w;
  }
  return token;
}

void AddLogprobs(absl::Span<const float> raw, float max, int32_t count, Sampler::Result& result) {
  const double log_sum = max + std::log(SumOfExp(raw, max, 1.0f));
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
  std::vector<float> adjusted;
  Scored best = raw_best;
  if (params.temperature > 0 || Adjusts(params) || !banned.empty()) {
    adjusted = Adjust(logits, params, counts, banned);
    best = Best(adjusted);
  }
  if (best.id < 0) {
    return absl::InternalError("bias, penalties and banned tokens leave no token to choose");
  }
  Result result;
  result.token = best.id;
  if (params.temperature > 0) {
    const Softmax weight{best.logit,
                         std::min(params.temperature, std::numeric_limits<float>::max())};
    DropAfter(LastKept(adjusted, params, weight), adjusted);
    result.token = Pick(adjusted, weight, UniformDraw(params.seed, params.choice, position));
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
