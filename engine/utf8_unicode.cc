#include "engine/utf8_unicode.h"

#include <unicode/bytestream.h>
#include <unicode/casemap.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "engine/utf8.h"

namespace skipserve {
namespace {

// ICU counts in int32, so anything longer stays as it is; so does everything if ICU lacks its data.
bool Fits(absl::string_view text) {
  return text.size() <= static_cast<size_t>(std::numeric_limits<int32_t>::max() / 4);
}

icu::StringPiece Piece(absl::string_view text) {
  return icu::StringPiece(text.data(), static_cast<int32_t>(text.size()));
}

using CaseFunction = void (*)(const char* locale, uint32_t options, icu::StringPiece text,
                              icu::ByteSink& sink, icu::Edits* edits, UErrorCode& error);

std::string MapCase(absl::string_view text, CaseFunction map) {
  std::string out;
  if (Fits(text)) {
    icu::StringByteSink<std::string> sink(&out);
    UErrorCode error = U_ZERO_ERROR;
    map("", 0, Piece(text), sink, nullptr, error);
    if (U_SUCCESS(error)) return out;
  }
  return std::string(text);
}

// ICU sorts a run of combining marks by insertion, so a megabyte of them would take hours. Longer
// runs than this are put into canonical order before ICU sees them, which changes nothing in the
// result.
constexpr size_t kLongMarkRun = 64;

void AppendSorted(std::vector<UChar32> marks, const icu::Normalizer2& nfd, std::string* out) {
  std::vector<UChar32> decomposed;
  icu::UnicodeString parts;
  for (const UChar32 mark : marks) {
    if (!nfd.getDecomposition(mark, parts)) {
      decomposed.push_back(mark);
      continue;
    }
    for (int32_t i = 0; i < parts.length(); i = parts.moveIndex32(i, 1)) {
      decomposed.push_back(parts.char32At(i));
    }
  }
  std::stable_sort(decomposed.begin(), decomposed.end(), [](UChar32 a, UChar32 b) {
    return u_getCombiningClass(a) < u_getCombiningClass(b);
  });
  for (const UChar32 mark : decomposed) AppendUtf8(static_cast<uint32_t>(mark), out);
}

std::string SortLongMarkRuns(absl::string_view text, const icu::Normalizer2& nfd) {
  std::string out;
  std::vector<UChar32> run;
  size_t run_begin = 0;
  for (size_t pos = 0; pos <= text.size();) {
    const Utf8Char c = pos < text.size() ? ReadUtf8(text, pos) : Utf8Char{};
    const UChar32 code_point = static_cast<UChar32>(c.code_point);
    if (c.valid && code_point >= 0x300 &&
        u_getIntPropertyValue(code_point, UCHAR_LEAD_CANONICAL_COMBINING_CLASS) != 0) {
      if (run.empty()) run_begin = pos;
      run.push_back(code_point);
    } else {
      if (run.size() > kLongMarkRun) {
        AppendSorted(run, nfd, &out);
      } else if (!run.empty()) {
        out.append(text.data() + run_begin, pos - run_begin);
      }
      run.clear();
      if (pos < text.size()) out.append(text.data() + pos, c.length);
    }
    pos += c.length;
  }
  return out;
}

}  // namespace

std::string ToNfc(absl::string_view text) {
  std::string given(text);
  const bool ascii =
      std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0x80; });
  if (ascii || !Fits(text)) return given;
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(error);
  const icu::Normalizer2* nfd = icu::Normalizer2::getNFDInstance(error);
  if (U_FAILURE(error)) return given;
  given = SortLongMarkRuns(given, *nfd);
  std::string out;
  icu::StringByteSink<std::string> sink(&out);
  nfc->normalizeUTF8(0, Piece(given), sink, nullptr, error);
  return U_SUCCESS(error) ? out : given;
}

std::string ToUpper(absl::string_view text) { return MapCase(text, icu::CaseMap::utf8ToUpper); }

std::string ToLower(absl::string_view text) { return MapCase(text, icu::CaseMap::utf8ToLower); }

bool IsSpace(uint32_t code_point) {
  if (code_point < 0x80) {
    return code_point == ' ' || (code_point >= 0x09 && code_point <= 0x0D) ||
           (code_point >= 0x1C && code_point <= 0x1F);
  }
  return u_isUWhiteSpace(static_cast<UChar32>(code_point));
}

}  // namespace skipserve
