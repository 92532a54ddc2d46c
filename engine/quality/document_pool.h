// The documents that tasks are made of, sorted by what they are for and by split. Immutable and
// thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/quality/documents.h"
#include "engine/quality/random.h"

namespace skipserve {

class DocumentPool {
 public:
  enum class Kind { kProse, kCode };

  explicit DocumentPool(std::vector<Document> documents);

  // About `bytes` bytes of text, or more, or all there is: it begins at a line of one of the
  // split's documents and goes on with the next ones. Every `index` gets a document of its own as
  // long as there are any, and another line of one after that. NOT_FOUND where there are none.
  absl::StatusOr<std::string> Text(Kind kind, bool held_out, int64_t index, size_t bytes,
                                   Random random) const;

 private:
  std::vector<Document> splits_[2][2];  // by kind, then by whether held out
};

}  // namespace skipserve
