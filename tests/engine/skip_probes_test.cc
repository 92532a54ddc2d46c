// Which scores choose: probing layers and what is remembered of earlier ones, against a run whose
// rows are chosen on the host by the policy's own words.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "engine/skip/pap.h"
#include "engine/skip/ready_settings.h"
#include "nlohmann/json.hpp"
#include "tests/support/run_model.h"

namespace skipserve::testing {
namespace {

const std::string kTiny = std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/tiny/tiny.gguf";
constexpr int64_t kPrompt = 200;

std::unique_ptr<ModelRunner> Open(bool cpu, RunOptions options = {}) {
  return ModelRunner::Open(kTiny, cpu ? MakeCpuOps(2) : MakeReferenceOps(), options);
}

SkipPolicy Probing(SkipPolicy policy, std::vector<int32_t> probe_layers, double memory,
                   FfnScore score = FfnScore::kAttention) {
  policy.window = 4;
  policy.pool = 3;
  policy.recent = 4;
  policy.probe_layers = std::move(probe_layers);
  policy.memory = memory;
  policy.ffn_score = score;
  return policy;
}

// Candidates go in every layer.
SkipPolicy Layered() { return LayeredPolicy(1, 6, 0.6, 0.1); }

// Layers 1 to 3 choose among all tokens, the last two among half of them.
SkipPolicy Staged() {
  SkipPolicy policy;
  policy.start = 1;
  policy.stage_ends = {3, 5};
  policy.budgets = {0.3, 0.1};
  policy.keeps = {0.5, 0.1};
  return policy;
}

// Layer 1 skips nothing.
SkipPolicy Late() {
  SkipPolicy policy = Staged();
  policy.stage_ends = {1, 3, 5};
  policy.budgets = {1000, 0.4, 0.2};
  policy.keeps = {1000, 0.6, 0.2};
  return policy;
}

void ExpectSameRows(const RunResult& actual, const RunResult& expected) {
  ASSERT_EQ(actual.rows.size(), expected.rows.size());
  for (size_t i = 0; i < expected.rows.size(); ++i) {
    EXPECT_EQ(actual.rows[i].attention, expected.rows[i].attention) << "layer " << i;
    EXPECT_EQ(actual.rows[i].ffn, expected.rows[i].ffn) << "layer " << i;
  }
}

// A skipping prefill step by step on the decoder; only for policies whose FFN score is attention's.
class ByHand {
 public:
  explicit ByHand(ModelRunner& runner)
      : decoder_(runner.decoder()),
        ops_(runner.ops()),
        probe_(*AttentionProbe::Create(decoder_)),
        keys_(*ops_.Allocate(kPrompt * decoder_.kv_cols() * sizeof(float))),
        h_(*ops_.Allocate(kPrompt * decoder_.config().width * sizeof(float))) {
    pool_.layout = {DType::kF32, 256, decoder_.config().kv_heads, decoder_.config().head_dim};
    kv_ = *ops_.Allocate(pool_.layout.block_bytes());
    pool_.data = kv_.data();
  }

  RunResult Run(const std::vector<int32_t>& prompt, const SkipPolicy& policy) {
    const ModelConfig& c = decoder_.config();
    const Buffer hidden = *ops_.Allocate(kPrompt * c.width * sizeof(float));
    const TensorView x(hidden.f32(), kPrompt, c.width);
    const Buffer ids = Upload(prompt);
    decoder_.Embed({ids.i32(), kPrompt}, x);
    std::vector<int32_t> candidates(kPrompt);
    std::iota(candidates.begin(), candidates.end(), 0);
    score_.clear();
    RunResult result;
    result.rows.resize(c.layers);
    for (int32_t layer = 0; layer < c.layers; ++layer) {
      if (layer < policy.start) {
        Compute(layer, x, candidates);
        result.rows[layer] = {candidates, candidates};
        continue;
      }
      const size_t stage =
          std::lower_bound(policy.stage_ends.begin(), policy.stage_ends.end(), layer) -
          policy.stage_ends.begin();
      const bool last = stage == policy.stage_ends.size();
      const int64_t count = std::min<int64_t>(
          candidates.size(),
          ResolveSize(last ? policy.keeps.back() : policy.budgets[stage], kPrompt));
      const bool skips = count < static_cast<int64_t>(candidates.size());
      const auto& probing = policy.probe_layers;
      if (probing.empty() ? skips : std::count(probing.begin(), probing.end(), layer) > 0) {
        Score(layer, x, candidates, policy);
      }
      const std::vector<int32_t> active = skips ? Best(candidates, count, policy) : candidates;
      Compute(layer, x, active);
      result.rows[layer] = {active, active};
      if (!last && policy.stage_ends[stage] == layer && skips) {
        candidates = Best(candidates, ResolveSize(policy.keeps[stage], kPrompt), policy);
      }
    }
    const Buffer logits = *ops_.Allocate(c.vocab_size * sizeof(float));
    decoder_.Logits(x.Rows(kPrompt - 1, 1), {}, TensorView(logits.f32(), 1, c.vocab_size));
    result.logits.emplace_back(c.vocab_size);
    ops_.Download(logits.data(), result.logits[0].data(), c.vocab_size * sizeof(float));
    return result;
  }

