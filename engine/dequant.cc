#include "engine/dequant.h"

#include <cassert>
#include <cstring>

#include "engine/dequant_blocks.h"
#include "kernels/bf16.h"
#include "kernels/half.h"

namespace skipserve {
namespace {

constexpr StoredTypeInfo kTypes[] = {
    {StoredType::kF32, "F32", 1, 4},       {StoredType::kF16, "F16", 1, 2},
    {StoredType::kBF16, "BF16", 1, 2},     {StoredType::kQ4_0, "Q4_0", 32, 18},
    {StoredType::kQ4_1, "Q4_1", 32, 20},   {StoredType::kQ5_0, "Q5_0", 32, 22},
    {StoredType::kQ5_1, "Q5_1", 32, 24},   {StoredType::kQ8_0, "Q8_0", 32, 34},
    {StoredType::kQ4_K, "Q4_K", 256, 144}, {StoredType::kQ5_K, "Q5_K", 256, 176},
    {StoredType::kQ6_K, "Q6_K", 256, 210},
};

template <void (*kBlock)(const uint8_t*, float*), int64_t kElements, int64_t kBytes>
void Blocks(const char* data, int64_t count, float* out) {
  const auto* in = reinterpret_cast<const uint8_t*>(data);
  for (int64_t i = 0; i < count / kElements; ++i) kBlock(in + i * kBytes, out + i * kElements);
}

template <void (*kBlock)(const uint8_t*, uint8_t*, float*, float*), int64_t kElements,
          int64_t kBytes>
void UnpackBlocks(const char* data, int64_t count, uint8_t* codes, float* scales, float* minima) {
  const auto* in = reinterpret_cast<const uint8_t*>(data);
  for (int64_t i = 0; i < count; i += kElements, in += kBytes) {
    kBlock(in, codes + i, scales + i / 32, minima + i / 32);
  }
}

// The plain 16-bit types, by way of a small aligned copy, which lets the loop become vector code.
template <float (*kToFloat)(uint16_t)>
void Halves(const char* __restrict data, int64_t count, float* __restrict out) {
  constexpr int64_t kRun = 64;
  uint16_t run[kRun];
  for (; count >= kRun; count -= kRun, data += 2 * kRun, out += kRun) {
    std::memcpy(run, data, sizeof(run));
    for (int64_t i = 0; i < kRun; ++i) out[i] = kToFloat(run[i]);
  }
  std::memcpy(run, data, 2 * static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) out[i] = kToFloat(run[i]);
}

}  // namespace

const StoredTypeInfo* FindStoredType(uint32_t ggml_type) {
  for (const StoredTypeInfo& t : kTypes) {
    if (static_cast<uint32_t>(t.type) == ggml_type) return &t;
  }
  return nullptr;
}

std::string GgmlTypeName(uint32_t ggml_type) {
  static constexpr const char* kNames[] = {
      "F32",   "F16",        "Q4_0",       "Q4_1",       "Q4_2",     "Q4_3",     "Q5_0",
      "Q5_1",  "Q8_0",       "Q8_1",       "Q2_K",       "Q3_K",     "Q4_K",     "Q5_K",
      "Q6_K",  "Q8_K",       "IQ2_XXS",    "IQ2_XS",     "IQ3_XXS",  "IQ1_S",    "IQ4_NL",
      "IQ3_S", "IQ2_S",      "IQ4_XS",     "I8",         "I16",      "I32",      "I64",
      "F64",   "IQ1_M",      "BF16",       "Q4_0_4_4",   "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",
      "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4",
  };
  return ggml_type < sizeof(kNames) / sizeof(kNames[0]) ? kNames[ggml_type] : "unknown";
}

void Dequantize(StoredType type, const char* data, int64_t count, float* out) {
  switch (type) {
    case StoredType::kF32:
      std::memcpy(out, data, static_cast<size_t>(count) * sizeof(float));
      return;
    case StoredType::kF16:
      return Halves<HalfToF32>(data, count, out);
    case StoredType::kBF16:
      return Halves<Bf16ToF32>(data, count, out);
    case StoredType::kQ4_0:
      return Blocks<Q4_0Block, 32, 18>(data, count, out);
    case StoredType::kQ4_1:
      return Blocks<Q4_1Block, 32, 20>(data, count, out);
    case StoredType::kQ5_0:
      return Blocks<Q5_0Block, 32, 22>(data, count, out);
    case StoredType::kQ5_1:
      return Blocks<Q5_1Block, 32, 24>(data, count, out);
    case StoredType::kQ8_0:
      return Blocks<Q8_0Block, 32, 34>(data, count, out);
    case StoredType::kQ4_K:
      return Blocks<Q4_KBlock, 256, 144>(data, count, out);
    case StoredType::kQ5_K:
      return Blocks<Q5_KBlock, 256, 176>(data, count, out);
    case StoredType::kQ6_K:
      return Blocks<Q6_KBlock, 256, 210>(data, count, out);
  }
}

bool IsFourBits(StoredType type) {
  return type == StoredType::kQ4_0 || type == StoredType::kQ4_1 || type == StoredType::kQ4_K;
}

void UnpackFourBits(StoredType type, const char* data, int64_t count, uint8_t* codes, float* scales,
                    float* minima) {
  assert(IsFourBits(type));
  if (type == StoredType::kQ4_0)
    return UnpackBlocks<Q4_0Codes, 32, 18>(data, count, codes, scales, minima);
  if (type == StoredType::kQ4_1)
    return UnpackBlocks<Q4_1Codes, 32, 20>(data, count, codes, scales, minima);
  return UnpackBlocks<Q4_KCodes, 256, 144>(data, count, codes, scales, minima);
}

}  // namespace skipserve
