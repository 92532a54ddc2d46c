// The decoder against PyTorch's logits, and its equalities: chunked = whole, shuffled blocks =
// contiguous, batched = alone, GGUF = Hugging Face folder. Bit for bit on the reference; on the CPU
// within a bound from dtype and norms.
#include "engine/decoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/support/run_model.h"

namespace skipserve::testing {
namespace {

const std::string kTiny = std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/tiny/";

struct Case {
  std::vector<int32_t> ids;
  std::vector<float> logits;
};

std::vector<Case> GoldenCases(const std::string& folder) {
  std::ifstream file(folder + "logits.json");
  const nlohmann::json json = nlohmann::json::parse(file);
  std::vector<Case> cases;
  for (const auto& c : json["cases"]) {
    cases.push_back({c["ids"].get<std::vector<int32_t>>(), c["logits"].get<std::vector<float>>()});
  }
  return cases;
}

std::unique_ptr<ModelRunner> Open(const std::string& path, RunOptions options = {},
                                  bool cpu = false) {
  return ModelRunner::Open(path, cpu ? MakeCpuOps(2) : MakeReferenceOps(), options);
}

// A machine that multiplies bf16 natively rounds the activations too: a layer's two inputs,
// queries, softmax weights, attention's output and the FFN's activations; K and V may be rounded
// the other way: by 2^-8, or in 8 bits by a whole code, 2^-7 of the largest, but then K and V of
// few tokens are. With the last input these are independent errors of the unit roundoff 2^-8, so
// they add as squares; the worst of a few hundred logits lies within four standard deviations.
double NativeBf16Bound(const ModelConfig& c) { return 4 * std::sqrt(8.0 * c.layers + 1) / 256; }

// A model's folder, its file in it, and whether the CPU backend runs it.
using GoldenParam = std::tuple<std::string, std::string, bool>;
class DecoderGolden : public ::testing::TestWithParam<GoldenParam> {};

TEST_P(DecoderGolden, LogitsOfPyTorch) {
  const auto& [folder, file, cpu] = GetParam();
  const auto runner = Open(kTiny + folder + file, {}, cpu);
  for (const Case& c : GoldenCases(kTiny + folder)) {
    const RunResult run = runner->Run(c.ids, nullptr, {});
    EXPECT_LT(RelativeError(run.logits[0], c.logits), Float32Bound(runner->file().config()))
        << c.ids.size() << " tokens";
  }
}

const std::string kFolders[] = {"", "llama3/", "qwen2/", "linear/"};

std::string GoldenName(const ::testing::TestParamInfo<GoldenParam>& info) {
  const auto& [folder, file, cpu] = info.param;
  std::string name = folder + (cpu ? "Cpu" : "Reference") + file;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, DecoderGolden,
                         ::testing::Combine(::testing::ValuesIn(kFolders),
                                            ::testing::Values("tiny.gguf", "hf"),
                                            ::testing::Bool()),
                         GoldenName);

TEST(Decoder, GgufAndFolderGiveTheSameLogits) {
  for (const std::string& folder : kFolders) {
    const auto gguf = Open(kTiny + folder + "tiny.gguf"), hf = Open(kTiny + folder + "hf");
    const std::vector<int32_t> prompt = SomePrompt(70);
    const double difference = RelativeError(gguf->Run(prompt, nullptr, {}).logits[0],
                                            hf->Run(prompt, nullptr, {}).logits[0]);
    // llama3: the GGUF stores rounded frequency divisors, the folder a formula.
    if (folder == "llama3/") {
      EXPECT_LT(difference, 1e-4);
    } else {
      EXPECT_EQ(difference, 0);
    }
  }
}

TEST(Decoder, ChunksEqualTheWhole) {
  const std::vector<int32_t> prompt = SomePrompt(150), next = SomePrompt(5, 9);
  const RunResult whole = Open(kTiny + "tiny.gguf")->Run(prompt, nullptr, next);
  for (int64_t chunk : {1, 7, 32, 149}) {
    RunOptions options;
    options.chunk_tokens = chunk;
    EXPECT_EQ(Open(kTiny + "tiny.gguf", options)->Run(prompt, nullptr, next).logits, whole.logits)
        << chunk;
  }
}

TEST(Decoder, DecodingEqualsPrefilling) {
  const std::vector<int32_t> prompt = SomePrompt(60);
  const auto runner = Open(kTiny + "tiny.gguf");
  const std::vector<int32_t> head(prompt.begin(), prompt.begin() + 50),
      tail(prompt.begin() + 50, prompt.end());
  EXPECT_EQ(runner->Run(head, nullptr, tail).logits.back(),
            runner->Run(prompt, nullptr, {}).logits[0]);
}

// Output and down projections in 4 bits, the others in 8.
TEST(Decoder, FourBitsOnCpuFollowTheReference) {
  const std::vector<int32_t> prompt = SomePrompt(333), next = SomePrompt(4, 2);
  RunOptions options;
  options.dtype = DType::kBF16;
  options.weights = WeightType::kInt4;
  const RunResult expected = Open(kTiny + "tiny.q4.gguf", options)->Run(prompt, nullptr, next);
  const auto runner = Open(kTiny + "tiny.q4.gguf", options, true);
  const RunResult actual = runner->Run(prompt, nullptr, next);
  const double bound = NativeBf16Bound(runner->file().config());
  for (size_t i = 0; i < expected.logits.size(); ++i) {
    EXPECT_LT(RelativeError(actual.logits[i], expected.logits[i]), bound);
  }
}

TEST(Decoder, FourBitsAreOfFilesThatHaveThem) {
  const auto file = *ModelFile::Open(kTiny + "tiny.gguf");
  const auto ops = MakeReferenceOps();
  const absl::Status status = LoadDecoderWeights(*file, WeightType::kInt4, 64, *ops).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("take int8"), std::string::npos) << status;
}

TEST(Decoder, ShuffledBlocksEqualContiguous) {
  const std::vector<int32_t> prompt = SomePrompt(100), next = SomePrompt(40, 3);
  for (bool cpu : {false, true}) {
    RunOptions shuffled;
    shuffled.shuffle_blocks = true;
    EXPECT_EQ(Open(kTiny + "tiny.gguf", shuffled, cpu)->Run(prompt, nullptr, next).logits,
              Open(kTiny + "tiny.gguf", {}, cpu)->Run(prompt, nullptr, next).logits);
  }
}

TEST(Decoder, BatchedDecodeEqualsAlone) {
  for (bool cpu : {false, true}) {
    const auto runner = Open(kTiny + "tiny.gguf", {}, cpu);
    std::vector<std::vector<int32_t>> prompts, next;
    for (int i = 0; i < 9; ++i) {
      prompts.push_back(SomePrompt(1 + 17 * i, i + 1));
      next.push_back(SomePrompt(6, 100 + i));
    }
    const auto batched = runner->RunBatched(prompts, next);
    for (size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_EQ(batched[i], runner->Run(prompts[i], nullptr, next[i]).logits) << "sequence " << i;
    }
  }
}

TEST(Decoder, CpuFollowsTheReference) {
  const std::vector<int32_t> prompt = SomePrompt(333), next = SomePrompt(4, 2);
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kInt8}) {
    RunOptions options;
    options.dtype = dtype;
    const auto runner = Open(kTiny + "tiny.gguf", options, true);
    const RunResult expected = Open(kTiny + "tiny.gguf", options)->Run(prompt, nullptr, next);
    const RunResult actual = runner->Run(prompt, nullptr, next);
    const ModelConfig& c = runner->file().config();
    const double bound = dtype == DType::kF32 ? Float32Bound(c) : NativeBf16Bound(c);
    for (size_t i = 0; i < expected.logits.size(); ++i) {
      EXPECT_LT(RelativeError(actual.logits[i], expected.logits[i]), bound);
    }
  }
}

}  // namespace
}  // namespace skipserve::testing
