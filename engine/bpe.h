// The merges of a byte-level BPE vocabulary: the bytes of one piece to token ids. It does not cut
// text into pieces and never gives out a special token. Immutable and thread-safe after Create.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model_file.h"

namespace skipserve {

class Bpe {
 public:
  // `token_bytes` holds the bytes of every token of `spec`, by id. INVALID_ARGUMENT where a merge
  // joins or makes a token that is not there, or that is special.
  static absl::StatusOr<Bpe> Create(const TokenizerSpec& spec,
                                    const std::vector<std::string>& token_bytes);

  // Appends the ids of `piece`, merging the pair of the lowest rank, leftmost first, until none is
  // left: O(n log n). A byte without a token of its own is left out, as Hugging Face does where
  // there is no unknown token.
  void Encode(absl::string_view piece, std::vector<int32_t>* ids) const;

 private:
  struct Merge {
    uint32_t rank;
    int32_t id;
  };
  static constexpr uint32_t kNoRank = UINT32_MAX;

  // The merge of two neighbours; its rank is kNoRank where there is none.
  Merge Find(int32_t left, int32_t right) const;
  void MergeFew(int32_t* symbols, size_t count, std::vector<int32_t>* ids) const;
  void MergeMany(std::vector<int32_t> symbols, std::vector<int32_t>* ids) const;

  std::array<int32_t, 256> byte_ids_;
  absl::flat_hash_map<uint64_t, Merge> merges_;
  absl::flat_hash_map<std::string, int32_t> whole_pieces_;  // filled only with ignore_merges
};

}  // namespace skipserve
