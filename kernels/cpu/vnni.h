// AVX512-VNNI: sums of products of small integers, on functions of machines that are VnniReady.
#pragma once

#include "kernels/cpu/intrinsics.h"

namespace skipserve::cpu {

#if defined(__x86_64__)
// On functions, not on files: what a file includes must still run on every machine.
#define SKIPSERVE_VNNI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

// GCC 12 moves sums to and fro around the intrinsics of these, and some to memory.

// sum += a b, four products of 8 bits a lane, those of `a` unsigned.
SKIPSERVE_VNNI inline void AddFours(__m512i& sum, __m512i a, __m512i b) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
}

// sum += a b, two products of 16 bits a lane.
SKIPSERVE_VNNI inline void AddPairs(__m512i& sum, __m512i a, __m512i b) {
  asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
}
#endif

}  // namespace skipserve::cpu
