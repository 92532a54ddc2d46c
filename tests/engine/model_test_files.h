// What the tests of the model loaders share: files on disk, a small GGUF file made in memory, and a
// reader of everything a model holds. Test code only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/model_file.h"
#include "gtest/gtest.h"

namespace skipserve {

inline std::string ReadWholeFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return std::string(std::istreambuf_iterator<char>(in), {});
}

inline void WriteWholeFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// Writes a GGUF file's parts one after the other, with no check: wrong files are the point.
class GgufBuilder {
 public:
  void Add(const std::string& key, const std::string& text) {
    Pair(key, 8);
    String(&pairs_, text);
  }
  void Add(const std::string& key, uint32_t value) {
    Pair(key, 4);
    Put(&pairs_, value);
  }
  void Add(const std::string& key, float value) {
    Pair(key, 6);
    Put(&pairs_, value);
  }
  void Add(const std::string& key, const std::vector<std::string>& texts) {
    Pair(key, 9);
    Put(&pairs_, uint32_t{8});
    Put(&pairs_, uint64_t{texts.size()});
    for (const std::string& text : texts) String(&pairs_, text);
  }
  void Add(const std::string& key, const std::vector<int32_t>& values) {
    Pair(key, 9);
    Put(&pairs_, uint32_t{5});
    Put(&pairs_, uint64_t{values.size()});
    for (const int32_t value : values) Put(&pairs_, value);
  }
  // `shape` has the innermost dimension first.
  void AddTensor(const std::string& name, const std::vector<uint64_t>& shape, uint32_t type,
                 const std::string& data) {
    data_.resize((data_.size() + 31) / 32 * 32);
    AddTensorAt(name, shape, type, data_.size());
    data_ += data;
  }
  void AddTensorAt(const std::string& name, const std::vector<uint64_t>& shape, uint32_t type,
                   uint64_t offset) {
    String(&tensors_, name);
    Put(&tensors_, static_cast<uint32_t>(shape.size()));
    for (const uint64_t size : shape) Put(&tensors_, size);
    Put(&tensors_, type);
    Put(&tensors_, offset);
    ++tensor_count;
  }
  std::string Build() const {
    std::string out = "GGUF";
    Put(&out, version);
    Put(&out, tensor_count);
    Put(&out, pair_count);
    out += pairs_ + tensors_;
    out.resize((out.size() + 31) / 32 * 32);
    return out + data_;
  }

  uint32_t version = 3;
  uint64_t tensor_count = 0, pair_count = 0;

 private:
  template <typename T>
  static void Put(std::string* out, T value) {
    out->append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  static void String(std::string* out, const std::string& text) {
    Put(out, uint64_t{text.size()});
    *out += text;
  }
  void Pair(const std::string& key, uint32_t type) {
    String(&pairs_, key);
    Put(&pairs_, type);
    ++pair_count;
  }

  std::string pairs_, tensors_, data_;
};

// A whole llama model of one layer and a few kilobytes: width 32, one head, four tokens.
inline GgufBuilder SmallGguf() {
  GgufBuilder b;
  b.Add("general.architecture", "llama");
  b.Add("general.name", "small");
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, uint32_t>>{{"block_count", 1},
                                                     {"context_length", 64},
                                                     {"embedding_length", 32},
                                                     {"feed_forward_length", 32},
                                                     {"attention.head_count", 2},
                                                     {"attention.head_count_kv", 1}}) {
    b.Add("llama." + key, value);
  }
  b.Add("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  b.Add("tokenizer.ggml.model", "gpt2");
  b.Add("tokenizer.ggml.pre", "gpt2");
  b.Add("tokenizer.ggml.tokens", std::vector<std::string>{"<|endoftext|>", "a", "b", "ab"});
  b.Add("tokenizer.ggml.token_type", std::vector<int32_t>{3, 1, 1, 1});
  b.Add("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
  b.Add("tokenizer.ggml.eos_token_id", uint32_t{0});
  std::mt19937 rng(5);
  const auto random = [&](size_t bytes) {
    std::string out(bytes, '\0');
    for (char& c : out) c = static_cast<char>(rng() & 0x37);  // keeps every scale finite
    return out;
  };
  const std::string norm(32 * 4, '\0');
  b.AddTensor("token_embd.weight", {32, 4}, 8, random(4 * 34));
  b.AddTensor("output_norm.weight", {32}, 0, norm);
  b.AddTensor("blk.0.attn_norm.weight", {32}, 0, norm);
  b.AddTensor("blk.0.ffn_norm.weight", {32}, 0, norm);
  b.AddTensor("blk.0.attn_q.weight", {32, 32}, 2, random(32 * 18));
  b.AddTensor("blk.0.attn_k.weight", {32, 16}, 3, random(16 * 20));
  b.AddTensor("blk.0.attn_v.weight", {32, 16}, 6, random(16 * 22));
  b.AddTensor("blk.0.attn_output.weight", {32, 32}, 7, random(32 * 24));
  b.AddTensor("blk.0.ffn_gate.weight", {32, 32}, 2, random(32 * 18));
  b.AddTensor("blk.0.ffn_up.weight", {32, 32}, 2, random(32 * 18));
  b.AddTensor("blk.0.ffn_down.weight", {32, 32}, 2, random(32 * 18));
  return b;
}

// The names of every weight that a model of this shape has, in both formats.
inline std::vector<std::string> WeightNames(const ModelConfig& c) {
  std::vector<std::string> names = {"model.embed_tokens.weight", "model.norm.weight"};
  if (!c.tied_embeddings) names.push_back("lm_head.weight");
  for (int i = 0; i < c.layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    for (const char* part : {"input_layernorm", "post_attention_layernorm", "self_attn.q_proj",
                             "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                             "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}) {
      names.push_back(layer + part + ".weight");
    }
    if (!c.qkv_bias) continue;
    for (const char* part : {"q_proj", "k_proj", "v_proj"}) {
      names.push_back(layer + "self_attn." + part + ".bias");
    }
  }
  return names;
}

inline std::vector<float> ReadRows(const WeightSource& source, int64_t begin, int64_t count) {
  std::vector<float> out(static_cast<size_t>(count * source.in_features));
  source.read(begin, count, out.data());
  return out;
}

inline std::vector<float> ReadTensor(const ModelFile& model, const std::string& name) {
  const auto source = model.Tensor(name);
  EXPECT_TRUE(source.ok()) << source.status();
  return source.ok() ? ReadRows(*source, 0, source->out_features) : std::vector<float>();
}

// Touches every byte that a model would be asked for: the sanitizers judge.
inline void ReadEverything(const ModelFile& model) {
  for (const std::string& name : WeightNames(model.config())) ReadTensor(model, name);
  EXPECT_EQ(model.tokenizer().tokens.size(), model.tokenizer().kinds.size());
  EXPECT_EQ(model.fingerprint().size(), 64u);
}

// `bytes` with one to eight random bytes changed; the same for the same generator.
inline std::string Corrupt(std::string bytes, size_t limit, std::mt19937* rng) {
  const size_t changes = 1 + (*rng)() % 8;
  for (size_t i = 0; i < changes; ++i) {
    bytes[(*rng)() % std::min(limit, bytes.size())] = static_cast<char>((*rng)());
  }
  return bytes;
}

}  // namespace skipserve
