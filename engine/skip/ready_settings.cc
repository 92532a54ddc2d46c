#include "engine/skip/ready_settings.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"

namespace skipserve {
namespace {

enum class Model { kOther, kLlama31, kQwen25, kPangu1B, kSmolLm2 };

struct Fingerprint {
  Model model;
  absl::string_view architecture;  // empty: any, where a converter may have renamed it
  int32_t layers, width, ffn_width, heads, kv_heads;
  int64_t min_positions;                   // tells successors of one shape apart
  std::array<absl::string_view, 3> words;  // all in the name, if the file gives a name
};

// SmolLM2-135M shares its shape with SmolLM-135M, whose context is 2,048. Llama 3 shares Llama
// 3.1's, with a context of 8,192.
constexpr Fingerprint kModels[] = {
    {Model::kLlama31, "llama", 32, 4096, 14336, 32, 8, 131072, {"llama31", "8b", "instruct"}},
    {Model::kQwen25, "qwen2", 28, 3584, 18944, 28, 4, 32768, {"qwen25", "7b", "instruct"}},
    {Model::kPangu1B, "", 26, 1536, 6144, 12, 6, 32768, {"pangu", "embedded", "1b"}},
    {Model::kSmolLm2, "llama", 30, 576, 1536, 9, 3, 8192, {"smollm2", "135m", ""}},
};

// "Meta-Llama-3.1-8B" -> "metallama318b": files spell one name in many ways.
std::string Letters(absl::string_view name) {
  std::string out;
  for (const char c : name) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c))) {
      out.push_back(absl::ascii_tolower(static_cast<unsigned char>(c)));
    }
  }
  return out;
}

Model Recognise(const ModelConfig& c) {
  const std::string name = Letters(c.name);
  for (const Fingerprint& m : kModels) {
    const bool shape = c.layers == m.layers && c.width == m.width && c.ffn_width == m.ffn_width &&
                       c.heads == m.heads && c.kv_heads == m.kv_heads &&
                       c.max_positions >= m.min_positions;
    const bool words = std::all_of(m.words.begin(), m.words.end(), [&](absl::string_view word) {
      return name.find(std::string(word)) != std::string::npos;
    });
    if (shape && (m.architecture.empty() || c.architecture == m.architecture) &&
        (words || (name.empty() && !m.architecture.empty()))) {
      return m.model;
    }
  }
  return Model::kOther;
}

// A level and what it was measured to cost, a line for each prompt length in the order of
// LengthFigures: {prompt_tokens, cases, flop_bound, kl, agreement, facts_found, facts_asked}.
// They hold for this policy and no other.
SkipLevel Level(const char* name, SkipPolicy policy, std::vector<LengthFigures> lengths = {},
                std::vector<std::string> weak_tasks = {}, const char* measured_on = "") {
  return {name, std::move(policy), {std::move(lengths), std::move(weak_tasks), measured_on}};
}

// The paper's settings: keeps are budgets less the cut. The window, its reductions and the pooling
// are the paper's too (the last query alone, mean over heads, no pooling).
SkipSettings PaperSettings(int32_t start, std::vector<int32_t> stage_ends,
                           std::initializer_list<int32_t> budgets_k, int32_t cut_k) {
  SkipPolicy p;
  p.start = start;
  p.stage_ends = std::move(stage_ends);
  for (const int32_t k : budgets_k) {
    p.budgets.push_back(1024.0 * k);
    p.keeps.push_back(1024.0 * (k - cut_k));
  }
  p.sink = 4;
  p.recent = 16;
  p.window = 1;
  p.head_reduce = Reduce::kMean;
  p.pool = 1;
  p.ffn_score = FfnScore::kProduct;
  return {.default_level = "paper", .min_prompt = 4096, .levels = {Level("paper", p)}};
}

// What our measurements favour: a window of queries, the maximum over window and heads, pooling
// wide enough that a whole phrase stays together.
SkipPolicy Measured(int32_t start, int32_t layers, double first, double last, int32_t window) {
  SkipPolicy p = LayeredPolicy(start, layers, first, last);
  p.sink = 4;
  p.recent = 16;
  p.window = window;
  p.window_reduce = Reduce::kMax;
  p.head_reduce = Reduce::kMax;
  p.pool = 15;
  p.ffn_score = FfnScore::kProduct;
  return p;
}

