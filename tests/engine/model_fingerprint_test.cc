// A model's fingerprint: the same for the same file, another for any change it promises to see.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/gguf_model.h"
#include "engine/model_file_tensor.h"
#include "engine/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/model_test_files.h"

namespace skipserve {
namespace {

std::string FingerprintOf(const std::string& bytes) {
  const auto model = OpenGguf("small.gguf", bytes, nullptr);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? (*model)->fingerprint() : "";
}

TEST(ModelFingerprint, Sha256IsSha256) {
  Sha256 sha;
  sha.Update("a");
  sha.Update("bc");
  EXPECT_EQ(*sha.HexDigest(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(ModelFingerprint, IsTheSameForTheSameFile) {
  const std::string bytes = SmallGguf().Build();
  const std::string fingerprint = FingerprintOf(bytes);
  EXPECT_EQ(fingerprint.size(), 64u);
  EXPECT_EQ(fingerprint, FingerprintOf(std::string(bytes)));
}

TEST(ModelFingerprint, SeesWeightsAndShapeButNotTheName) {
  const std::string bytes = SmallGguf().Build();
  const std::string fingerprint = FingerprintOf(bytes);
  std::string last_weight = bytes;
  last_weight.back() = static_cast<char>(last_weight.back() ^ 1);
  EXPECT_NE(FingerprintOf(last_weight), fingerprint);
  std::string name = bytes;
  name.replace(name.find("small"), 5, "other");
  EXPECT_EQ(FingerprintOf(name), fingerprint);
  GgufBuilder theta = SmallGguf();
  theta.Add("llama.rope.freq_base", 10001.0f);
  EXPECT_NE(FingerprintOf(theta.Build()), fingerprint);
}

TEST(ModelFingerprint, SamplesBothEndsOfALongTensorOnly) {
  const ModelConfig config;
  const auto of = [&](const std::string& data, const std::string& name, StoredType type) {
    StoredTensors tensors;
    const int64_t rows = static_cast<int64_t>(data.size()) / (type == StoredType::kF16 ? 2 : 4);
    tensors.emplace(name, StoredTensor{type, {rows}, data});
    return *Fingerprint(config, tensors);
  };
  const std::string data(1 << 16, 'x');
  const std::string plain = of(data, "t", StoredType::kF32);
  const auto changed = [&](size_t at) {
    std::string other = data;
    other[at] = 'y';
    return of(other, "t", StoredType::kF32) != plain;
  };
  EXPECT_TRUE(changed(0));
  EXPECT_TRUE(changed(4095));
  EXPECT_FALSE(changed(1 << 15));
  EXPECT_TRUE(changed(data.size() - 4096));
  EXPECT_TRUE(changed(data.size() - 1));
  EXPECT_NE(of(data, "u", StoredType::kF32), plain);
  EXPECT_NE(of(data, "t", StoredType::kF16), plain);
}

}  // namespace
}  // namespace skipserve
