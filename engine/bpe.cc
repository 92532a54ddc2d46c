#include "engine/bpe.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/bpe_queue.h"

namespace skipserve {
namespace {

using TokenKind = TokenizerSpec::TokenKind;

// Up to this many symbols a scan for the lowest rank beats a queue.
constexpr size_t kFewSymbols = 40;

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

absl::StatusOr<Bpe> Bpe::Create(const TokenizerSpec& spec,
                                const std::vector<std::string>& token_bytes) {
  Bpe bpe;
  bpe.byte_ids_.fill(-1);
  absl::flat_hash_map<absl::string_view, int32_t> by_text;
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    const TokenKind kind = spec.kinds[id];
    if (kind == TokenKind::kSpecial) continue;
    // Where a text is there twice, the normal token is the one that merges make.
    const auto [it, inserted] = by_text.try_emplace(spec.tokens[id], static_cast<int32_t>(id));
    const bool better = kind == TokenKind::kNormal && spec.kinds[it->second] != TokenKind::kNormal;
    if (!inserted && better) it->second = static_cast<int32_t>(id);
    if (kind != TokenKind::kNormal) continue;
    const std::string& bytes = token_bytes[id];
    if (bytes.size() == 1 && bpe.byte_ids_[static_cast<uint8_t>(bytes[0])] < 0) {
      bpe.byte_ids_[static_cast<uint8_t>(bytes[0])] = static_cast<int32_t>(id);
    }
    if (spec.ignore_merges) bpe.whole_pieces_.try_emplace(bytes, static_cast<int32_t>(id));
  }

  bpe.merges_.reserve(spec.merges.size());
  for (size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const auto& [left, right] = spec.merges[rank];
    const std::string joined = left + right;
    const auto left_id = by_text.find(left);
    const auto right_id = by_text.find(right);
    const auto joined_id = by_text.find(joined);
    if (left_id == by_text.end() || right_id == by_text.end() || joined_id == by_text.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("merge ", rank, " ('", left, "' with '", right,
                       "') needs a token that is not in the vocabulary or is special"));
    }
    bpe.merges_[PairKey(left_id->second, right_id->second)] =
        Merge{static_cast<uint32_t>(rank), joined_id->second};
  }
  return bpe;
}

Bpe::Merge Bpe::Find(int32_t left, int32_t right) const {
  const auto it = merges_.find(PairKey(left, right));
  return it == merges_.end() ? Merge{kNoRank, -1} : it->second;
}

void Bpe::Encode(absl::string_view piece, std::vector<int32_t>* ids) const {
  if (!whole_pieces_.empty()) {
    const auto it = whole_pieces_.find(piece);
    if (it != whole_pieces_.end()) {
      ids->push_back(it->second);
      return;
    }
  }
  if (piece.size() <= kFewSymbols) {
    std::array<int32_t, kFewSymbols> symbols;
    size_t count = 0;
    for (const char c : piece) {
      const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
      if (id >= 0) symbols[count++] = id;
    }
    MergeFew(symbols.data(), count, ids);
    return;
  }
  std::vector<int32_t> symbols;
  symbols.reserve(piece.size());
  for (const char c : piece) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
    if (id >= 0) symbols.push_back(id);
  }
  MergeMany(std::move(symbols), ids);
}

void Bpe::MergeFew(int32_t* symbols, size_t count, std::vector<int32_t>* ids) const {
  std::array<Merge, kFewSymbols> merges;  // merges[i] joins symbols i and i + 1
  for (size_t i = 0; i + 1 < count; ++i) merges[i] = Find(symbols[i], symbols[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == kNoRank) break;
    symbols[best] = merges[best].id;
    std::copy(symbols + best + 2, symbols + count, symbols + best + 1);
    std::copy(merges.begin() + best + 1, merges.begin() + count - 1, merges.begin() + best);
    --count;
    if (best > 0) merges[best - 1] = Find(symbols[best - 1], symbols[best]);
    if (best + 1 < count) merges[best] = Find(symbols[best], symbols[best + 1]);
  }
  ids->insert(ids->end(), symbols, symbols + count);
}

void Bpe::MergeMany(std::vector<int32_t> symbols, std::vector<int32_t>* ids) const {
  // A doubly linked list over the symbols. A place in the queue is out of date when its rank has
  // changed since, so nothing is ever taken out of the queue's middle.
  const size_t count = symbols.size();
  std::vector<uint32_t> prev(count), next(count), rank(count, kNoRank);
  std::vector<int32_t> merged(count, -1);
  MergeQueue queue;
  const auto look = [&](uint32_t i) {
    const Merge merge = next[i] < count ? Find(symbols[i], symbols[next[i]]) : Merge{kNoRank, -1};
    rank[i] = merge.rank;
    merged[i] = merge.id;
    if (merge.rank != kNoRank) queue.Push(merge.rank, i);
  };
  for (uint32_t i = 0; i < count; ++i) {
    prev[i] = i - 1;
    next[i] = i + 1;
    if (i > 0) look(i - 1);
  }
  uint32_t top_rank, left;
  while (queue.Pop(&top_rank, &left)) {
    if (symbols[left] < 0 || rank[left] != top_rank) continue;
    const uint32_t right = next[left];
    symbols[left] = merged[left];
    symbols[right] = -1;
    next[left] = next[right];
    if (next[right] < count) prev[next[right]] = left;
    if (left > 0) look(prev[left]);
    look(left);
  }
  for (const int32_t id : symbols) {
    if (id >= 0) ids->push_back(id);
  }
}

}  // namespace skipserve
