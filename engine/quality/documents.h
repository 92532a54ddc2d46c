// Texts from files and folders: what calibration reads and what the quality tasks are made of.
// Every error is one line that names the file. No state.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace skipserve {

struct Document {
  std::string name;  // the path
  std::string text;
};

// The first `limit` bytes of a file; "-" is standard input.
absl::StatusOr<std::string> ReadBytes(const std::string& path, size_t limit);

// Of a folder every regular file below it that looks like text, in the order of their paths, hidden
// ones left out; of each text the first megabyte, 64 MB in all.
absl::StatusOr<std::vector<Document>> ReadDocuments(const std::vector<std::string>& paths);

}  // namespace skipserve
