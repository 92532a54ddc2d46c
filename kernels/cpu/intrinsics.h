// The compiler's own names of x86 instructions, for functions that say which they need.
#pragma once

#if defined(__x86_64__)
#ifndef __clang__  // GCC's own header warns, inlined wherever it is (its bug 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#define SKIPSERVE_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#endif
