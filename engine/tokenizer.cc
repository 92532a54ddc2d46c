#include "engine/tokenizer.h"

#include <limits>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/bpe.h"
#include "engine/bpe_alphabet.h"
#include "engine/pretokenizer_split.h"
#include "engine/tokenizer_added.h"
#include "engine/utf8.h"
#include "engine/utf8_unicode.h"

namespace skipserve {
namespace {

using TokenKind = TokenizerSpec::TokenKind;

class BpeTokenizer final : public Tokenizer {
 public:
  BpeTokenizer(TokenizerSpec spec, std::vector<std::string> token_bytes, Bpe bpe,
               PreTokenizer pre_tokenizer)
      : spec_(std::move(spec)),
        token_bytes_(std::move(token_bytes)),
        bpe_(std::move(bpe)),
        pre_tokenizer_(std::move(pre_tokenizer)) {
    // Added tokens first: where a normal token has the same text, the added one is meant by it.
    for (const bool added : {true, false}) {
      for (size_t i = 0; i < spec_.tokens.size(); ++i) {
        const int32_t id = static_cast<int32_t>(i);
        const bool special = spec_.kinds[i] == TokenKind::kSpecial;
        if ((special || spec_.kinds[i] == TokenKind::kUserDefined) != added) continue;
        by_text_.try_emplace(spec_.tokens[i], id);
        if (added) added_.Add(spec_.tokens[i], id, special);
      }
    }
  }

  using Tokenizer::Encode;
  std::vector<int32_t> Encode(absl::Span<const TextPiece> pieces) const override;

  absl::string_view TokenBytes(int32_t id) const override {
    return InVocabulary(id) ? absl::string_view(token_bytes_[id]) : absl::string_view();
  }
  bool IsSpecial(int32_t id) const override {
    return InVocabulary(id) && spec_.kinds[id] == TokenKind::kSpecial;
  }
  int32_t TokenId(absl::string_view text) const override {
    const auto it = by_text_.find(text);
    return it == by_text_.end() ? -1 : it->second;
  }
  int32_t vocab_size() const override { return static_cast<int32_t>(spec_.tokens.size()); }
  const TokenizerSpec& spec() const override { return spec_; }

 private:
  bool InVocabulary(int32_t id) const { return id >= 0 && id < vocab_size(); }

  // Text between added tokens. Broken UTF-8 ends a piece on both sides, and each of its bytes is a
  // piece.
  void EncodeStretch(absl::string_view stretch, std::vector<int32_t>* ids) const;
  void EncodeValid(absl::string_view text, std::vector<int32_t>* ids) const;

