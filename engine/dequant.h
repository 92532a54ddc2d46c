// The ways a file stores weights, and their reading back as float32. The block formats are ggml's;
// the safetensors loader uses the three plain ones. Pure functions, safe from any thread.
#pragma once

#include <cstdint>
#include <string>

namespace skipserve {

// The values are ggml's type numbers, as a GGUF file holds them.
enum class StoredType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};

struct StoredTypeInfo {
  StoredType type;
  const char* name;
  int64_t block_elements;
  int64_t block_bytes;
};

// Null for a type that is not supported.
const StoredTypeInfo* FindStoredType(uint32_t ggml_type);

// ggml's name of any of its types, for messages; "unknown" where ggml has none.
std::string GgmlTypeName(uint32_t ggml_type);

// Reads `count` elements (a multiple of the type's block_elements) to `out`. `data` needs no
// alignment. The sums are rounded as ggml's own: scale, then product, then offset, each in float32.
void Dequantize(StoredType type, const char* data, int64_t count, float* out);

// Whether Dequantize's float is scale * code + minimum, with codes of 4 bits and a scale and a
// minimum for each 32 elements: Q4_0, Q4_1 and Q4_K.
bool IsFourBits(StoredType type);

// These: `count` codes, 0 to 15, and count / 32 of the others.
void UnpackFourBits(StoredType type, const char* data, int64_t count, uint8_t* codes, float* scales,
                    float* minima);

}  // namespace skipserve
