// A small random generator whose numbers are the same on every machine and with every standard
// library. Not for secrets. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace skipserve {

// Counts up and mixes the count (splitmix64), so that any seed is a good one.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    state_ += 0x9e3779b97f4a7c15;
    uint64_t x = state_;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  }
  // Makes what follows depend on `word` too.
  void Mix(absl::string_view word) {
    for (const char c : word) state_ = Next() ^ static_cast<unsigned char>(c);
  }

  // Below `size`, which is positive. The bias is below 1e-9 for the sizes used here.
  int64_t Below(int64_t size) { return static_cast<int64_t>(Next() % static_cast<uint64_t>(size)); }
  // Between the two, both included.
  int64_t Between(int64_t low, int64_t high) { return low + Below(high - low + 1); }
  double Share() { return static_cast<double>(Next() >> 11) * 0x1p-53; }  // in [0, 1)

  absl::string_view Pick(absl::Span<const absl::string_view> words) {
    return words[static_cast<size_t>(Below(static_cast<int64_t>(words.size())))];
  }
  template <typename T>
  void Shuffle(std::vector<T>* items) {
    for (size_t i = items->size(); i > 1; --i) {
      std::swap((*items)[i - 1], (*items)[static_cast<size_t>(Below(static_cast<int64_t>(i)))]);
    }
  }

 private:
  uint64_t state_;
};

}  // namespace skipserve
