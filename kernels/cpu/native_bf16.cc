#include "kernels/cpu/native_bf16.h"

#include "kernels/cpu/intrinsics.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/ops.h"

namespace skipserve::cpu {
namespace {

#if defined(__x86_64__)
// 26 ns for 576 values in the cache, where integer operations take 78.
__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) void Round(const float* from,
                                                                           int64_t n,
                                                                           uint16_t* to) {
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m512bh pair =
        _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + i + 16), _mm512_loadu_ps(from + i));
    _mm512_storeu_si512(to + i, (__m512i)pair);
  }
  if (i < n) RoundToBf16(from + i, n - i, to + i);
}
#else
void Round(const float* from, int64_t n, uint16_t* to) { RoundToBf16(from, n, to); }
#endif

}  // namespace

void RoundToBf16Native(const float* from, int64_t n, uint16_t* to) {
  static const bool native = CpuHasFastBf16();
  (native ? &Round : &RoundToBf16)(from, n, to);
}

}  // namespace skipserve::cpu