  const TokenizerSpec spec_;
  const std::vector<std::string> token_bytes_;
  const Bpe bpe_;
  const PreTokenizer pre_tokenizer_;
  AddedTokens added_;
  absl::flat_hash_map<absl::string_view, int32_t> by_text_;  // views into spec_
};

std::vector<int32_t> BpeTokenizer::Encode(absl::Span<const TextPiece> pieces) const {
  std::string text;
  // Ends of the longest stretches of one trust; they alternate, beginning with an untrusted one
  // that may be empty.
  std::vector<size_t> trust_ends = {0};
  for (const TextPiece& piece : pieces) {
    text += piece.text;
    const bool last_trusted = trust_ends.size() % 2 == 0;
    if (piece.trusted == last_trusted) {
      trust_ends.back() = text.size();
    } else if (!piece.text.empty()) {
      trust_ends.push_back(text.size());
    }
  }
  size_t run = 0;
  const auto trusted_end = [&](size_t begin) {
    while (trust_ends[run] <= begin) ++run;
    return run % 2 == 1 ? trust_ends[run] : begin;
  };

  std::vector<int32_t> ids;
  const absl::string_view all = text;
  for (size_t pos = 0; pos < all.size();) {
    const AddedTokens::Match match = added_.Find(all, pos, trusted_end);
    if (match.id < 0) {
      EncodeStretch(all.substr(pos), &ids);
      break;
    }
    EncodeStretch(all.substr(pos, match.begin - pos), &ids);
    ids.push_back(match.id);
    pos = match.end;
  }
  return ids;
}

void BpeTokenizer::EncodeStretch(absl::string_view stretch, std::vector<int32_t>* ids) const {
  if (stretch.empty()) return;
  std::string prefixed;
  if (spec_.add_prefix_space && stretch[0] != ' ') {
    prefixed = absl::StrCat(" ", stretch);
    stretch = prefixed;
  }
  for (size_t pos = 0; pos < stretch.size();) {
    const size_t valid = ValidUtf8Length(stretch, pos);
    if (valid == 0) {
      bpe_.Encode(stretch.substr(pos++, 1), ids);
      continue;
    }
    const absl::string_view text = stretch.substr(pos, valid);
    if (spec_.nfc) {
      EncodeValid(ToNfc(text), ids);
    } else {
      EncodeValid(text, ids);
    }
    pos += valid;
  }
}

void BpeTokenizer::EncodeValid(absl::string_view text, std::vector<int32_t>* ids) const {
  std::vector<size_t> ends;
  pre_tokenizer_.Split(text, &ends);
  size_t begin = 0;
  for (const size_t end : ends) {
    bpe_.Encode(text.substr(begin, end - begin), ids);
    begin = end;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Create(TokenizerSpec spec) {
  if (spec.kinds.size() != spec.tokens.size()) {
    return absl::InvalidArgumentError(absl::StrCat("the vocabulary has ", spec.tokens.size(),
                                                   " tokens but ", spec.kinds.size(), " kinds"));
  }
  if (spec.tokens.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return absl::InvalidArgumentError("the vocabulary has more tokens than an id can name");
  }
  const auto outside = [&](int32_t id) { return id >= static_cast<int64_t>(spec.tokens.size()); };
  if (outside(spec.bos_id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the BOS token ", spec.bos_id, " is not in the vocabulary"));
  }
  if (outside(spec.eos_id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the EOS token ", spec.eos_id, " is not in the vocabulary"));
  }
  for (const int32_t id : spec.eos_ids) {
    if (id >= 0 && !outside(id)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("the EOS token ", id, " is not in the vocabulary"));
  }
  std::vector<std::string> token_bytes(spec.tokens.size());
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    // A token that is not written in the byte alphabet stands for its own text; no merge can make
    // it.
    const bool plain = spec.kinds[id] != TokenKind::kNormal;
    if (plain || !ByteAlphabetDecode(spec.tokens[id], &token_bytes[id])) {
      token_bytes[id] = spec.tokens[id];
    }
  }
  absl::StatusOr<Bpe> bpe = Bpe::Create(spec, token_bytes);
  if (!bpe.ok()) return bpe.status();
  absl::StatusOr<PreTokenizer> pre =
      PreTokenizer::Create(spec.split_patterns, spec.split_digits_alone);
  if (!pre.ok()) return pre.status();
  return std::make_unique<BpeTokenizer>(std::move(spec), std::move(token_bytes), *std::move(bpe),
                                        *std::move(pre));
}

std::vector<int32_t> Tokenizer::Encode(absl::string_view text, bool allow_special) const {
  const TextPiece piece{std::string(text), allow_special};
  return Encode(absl::MakeConstSpan(&piece, 1));
}

std::string Tokenizer::Decode(absl::Span<const int32_t> ids, bool skip_special) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (skip_special && IsSpecial(id)) continue;
    const absl::string_view token = TokenBytes(id);
    bytes.append(token.data(), token.size());
  }
  return ReplaceInvalidUtf8(bytes);
}

std::vector<int32_t> EncodePrompt(const Tokenizer& tokenizer, absl::Span<const TextPiece> pieces) {
  const TokenizerSpec& spec = tokenizer.spec();
  std::vector<int32_t> ids = tokenizer.Encode(pieces);
  const bool has_bos = !ids.empty() && ids.front() == spec.bos_id;
  if (spec.add_bos && spec.bos_id >= 0 && !has_bos) ids.insert(ids.begin(), spec.bos_id);
  return ids;
}

std::string StreamDecoder::Push(int32_t id) {
  if (skip_special_ && tokenizer_.IsSpecial(id)) return "";
  const absl::string_view token = tokenizer_.TokenBytes(id);
  pending_.append(token.data(), token.size());
  const size_t settled = SettledUtf8Length(pending_);
  const std::string text = ReplaceInvalidUtf8(absl::string_view(pending_).substr(0, settled));
  pending_.erase(0, settled);
  return text;
}

std::string StreamDecoder::Finish() {
  const std::string text = ReplaceInvalidUtf8(pending_);
  pending_.clear();
  return text;
}

}  // namespace skipserve
