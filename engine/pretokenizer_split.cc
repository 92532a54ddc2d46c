#include "engine/pretokenizer_split.h"

#include <oniguruma.h>

#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/utf8.h"

namespace skipserve {
namespace {

// An entry of the backtracking stack takes some 40 bytes and a greedy run pushes one for each
// character, so the first limit is a bound on memory and the second one on time. The known patterns
// need no more than one of each a character.
constexpr unsigned int kMaxStackEntries = 16u << 20;
constexpr unsigned long kMaxRetries = 16ul << 20;

// Oniguruma gives places as int.
constexpr size_t kMaxText = std::numeric_limits<int>::max();

const UChar* Bytes(const char* text) { return reinterpret_cast<const UChar*>(text); }

// Oniguruma wants its tables set up once before any other call.
bool InitOniguruma() {
  static const bool ok = [] {
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    return onig_initialize(encodings, 1) == ONIG_NORMAL;
  }();
  return ok;
}

struct RegionDeleter {
  void operator()(OnigRegion* region) const { onig_region_free(region, 1); }
};
struct ParamDeleter {
  void operator()(OnigMatchParam* param) const { onig_free_match_param(param); }
};

}  // namespace

struct PreTokenizer::Regex {
  OnigRegex onig = nullptr;

  Regex() = default;
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;
  ~Regex() {
    if (onig != nullptr) onig_free(onig);
  }
};

absl::StatusOr<PreTokenizer> PreTokenizer::Create(const std::vector<std::string>& patterns,
                                                  bool digits_alone) {
  if (!InitOniguruma()) return absl::InternalError("the regular expression library did not start");
  std::vector<std::string> all;
  if (digits_alone) all.push_back("\\p{N}");
  all.insert(all.end(), patterns.begin(), patterns.end());

  PreTokenizer result;
  for (const std::string& pattern : all) {
    if (ValidUtf8Length(pattern) != pattern.size()) {
      return absl::InvalidArgumentError("a pre-tokenizer pattern is not valid UTF-8");
    }
    auto regex = std::make_shared<Regex>();
    OnigErrorInfo info;
    const int code =
        onig_new(&regex->onig, Bytes(pattern.data()), Bytes(pattern.data() + pattern.size()),
                 ONIG_OPTION_NONE, ONIG_ENCODING_UTF8, ONIG_SYNTAX_ONIGURUMA, &info);
    if (code != ONIG_NORMAL) {
      regex->onig = nullptr;
      UChar reason[ONIG_MAX_ERROR_MESSAGE_LEN] = {};
      onig_error_code_to_str(reason, code, &info);
      return absl::InvalidArgumentError(
          absl::StrCat("the pre-tokenizer pattern '", pattern,
                       "' does not compile: ", reinterpret_cast<const char*>(reason)));
    }
    result.stages_.push_back(std::move(regex));
  }
  return result;
}

void PreTokenizer::Split(absl::string_view text, std::vector<size_t>* ends) const {
  ends->clear();
  if (text.empty()) return;
  if (text.size() > kMaxText) {
    ends->push_back(text.size());
    return;
  }
  const std::unique_ptr<OnigRegion, RegionDeleter> region(onig_region_new());
  const std::unique_ptr<OnigMatchParam, ParamDeleter> param(onig_new_match_param());
  onig_initialize_match_param(param.get());
  onig_set_match_stack_limit_size_of_match_param(param.get(), kMaxStackEntries);
  onig_set_retry_limit_in_match_of_match_param(param.get(), kMaxRetries);

  // Cuts [begin, end) by one pattern.
  const auto cut = [&](OnigRegex regex, size_t begin, size_t end, std::vector<size_t>* out) {
    const UChar* const first = Bytes(text.data() + begin);
    const UChar* const last = Bytes(text.data() + end);
    size_t pos = begin;    // where the search goes on
    size_t piece = begin;  // where the current piece starts
    while (pos < end) {
      const int found = onig_search_with_param(regex, first, last, Bytes(text.data() + pos), last,
                                               region.get(), ONIG_OPTION_NONE, param.get());
      if (found < 0) break;
      const size_t match_begin = begin + region->beg[0];
      const size_t match_end = begin + region->end[0];
      if (match_end == match_begin) {
        if (match_begin >= end) break;
        pos = match_begin + ReadUtf8(text, match_begin).length;
        continue;
      }
      if (match_begin > piece) out->push_back(match_begin);
      out->push_back(match_end);
      pos = piece = match_end;
    }
    if (piece < end) out->push_back(end);
  };

  ends->push_back(text.size());
  std::vector<size_t> finer;
  for (const std::shared_ptr<const Regex>& stage : stages_) {
    finer.clear();
    size_t begin = 0;
    for (const size_t end : *ends) {
      // One character cannot be cut, and a text of digits is nothing but such pieces.
      if (ReadUtf8(text, begin).length == end - begin) {
        finer.push_back(end);
      } else {
        cut(stage->onig, begin, end, &finer);
      }
      begin = end;
    }
    ends->swap(finer);
  }
}

}  // namespace skipserve
