// Finds stop strings in a stream of text and holds back what may yet become one. One per answer,
// one thread.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace skipserve {

class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // Text that is certain to belong to the answer. After a stop string was found: the text before
  // it, and stopped().
  std::string Push(absl::string_view text);
  // What was held back, once the answer has ended otherwise.
  std::string Finish();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace skipserve