  // By position, as the last layer that probed left them; 0 where no candidate was.
  const std::vector<float>& scores() const { return score_; }

 private:
  Buffer Upload(const std::vector<int32_t>& values) {
    Buffer buffer = *ops_.Allocate(values.size() * sizeof(int32_t));
    ops_.Upload(values.data(), buffer.data(), values.size() * sizeof(int32_t));
    return buffer;
  }

  void Compute(int32_t layer, TensorView x, const std::vector<int32_t>& positions) {
    const Buffer rows = Upload(positions), blocks = Upload({0});
    const int64_t n = static_cast<int64_t>(positions.size());
    const KvSegment segment{0, n, n, {blocks.i32(), 1}};
    const IndexView view{rows.i32(), n};
    decoder_.Attend(layer, x, view, {view, {&segment, 1}, &pool_}, nullptr);
    decoder_.FeedForward(layer, x, view);
  }

  void Score(int32_t layer, TensorView x, const std::vector<int32_t>& candidates,
             const SkipPolicy& policy) {
    const int64_t n = static_cast<int64_t>(candidates.size());
    const Buffer rows = Upload(candidates), out = *ops_.Allocate(n * sizeof(float));
    const IndexView view{rows.i32(), n};
    const TensorView h(h_.f32(), n, decoder_.config().width),
        keys(keys_.f32(), n, decoder_.kv_cols());
    decoder_.AttentionInput(layer, x, view, h);
    decoder_.ProjectK(layer, h, view, keys);
    probe_->Score(layer, x, view, keys, policy, out.f32());
    std::vector<float> now(n);
    ops_.Download(out.data(), now.data(), n * sizeof(float));
    std::vector<float> before(kPrompt, 0.0f);  // scores are not negative: 0 is no memory
    before.swap(score_);
    before.resize(kPrompt, 0.0f);
    const auto memory = static_cast<float>(policy.memory);
    for (int64_t i = 0; i < n; ++i) {
      const int32_t at = candidates[i];
      score_[at] = std::max(now[i], before[at] * memory);
    }
  }

  std::vector<int32_t> Best(std::vector<int32_t> from, int64_t count, const SkipPolicy& policy) {
    const auto always = [&](int32_t p) {
      return p < policy.sink || p >= kPrompt - std::max<int64_t>(1, policy.recent);
    };
    std::stable_sort(from.begin(), from.end(), [&](int32_t a, int32_t b) {
      if (always(a) != always(b)) return always(a);
      return score_[a] > score_[b];
    });
    from.resize(count);
    std::sort(from.begin(), from.end());
    return from;
  }

  Decoder& decoder_;
  Ops& ops_;
  std::unique_ptr<AttentionProbe> probe_;
  Buffer keys_, h_, kv_;
  KvPool pool_;
  std::vector<float> score_;
};

TEST(SkipProbesTest, EveryLayerProbingEqualsNoProbeLayers) {
  const std::vector<int32_t> prompt = SomePrompt(kPrompt), next = SomePrompt(3, 4);
  for (const bool cpu : {false, true}) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      RunOptions options;
      options.dtype = dtype;
      const auto runner = Open(cpu, options);
      for (const SkipPolicy& shape : {Layered(), Staged(), Late()}) {
        for (const FfnScore score : {FfnScore::kAttention, FfnScore::kExact}) {
          const SkipPolicy none = Probing(shape, {}, 0, score),
                           all = Probing(shape, {1, 2, 3, 4, 5}, 0, score);
          const RunResult expected = runner->Run(prompt, &none, next),
                          actual = runner->Run(prompt, &all, next);
          EXPECT_EQ(actual.logits, expected.logits) << "cpu " << cpu;
          ExpectSameRows(actual, expected);
        }
      }
    }
  }
}

TEST(SkipProbesTest, RowsAreThoseThatTheLastProbeAndItsMemoryChoose) {
  for (const bool cpu : {false, true}) {
    const auto runner = Open(cpu);
    ByHand by_hand(*runner);
    for (const SkipPolicy& shape : {Layered(), Staged(), Late()}) {
      for (const auto& layers :
           {std::vector<int32_t>{}, {1}, {1, 3}, {1, 4}, {1, 2, 5}, {1, 2, 3, 4, 5}}) {
        for (const double memory : {0.0, 0.6, 1.0}) {
          const SkipPolicy policy = Probing(shape, layers, memory);
          SCOPED_TRACE(PolicyToJson(policy).dump() + (cpu ? " cpu" : " reference"));
          const std::vector<int32_t> prompt = SomePrompt(kPrompt, 3);
          const RunResult expected = by_hand.Run(prompt, policy),
                          actual = runner->Run(prompt, &policy, {});
          ExpectSameRows(actual, expected);
          EXPECT_EQ(actual.logits, expected.logits);
        }
      }
    }
  }
}

