// The two products of attention on AMX tiles, to be done step by step beside work on vectors, which
// a core does at the same time. Included by amx_attention.cc alone. No state but their own; a
// thread has one of each under way at most.
#pragma once

#include "kernels/cpu/amx.h"

#ifdef SKIPSERVE_HAS_AMX
#include <cstdint>

namespace skipserve::cpu::amx {

#define SKIPSERVE_AMX_INLINE SKIPSERVE_AMX __attribute__((always_inline)) inline

constexpr int64_t kLanes = kAmxRows;       // queries in a vector
constexpr int64_t kQueries = 2 * kLanes;   // that go through a key block together
constexpr int64_t kStep = 32;              // bf16 values in a tile's row; keys of a group
constexpr int64_t kTile = kLanes * kStep;  // and in a tile
constexpr int64_t kRowBytes = kAmxRowBytes;

// Tiles 0 to 3 are sums of values. Of scores 4 and 5 are the sums, until they are stored, and 6 and
// 7 the left and the right side; of values, which come after that, 4 and 5 are left sides and 6 and
// 7 right ones.

// GCC's tile loads do not say that they read memory: stores before them must not move behind them.
inline void MemoryIsAsWritten() { asm volatile("" ::: "memory"); }

// The scores of a group of keys for 16 queries, to [kStep, kLanes] = K q^T of kSteps * kStep
// dimensions.
template <int kSteps>
struct Scores {
  const uint16_t* k = nullptr;  // [2, kSteps, kTile]: left sides
  const uint16_t* q = nullptr;  // [kSteps, 2, kTile], every other: right sides
  float* to = nullptr;

  template <int kFrom>
  SKIPSERVE_AMX_INLINE void Step() const {
    MemoryIsAsWritten();
    if constexpr (kFrom == 0) {
      _tile_zero(4);
      _tile_zero(5);
    }
    _tile_loadd(7, q + kFrom * 2 * kTile, kRowBytes);
    _tile_loadd(6, k + kFrom * kTile, kRowBytes);
    _tile_dpbf16ps(4, 6, 7);
    _tile_loadd(6, k + (kSteps + kFrom) * kTile, kRowBytes);
    _tile_dpbf16ps(5, 6, 7);
  }
  template <int kFrom, int kTo>
  SKIPSERVE_AMX_INLINE void Steps() const {
    if constexpr (kFrom < kTo) {
      Step<kFrom>();
      Steps<kFrom + 1, kTo>();
    }
  }
  SKIPSERVE_AMX_INLINE void Store() const {
    _tile_stored(4, to, kRowBytes);
    _tile_stored(5, to + kLanes * kLanes, kRowBytes);
  }
};

// o [dim, kQueries] += V^T p over groups of keys, dim = kSteps * kStep.
template <int kSteps>
struct Values {
  float* o = nullptr;           // null where nothing is to be done
  const uint16_t* v = nullptr;  // [groups, 2 * kSteps, kTile]: left sides, a row a dimension
  const uint32_t* p = nullptr;  // [groups, 2, kTile / 2]: right sides, pairs of keys
  int64_t begin = 0, end = 0;   // groups
  int64_t done = 0;             // steps
  int64_t pass = 0, group = 0;  // of the next

  // A step is a group for kStep dimensions.
  int64_t steps() const { return o == nullptr ? 0 : (end - begin) * kSteps; }

  SKIPSERVE_AMX_INLINE void StepTo(int64_t last) {
    constexpr int64_t kBytes = kQueries * sizeof(float);
    for (; done < last; ++done) {
      MemoryIsAsWritten();
      if (done == 0) group = begin;
      float* const sums = o + pass * kStep * kQueries;
      if (group == begin) {
        _tile_loadd(0, sums, kBytes);
        _tile_loadd(1, sums + kLanes, kBytes);
        _tile_loadd(2, sums + kLanes * kQueries, kBytes);
        _tile_loadd(3, sums + kLanes * kQueries + kLanes, kBytes);
      }
      const uint16_t* const left = v + (group * kSteps + pass) * 2 * kTile;
      const uint32_t* const right = p + group * kTile;
      _tile_loadd(4, left, kRowBytes);
      _tile_loadd(6, right, kRowBytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, right + kTile / 2, kRowBytes);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, left + kTile, kRowBytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
      if (++group == end) {
        _tile_stored(0, sums, kBytes);
        _tile_stored(1, sums + kLanes, kBytes);
        _tile_stored(2, sums + kLanes * kQueries, kBytes);
        _tile_stored(3, sums + kLanes * kQueries + kLanes, kBytes);
        group = begin;
        ++pass;
      }
    }
  }
};

}  // namespace skipserve::cpu::amx
#endif
