#include "engine/quality/summary.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

namespace skipserve {
namespace {

constexpr int kResamples = 1000;
constexpr double kTail = 0.025;

double Ratio(double part, double weight) { return weight == 0 ? 0 : part / weight; }

Summary SummarizeReading(absl::Span<const Case* const> cases, size_t reading, uint64_t seed) {
  Summary s;
  s.family = cases[0]->family;
  s.tokens = cases[0]->tokens;
  s.reading = reading;
  s.cases = static_cast<int64_t>(cases.size());
  double flops = 0, dense_flops = 0;
  std::vector<double> ones(cases.size(), 1.0), tokens, kl, agreed, asks, score, loss;
  for (const Case* c : cases) {
    const Outcome& o = c->outcomes[reading];
    const Outcome& dense = c->outcomes[0];
    flops += o.flops;
    dense_flops += dense.flops;
    s.prefill_seconds += o.prefill_seconds / double(cases.size());
    tokens.push_back(double(o.answer_tokens));
    kl.push_back(o.kl);
    agreed.push_back(double(o.agreed));
    asks.push_back(c->has_answers);
    score.push_back(c->has_answers ? o.score : 0);
    loss.push_back(o.loss);
    s.has_answers |= c->has_answers;
    s.asked += c->has_answers && dense.score == 1;
    s.found += c->has_answers && dense.score == 1 && o.score == 1;
  }
  s.flop_bound = Ratio(dense_flops, flops);
  s.kl = RatioEstimate(kl, tokens, seed);
  s.agreement = RatioEstimate(agreed, tokens, seed);
  s.score = RatioEstimate(score, asks, seed);
  s.loss = RatioEstimate(loss, ones, seed);
  return s;
}

}  // namespace

Estimate RatioEstimate(absl::Span<const double> parts, absl::Span<const double> weights,
                       uint64_t seed) {
  const size_t n = parts.size();
  Estimate e;
  e.mean = Ratio(std::accumulate(parts.begin(), parts.end(), 0.0),
                 std::accumulate(weights.begin(), weights.end(), 0.0));
  std::mt19937_64 random(seed);
  std::vector<double> means;
  for (int i = 0; i < kResamples && n > 0; ++i) {
    double part = 0, weight = 0;
    for (size_t k = 0; k < n; ++k) {
      const size_t drawn = random() % n;  // n is far below 2^64: the bias is far below the noise
      part += parts[drawn];
      weight += weights[drawn];
    }
    means.push_back(Ratio(part, weight));
  }
  if (means.empty()) return e;
  std::sort(means.begin(), means.end());
  const auto tail = static_cast<size_t>(kTail * kResamples);
  e.low = means[tail];
  e.high = means[means.size() - 1 - tail];
  return e;
}

std::vector<Summary> Summarize(absl::Span<const Case> cases, uint64_t seed) {
  std::vector<std::vector<const Case*>> groups;
  for (const Case& c : cases) {
    auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) {
      return g[0]->family == c.family && g[0]->tokens == c.tokens;
    });
    if (group == groups.end()) group = groups.insert(groups.end(), std::vector<const Case*>());
    group->push_back(&c);
  }
  std::vector<Summary> summaries;
  for (const auto& group : groups) {
    for (size_t reading = 0; reading < group[0]->outcomes.size(); ++reading) {
      summaries.push_back(SummarizeReading(group, reading, seed));
    }
  }
  return summaries;
}

}  // namespace skipserve