// One head of layer 7 finds what a question asks for: there a planted fact is always among the best
// hundredth of the prompt, while layers 8 to 13 rank it behind a fifth of it. So 7 chooses first,
// and from 14 on the layers that know as much choose again. FFN rows by attention: in a layer that
// cuts, a row that is not kept would be computed for nothing.
SkipSettings SmolLm2Settings(int32_t layers) {
  const auto level = [layers](double first, double last, int64_t recent) {
    SkipPolicy p = Measured(7, layers, first, last, 32);
    p.recent = recent;
    p.ffn_score = FfnScore::kAttention;
    p.probe_layers = {7, 14, 15, 17, 18, 20, 21, 22, 23};
    p.memory = 1;  // of 52 facts 51, 52 and 51 by level, where 48, 51 and 49 are found without
    return p;
  };
  // Facts held out from the search; KL and agreement along the answers that hold the fact.
  const char* const on = "SmolLM2-135M-Instruct Q4_1 in bf16, facts planted in licence texts";
  return {
      .default_level = "gentle",
      .min_prompt = 1024,
      .levels = {
          Level("gentle", level(0.8, 0.45, 128),
                {{2048, 100, 1.52, 0.016, 0.971, 43, 47},
                 {4096, 100, 1.58, 0.009, 0.983, 31, 35},
                 {7500, 38, 1.65, 0.099, 0.974, 12, 12}},
                {"needle_keys", "variable_tracking"}, on),
          Level("balanced", level(0.65, 0.17, 96),
                {{2048, 100, 2.12, 0.060, 0.952, 44, 47},
                 {4096, 100, 2.24, 0.029, 0.965, 31, 35},
                 {7500, 38, 2.37, 0.115, 0.969, 10, 12}},
                {"needle_keys", "variable_tracking", "question_first", "two_questions", "summary"},
                on),
          Level("fast", level(0.35, 0.15, 64),
                {{2048, 100, 2.62, 0.141, 0.935, 43, 47},
                 {4096, 100, 2.77, 0.125, 0.956, 30, 35},
                 {7500, 38, 2.93, 0.140, 0.948, 10, 12}},
                {"needle_keys", "variable_tracking", "question_first", "two_questions", "summary"},
                on)}};
}

}  // namespace

SkipPolicy LayeredPolicy(int32_t start, int32_t layers, double first, double last) {
  SkipPolicy p;
  p.start = start;
  const int32_t steps = layers - start - 1;
  for (int32_t i = 0; i <= steps; ++i) {
    p.stage_ends.push_back(start + i);
    p.budgets.push_back(steps == 0 ? first : first * std::pow(last / first, double(i) / steps));
  }
  p.keeps = p.budgets;
  return p;
}

SkipSettings CautiousSettings(int32_t layers) {
  SkipSettings s{.default_level = "off", .min_prompt = 2048, .levels = {}};
  if (layers < 4) return s;
  const auto at = [layers](double part) {
    return static_cast<int32_t>(std::lround(part * layers));
  };
  s.levels = {Level("cautious", Measured(at(0.6), layers, 0.5, 0.1, 32)),
              Level("moderate", Measured(at(0.5), layers, 0.45, 0.1, 32))};
  return s;
}

SkipSettings ReadySettings(const ModelConfig& config) {
  switch (Recognise(config)) {
    case Model::kLlama31:
      return PaperSettings(10, {13, 18, 23, 28}, {9, 7, 4, 2}, 1);
    case Model::kQwen25:
      return PaperSettings(9, {12, 16, 20, 24}, {13, 10, 7, 4}, 2);
    case Model::kPangu1B:
      return PaperSettings(11, {13, 16, 19, 22}, {13, 10, 7, 4}, 2);
    case Model::kSmolLm2:
      return SmolLm2Settings(config.layers);
    case Model::kOther:
      break;
  }
  return CautiousSettings(config.layers);
}

ProxyShape ReadyProxyShape(const ModelConfig& config) {
  switch (Recognise(config)) {
    case Model::kLlama31:
      return {512, 192};
    case Model::kQwen25:
      return {1024, 256};
    case Model::kPangu1B:
      return {1024, 128};
    case Model::kSmolLm2:
    case Model::kOther:
      break;
  }
  const int32_t d_low = std::max(1, config.ffn_width / 6);
  return {d_low, std::min({std::max(1, config.width / 6), d_low, std::max(1, config.width)})};
}

}  // namespace skipserve
