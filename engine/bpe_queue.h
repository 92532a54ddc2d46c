// The order of merges in a long piece: places waiting to be merged, lowest rank first, then
// leftmost. Places mostly arrive from left to right, so each rank keeps a sorted list with a cursor
// and a heap for the rest: about constant time each where one heap over everything took half a
// second for a megabyte of one letter. One thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace skipserve {

class MergeQueue {
 public:
  void Push(uint32_t rank, uint32_t place) {
    const auto [it, inserted] = index_.try_emplace(rank, buckets_.size());
    if (inserted) buckets_.emplace_back();
    Bucket& bucket = buckets_[it->second];
    if (bucket.empty()) ranks_.push(Ranked{rank, static_cast<uint32_t>(it->second)});
    bucket.Push(place);
  }

  // False when nothing waits.
  bool Pop(uint32_t* rank, uint32_t* place) {
    if (ranks_.empty()) return false;
    const Ranked lowest = ranks_.top();
    Bucket& bucket = buckets_[lowest.bucket];
    *rank = lowest.rank;
    *place = bucket.Pop();
    if (bucket.empty()) ranks_.pop();
    return true;
  }

 private:
  using MinHeap = std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<uint32_t>>;

  struct Bucket {
    std::vector<uint32_t> sorted;
    size_t cursor = 0;
    MinHeap others;

    bool empty() const { return cursor == sorted.size() && others.empty(); }

    void Push(uint32_t place) {
      if (cursor == sorted.size()) {
        sorted.clear();
        cursor = 0;
      }
      if (sorted.empty() || place >= sorted.back()) {
        sorted.push_back(place);
      } else {
        others.push(place);
      }
    }

    uint32_t Pop() {
      const bool from_sorted =
          others.empty() || (cursor < sorted.size() && sorted[cursor] <= others.top());
      if (from_sorted) return sorted[cursor++];
      const uint32_t place = others.top();
      others.pop();
      return place;
    }
  };

  struct Ranked {
    uint32_t rank;
    uint32_t bucket;
    bool operator>(const Ranked& other) const { return rank > other.rank; }
  };

  absl::flat_hash_map<uint32_t, size_t> index_;  // rank to bucket
  std::vector<Bucket> buckets_;
  std::priority_queue<Ranked, std::vector<Ranked>, std::greater<Ranked>> ranks_;
};

}  // namespace skipserve
