// tokenizer.json's "normalizer" and "pre_tokenizer" as the rules of a TokenizerSpec: digits alone,
// then the split patterns, then bytes.
#include "absl/strings/str_cat.h"
#include "engine/hf_tokenizer.h"
#include "engine/pretokenizer.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

absl::Status ReadNormalizer(const Json& normalizer, TokenizerSpec* spec) {
  ASSIGN_OR_RETURN(const std::string type, ReadString(normalizer, "type"));
  if (type == "NFC") {
    spec->nfc = true;
    return absl::OkStatus();
  }
  const Json* parts = Member(normalizer, "normalizers");
  if (type != "Sequence" || parts == nullptr || !parts->is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the normalizer '", type, "' is not supported; only NFC is"));
  }
  for (const Json& part : *parts) {
    ASSIGN_OR_RETURN(const std::string part_type, ReadString(part, "type"));
    if (part_type != "NFC") {
      return absl::InvalidArgumentError(
          absl::StrCat("the normalizer '", part_type, "' is not supported; only NFC is"));
    }
    spec->nfc = true;
  }
  return absl::OkStatus();
}

absl::Status ReadSplit(const Json& split, TokenizerSpec* spec) {
  const Json* pattern = Member(split, "pattern");
  if (pattern == nullptr) return absl::InvalidArgumentError("a Split has no pattern");
  const auto regex = ReadString(*pattern, "Regex");
  if (!regex.ok()) return absl::InvalidArgumentError("a Split's pattern must be a Regex");
  ASSIGN_OR_RETURN(const std::string behavior, ReadString(split, "behavior"));
  ASSIGN_OR_RETURN(const bool invert, ReadBoolOr(split, "invert", false));
  if (behavior != "Isolated" || invert) {
    return absl::InvalidArgumentError(absl::StrCat("a Split's behavior '", behavior, "'",
                                                   invert ? " inverted" : "",
                                                   " is not supported; only Isolated is"));
  }
  spec->split_patterns.push_back(*regex);
  return absl::OkStatus();
}

// One part of the sequence; `alone` where there is no other.
absl::Status ReadPart(const Json& part, bool alone, bool last, TokenizerSpec* spec) {
  ASSIGN_OR_RETURN(const std::string type, ReadString(part, "type"));
  if (type == "Split") return ReadSplit(part, spec);
  if (type == "Digits") {
    ASSIGN_OR_RETURN(const bool individual, ReadBoolOr(part, "individual_digits", false));
    if (!individual || !spec->split_patterns.empty()) {
      return absl::InvalidArgumentError(
          "the pre-tokenizer Digits is only supported with individual_digits and as the first");
    }
    spec->split_digits_alone = true;
    return absl::OkStatus();
  }
  if (type != "ByteLevel") {
    return absl::InvalidArgumentError(absl::StrCat(
        "the pre-tokenizer '", type, "' is not supported; only Split, Digits and ByteLevel are"));
  }
  if (!last) return absl::InvalidArgumentError("the pre-tokenizer ByteLevel must be the last");
  ASSIGN_OR_RETURN(spec->add_prefix_space, ReadBoolOr(part, "add_prefix_space", true));
  if (spec->add_prefix_space && !alone) {
    return absl::InvalidArgumentError(
        "ByteLevel with add_prefix_space is only supported as the only pre-tokenizer");
  }
  ASSIGN_OR_RETURN(const bool use_regex, ReadBoolOr(part, "use_regex", true));
  if (use_regex) spec->split_patterns.emplace_back(Gpt2SplitPattern());
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadHfPreTokenizer(const Json& tokenizer, TokenizerSpec* spec) {
  if (const Json* normalizer = Member(tokenizer, "normalizer"); normalizer != nullptr) {
    RETURN_IF_ERROR(ReadNormalizer(*normalizer, spec));
  }
  const Json* pre = Member(tokenizer, "pre_tokenizer");
  if (pre == nullptr) {
    return absl::InvalidArgumentError("it has no pre_tokenizer, but byte-level BPE needs one");
  }
  ASSIGN_OR_RETURN(const std::string type, ReadString(*pre, "type"));
  if (type != "Sequence") {
    RETURN_IF_ERROR(ReadPart(*pre, /*alone=*/true, /*last=*/true, spec));
    if (type == "ByteLevel") return absl::OkStatus();
    return absl::InvalidArgumentError("its pre_tokenizer lacks ByteLevel; only that is supported");
  }
  const Json* parts = Member(*pre, "pretokenizers");
  if (parts == nullptr || !parts->is_array() || parts->empty()) {
    return absl::InvalidArgumentError("its pre_tokenizer is an empty Sequence");
  }
  for (size_t i = 0; i < parts->size(); ++i) {
    RETURN_IF_ERROR(ReadPart((*parts)[i], parts->size() == 1, i + 1 == parts->size(), spec));
  }
  if (*ReadStringOr((*parts)[parts->size() - 1], "type", "") != "ByteLevel") {
    return absl::InvalidArgumentError("its pre_tokenizer lacks ByteLevel; only that is supported");
  }
  return absl::OkStatus();
}

}  // namespace skipserve
