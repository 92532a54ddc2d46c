// Memory and weights of the CPU backend.
#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/amx.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/native_bf16.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/vnni_ready.h"
#include "kernels/host_memory.h"

namespace skipserve {
namespace cpu {
namespace {

bool GatesFillBlocks(const WeightSource& source) {
  return source.out_features % (2 * TiledWeights::kOutputs) == 0;
}

}  // namespace

absl::Status CpuOps::CheckHeadDim(int32_t head_dim) const {
  if (head_dim % 8 == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the cpu backend computes heads of a multiple of 8 elements, this model's have ",
                   head_dim, "; the reference backend takes it"));
}

absl::StatusOr<Buffer> CpuOps::Allocate(size_t bytes) { return buffers_.Allocate(bytes); }

void CpuOps::Upload(const void* host, void* device, size_t bytes) {
  if (bytes > 0) std::memcpy(device, host, bytes);
}

void CpuOps::Download(const void* device, void* host, size_t bytes) {
  if (bytes > 0) std::memcpy(host, device, bytes);
}

absl::StatusOr<std::unique_ptr<Weight>> CpuOps::LoadWeight(const WeightSource& source,
                                                           WeightType type, WeightUse use) {
  const int64_t n = source.out_features;
  const int64_t k = source.in_features;
  if (type == WeightType::kInt8 || (type == WeightType::kBF16 && CpuHasBf16())) {
    return LoadTiled(source, type, use);
  }
  if (type == WeightType::kInt4) return LoadFourBits(source, use);
  const DType dtype = type == WeightType::kF32 ? DType::kF32 : DType::kBF16;
  absl::StatusOr<Buffer> values = weights_.Allocate(n * k * DTypeBytes(dtype));
  if (!values.ok()) return values.status();
  constexpr int64_t kTaskFloats = 64 * 1024;
  const int64_t rows = std::max<int64_t>(1, kTaskFloats / std::max<int64_t>(k, 1));
  pool_.ParallelFor(k == 0 ? 0 : (n + rows - 1) / rows, [&](int64_t task, int thread) {
    const int64_t begin = task * rows;
    const int64_t count = std::min(rows, n - begin);
    if (dtype == DType::kF32) {
      source.read(begin, count, values->f32() + begin * k);
    } else {
      float* read = scratch_[thread].Floats(count * k);
      source.read(begin, count, read);
      RoundToBf16(read, count * k, static_cast<uint16_t*>(values->data()) + begin * k);
    }
  });
  return std::make_unique<CpuWeight>(n, k, dtype, *std::move(values));
}

absl::StatusOr<std::unique_ptr<Weight>> CpuOps::LoadTiled(const WeightSource& source,
                                                          WeightType type, WeightUse use) {
  absl::StatusOr<TiledWeights> packed = TiledWeights::Pack(source, type, weights_, pool_, scratch_);
  if (!packed.ok()) return packed.status();
  auto tiled = std::make_unique<TiledWeights>(*std::move(packed));
  std::unique_ptr<PackedGemm> gemm;
  const bool fast = type == WeightType::kInt8 ? tiled->sums_fit() && (AmxReady() || VnniReady())
                                              : CpuHasFastBf16();
  if (fast && use != WeightUse::kDecode) {
    gemm = PackedGemm::Make(*tiled, use == WeightUse::kGated && GatesFillBlocks(source));
  }
  return std::make_unique<CpuWeight>(std::move(tiled), std::move(gemm));
}

absl::StatusOr<std::unique_ptr<Weight>> CpuOps::LoadFourBits(const WeightSource& source,
                                                             WeightUse use) {
  absl::StatusOr<FourBitWeights> packed = FourBitWeights::Pack(source, weights_, pool_, scratch_);
  if (!packed.ok()) return packed.status();
  auto four_bits = std::make_unique<FourBitWeights>(*std::move(packed));
  std::unique_ptr<PackedGemm> gemm;
  if (CpuHasFastBf16() && use != WeightUse::kDecode) {
    gemm = PackedGemm::Make(*four_bits, use == WeightUse::kGated && GatesFillBlocks(source));
  }
  return std::make_unique<CpuWeight>(std::move(four_bits), std::move(gemm));
}

}  // namespace cpu

std::unique_ptr<Ops> MakeCpuOps(int threads, bool int8_attention) {
  return std::make_unique<cpu::CpuOps>(threads, int8_attention);
}

}  // namespace skipserve
