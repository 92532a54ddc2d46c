#include "engine/utf8_unicode.h"

#include <unicode/bytestream.h>
#include <unicode/casemap.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>
#include <unicode/uchar.h>

#include <limits>

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

}  // namespace

std::string ToNfc(absl::string_view text) {
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(error);
  if (U_FAILURE(error) || !Fits(text)) return std::string(text);
  if (nfc->isNormalizedUTF8(Piece(text), error) && U_SUCCESS(error)) return std::string(text);
  error = U_ZERO_ERROR;
  std::string out;
  icu::StringByteSink<std::string> sink(&out);
  nfc->normalizeUTF8(0, Piece(text), sink, nullptr, error);
  return U_SUCCESS(error) ? out : std::string(text);
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
