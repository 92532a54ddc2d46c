// Memory and weights of the reference backend: the host's own.
#include <cassert>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/bf16.h"
#include "kernels/half.h"
#include "kernels/host_memory.h"
#include "kernels/reference/reference_ops.h"

namespace skipserve {

absl::Status ReferenceOps::CheckHeadDim(int32_t head_dim) const {
  if (head_dim % 2 == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("heads of ", head_dim, " elements cannot be rotated in halves"));
}

absl::StatusOr<Buffer> ReferenceOps::Allocate(size_t bytes) { return AllocateHost(bytes); }

void ReferenceOps::Upload(const void* host, void* device, size_t bytes) {
  if (bytes > 0) std::memcpy(device, host, bytes);
}

void ReferenceOps::Download(const void* device, void* host, size_t bytes) {
  if (bytes > 0) std::memcpy(host, device, bytes);
}

namespace {

void ReadFourBits(const WeightSource& source, float* out) {
  constexpr int64_t kGroup = FourBitRows::kGroup;
  const int64_t groups = source.out_features * source.in_features / kGroup;
  std::vector<uint8_t> codes(groups * kGroup);
  std::vector<float> scales(groups), minima(groups);
  source.read_four_bits(0, source.out_features, {codes.data(), scales.data(), minima.data()});
  for (std::vector<float>* of : {&scales, &minima}) {
    for (float& x : *of) x = HalfToF32(F32ToHalf(x));
  }
  for (int64_t i = 0; i < groups * kGroup; ++i) {
    out[i] = scales[i / kGroup] * codes[i] + minima[i / kGroup];
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Weight>> ReferenceOps::LoadWeight(const WeightSource& source,
                                                                 WeightType type,
                                                                 WeightUse /*use*/) {
  const int64_t values = source.out_features * source.in_features;
  absl::StatusOr<Buffer> buffer = AllocateHost(values * sizeof(float));
  if (!buffer.ok()) return buffer.status();
  float* data = buffer->f32();
  assert(type != WeightType::kInt4 || source.read_four_bits);
  if (values > 0 && type == WeightType::kInt4) {
    ReadFourBits(source, data);
  } else if (values > 0) {
    source.read(0, source.out_features, data);
  }
  if (type == WeightType::kBF16) {
    for (int64_t i = 0; i < values; ++i) data[i] = Bf16ToF32(F32ToBf16(data[i]));
  } else if (type == WeightType::kInt8) {
    for (int64_t row = 0; row < source.out_features; ++row) {
      RoundToInt8(data + row * source.in_features, source.in_features);
    }
  }
  return std::make_unique<ReferenceWeight>(source.out_features, source.in_features, type,
                                           *std::move(buffer));
}

std::unique_ptr<Ops> MakeReferenceOps() { return std::make_unique<ReferenceOps>(); }

}  // namespace skipserve
