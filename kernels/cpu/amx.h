// AMX: eight registers of 16 rows of 64 bytes, and products of such tiles. What the kernels that
// use it share.
#pragma once

#include <cstdint>

#include "kernels/cpu/intrinsics.h"

#if defined(__x86_64__) && defined(__linux__)
#define SKIPSERVE_HAS_AMX 1
#endif

namespace skipserve::cpu {

// True where the machine has AMX with bf16 and int8, AVX-512 with VBMI, and the system lends this
// process its registers. Asked of the system once.
bool AmxReady();

constexpr int64_t kAmxRows = 16;
constexpr int64_t kAmxRowBytes = 64;

#ifdef SKIPSERVE_HAS_AMX
// On functions, not on files: what a file includes must still run on every machine.
#define SKIPSERVE_AMX                                                                        \
  __attribute__((                                                                            \
      target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx512vbmi,amx-tile," \
             "amx-bf16,amx-int8")))

// The operand of _tile_loadconfig: eight tiles of full rows, unless they are changed.
struct alignas(64) TileConfig {
  // `sum_rows`: rows of tiles 0 to 3, the sums, and of 4, the left side where they have fewer.
  explicit TileConfig(int64_t sum_rows = kAmxRows) {
    for (int i = 0; i < 8; ++i) {
      row_bytes[i] = kAmxRowBytes;
      rows[i] = static_cast<uint8_t>(i <= 4 ? sum_rows : kAmxRows);
    }
  }
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
#endif

}  // namespace skipserve::cpu
