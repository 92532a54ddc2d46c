#include "kernels/cpu/native_bf16.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <string_view>

#include "kernels/cpu/dnnl_isa.h"
#include "kernels/cpu/intrinsics.h"
#include "kernels/cpu/row_kernels.h"

namespace skipserve::cpu {
namespace {

#if defined(__x86_64__)
// 26 ns for 576 values in the cache, where integer operations take 78.
SKIPSERVE_BF16 void Round(const float* from, int64_t n, uint16_t* to) {
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m512bh pair =
        _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + i + 16), _mm512_loadu_ps(from + i));
    _mm512_storeu_si512(to + i, (__m512i)pair);
  }
  if (i < n) RoundToBf16(from + i, n - i, to + i);
}

// The time of as many products of vectors as hide their latency, of bf16 pairs or of float32.
template <bool kBf16>
SKIPSERVE_BF16 double SecondsOfProducts() {
  constexpr int kSums = 12;
  const auto begin = std::chrono::steady_clock::now();
  __m512 sums[kSums] = {};
  __m512 x = _mm512_set1_ps(1.0f);
  for (int i = 0; i < 400; ++i) {
    asm volatile("" : "+v"(x));  // or one pass would do for all
#pragma GCC unroll 12            // sums in memory would be all that is measured
    for (int j = 0; j < kSums; ++j) {
      sums[j] = kBf16 ? _mm512_dpbf16_ps(sums[j], (__m512bh)x, (__m512bh)x)
                      : _mm512_fmadd_ps(x, x, sums[j]);
    }
  }
  for (const __m512& s : sums) asm volatile("" ::"v"(s));
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Vectors multiply bf16 at twice float32's rate on Zen 4 and Zen 5, at the same on Sapphire Rapids,
// which has tiles for it but not in every virtual machine. Best of many, in turn, for 100 us: cores
// are slow to allow wide vectors.
bool VectorsAreFaster() {
  double bf16 = std::numeric_limits<double>::max(), f32 = bf16;
  for (int i = 0; i < 40; ++i) {
    bf16 = std::min(bf16, SecondsOfProducts<true>());
    f32 = std::min(f32, SecondsOfProducts<false>());
  }
  return bf16 < 1.6 * f32;  // which is of half as many products
}
#else
void Round(const float* from, int64_t n, uint16_t* to) { RoundToBf16(from, n, to); }
bool VectorsAreFaster() { return false; }
#endif

}  // namespace

bool CpuHasBf16() { return MachineHas(dnnl::cpu_isa::avx512_core_bf16); }

void RoundToBf16Native(const float* from, int64_t n, uint16_t* to) {
  static const bool native = CpuHasBf16();
  (native ? &Round : &RoundToBf16)(from, n, to);
}

bool CpuHasFastBf16() {
  static const bool fast = [] {
    if (!CpuHasBf16()) return false;
    const char* const said = std::getenv("SKIPSERVE_FAST_BF16");
    if (said != nullptr && std::string_view(said) == "0") return false;
    if (said != nullptr && std::string_view(said) == "1") return true;
    return MachineHas(dnnl::cpu_isa::avx512_core_amx) || VectorsAreFaster();
  }();
  return fast;
}

}  // namespace skipserve::cpu
