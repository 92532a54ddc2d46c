// Where a command-line tool writes, and how it ends. Plain values; a test gives files of its own.
#pragma once

#include <cstdio>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace skipserve {

struct ToolIo {
  std::FILE* out = stdout;  // results
  std::FILE* err = stderr;  // progress and complaints
};

inline void Print(std::FILE* file, absl::string_view text) {
  std::fwrite(text.data(), 1, text.size(), file);
  std::fflush(file);
}

// "skipserve TOOL: MESSAGE", and the process's exit status.
inline int Complain(const ToolIo& io, absl::string_view tool, const absl::Status& status) {
  Print(io.err, "skipserve " + std::string(tool) + ": " + std::string(status.message()) + "\n");
  return 1;
}

// The exit status of a tool that did its work: a failure where its results are lost, as on a full
// disk.
inline int Done(const ToolIo& io, absl::string_view tool) {
  if (std::ferror(io.out) == 0) return 0;
  return Complain(io, tool, absl::DataLossError("the output could not be written"));
}

}  // namespace skipserve
