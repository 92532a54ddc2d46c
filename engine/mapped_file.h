// A whole file mapped read-only into memory. It knows nothing of what the bytes mean. Immutable and
// thread-safe. A file that somebody shortens while it is mapped ends the process (SIGBUS): model
// files are replaced by renaming a new one into place, never rewritten.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace skipserve {

class MappedFile {
 public:
  // NOT_FOUND where there is no such file; INVALID_ARGUMENT where it is empty or not a regular
  // file; the operating system's own reason otherwise. Messages name the path.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& path);

  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  absl::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }

 private:
  MappedFile(void* data, size_t size) : data_(data), size_(size) {}

  void* data_;
  size_t size_;
};

}  // namespace skipserve