bool Includes(const std::vector<int32_t>& all, const std::vector<int32_t>& some) {
  return std::includes(all.begin(), all.end(), some.begin(), some.end());
}

// With one set of scores, fewer rows are some of the more.
TEST(SkipProbesTest, BetweenTwoProbesRowsOnlyGo) {
  const std::vector<int32_t> prompt = SomePrompt(kPrompt, 5);
  for (const bool cpu : {false, true}) {
    const auto runner = Open(cpu);
    SkipPolicy policy = Probing(Staged(), {1, 4}, 0);
    const std::vector<LayerRows> rows = runner->Run(prompt, &policy, {}).rows;
    EXPECT_EQ(rows[2].attention, rows[1].attention);
    EXPECT_EQ(rows[3].attention, rows[1].attention);
    EXPECT_FALSE(Includes(rows[1].attention, rows[4].attention)) << "4 has its own opinion";
    EXPECT_TRUE(Includes(rows[4].attention, rows[5].attention));
    policy.probe_layers.clear();
    EXPECT_NE(runner->Run(prompt, &policy, {}).rows[2].attention, rows[1].attention);
    for (const FfnScore score : {FfnScore::kAttention, FfnScore::kExact}) {
      policy = Probing(Layered(), {1, 3}, 0, score);
      const std::vector<LayerRows> layered = runner->Run(prompt, &policy, {}).rows;
      for (size_t i = 2; i < 6; ++i) {
        EXPECT_TRUE(Includes(layered[i - 1].attention, layered[i].attention)) << "layer " << i;
        EXPECT_LT(layered[i].attention.size(), layered[i - 1].attention.size());
      }
    }
  }
}

TEST(SkipProbesTest, SlicesAndChunksChangeNothing) {
  const std::vector<int32_t> prompt = SomePrompt(kPrompt), next = SomePrompt(3, 4);
  for (const SkipPolicy& shape : {Layered(), Staged(), Late()}) {
    for (const bool cpu : {false, true}) {
      const SkipPolicy policy = Probing(shape, {1, 4}, 0.8, FfnScore::kExact);
      const RunResult whole = Open(cpu)->Run(prompt, &policy, next);
      for (const int64_t slice : {5, 70}) {
        for (const int64_t rows : {16, 64}) {
          RunOptions options;
          options.slice_rows = slice;
          options.max_rows = rows;
          options.shuffle_blocks = true;
          const RunResult run = Open(cpu, options)->Run(prompt, &policy, next);
          EXPECT_EQ(run.logits, whole.logits) << slice << " " << rows << " " << cpu;
          ExpectSameRows(run, whole);
        }
      }
    }
  }
}

TEST(SkipProbesTest, WhereRecentDoesNotFitTheEndOfThePromptStays) {
  const std::vector<int32_t> prompt = SomePrompt(kPrompt, 6);
  SkipPolicy policy = Probing(Layered(), {1}, 0);
  policy.recent = 150;  // layer 1 has room for 120 rows, layer 5 for 20
  const std::vector<LayerRows> rows = Open(false)->Run(prompt, &policy, {}).rows;
  for (const size_t layer : {1, 5}) {
    std::vector<int32_t> expected(rows[layer].attention.size());
    std::iota(expected.begin(), expected.end(), kPrompt - static_cast<int32_t>(expected.size()));
    std::iota(expected.begin(), expected.begin() + policy.sink, 0);
    EXPECT_EQ(rows[layer].attention, expected) << "layer " << layer;
  }
}

// The token that the first probe finds best, in prompts where no later layer thinks much of it.
TEST(SkipProbesTest, MemoryKeepsAnEarlyWinner) {
  const auto runner = Open(false);
  ByHand by_hand(*runner);
  SkipPolicy first = Probing(Staged(), {1}, 0);
  const SkipPolicy forgets = Probing(Staged(), {}, 0), remembers = Probing(Staged(), {}, 1);
  int kept = 0;
  for (int seed = 1; seed <= 20; ++seed) {
    const std::vector<int32_t> prompt = SomePrompt(kPrompt, seed);
    by_hand.Run(prompt, first);
    const auto begin = by_hand.scores().begin();
    const auto winner = static_cast<int32_t>(
        std::max_element(begin + first.sink, begin + kPrompt - first.recent) - begin);
    const auto has = [&](const SkipPolicy& policy) {
      const std::vector<int32_t> last = runner->Run(prompt, &policy, {}).rows[5].attention;
      return std::binary_search(last.begin(), last.end(), winner);
    };
    kept += has(remembers) && !has(forgets);
  }
  EXPECT_GT(kept, 0);
}

}  // namespace
}  // namespace skipserve::testing
