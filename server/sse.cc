#include "server/sse.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace skipserve {

std::string SseData(absl::string_view payload) {
  const std::string lines =
      absl::StrReplaceAll(payload, {{"\r\n", "\ndata: "}, {"\n", "\ndata: "}, {"\r", "\ndata: "}});
  return absl::StrCat("data: ", lines, "\n\n");
}

std::string SseComment(absl::string_view text) {
  return absl::StrCat(": ", absl::StrReplaceAll(text, {{"\n", " "}, {"\r", " "}}), "\n\n");
}

std::string SseDone() { return SseData("[DONE]"); }

}  // namespace skipserve
