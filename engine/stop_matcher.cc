#include "engine/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"

namespace skipserve {
namespace {

// The longest end of `text` that begins `stop` without being all of it.
size_t PartialMatch(absl::string_view text, absl::string_view stop) {
  for (size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
    if (absl::EndsWith(text, stop.substr(0, n))) return n;
  }
  return 0;
}

}  // namespace

std::string StopMatcher::Push(absl::string_view text) {
  if (stopped_) return "";
  held_.append(text.data(), text.size());
  size_t found = std::string::npos;
  size_t hold = 0;
  for (const std::string& stop : stops_) {
    if (stop.empty()) continue;
    found = std::min(found, held_.find(stop));
    hold = std::max(hold, PartialMatch(held_, stop));
  }
  if (found != std::string::npos) {
    stopped_ = true;
    held_.resize(found);
    hold = 0;
  }
  std::string certain = held_.substr(0, held_.size() - hold);
  held_.erase(0, certain.size());
  return certain;
}

std::string StopMatcher::Finish() { return std::exchange(held_, ""); }

}  // namespace skipserve
