// `skipserve inspect`: what a model is and what skipping could gain on it; and, for a document and
// a question, one page that shows how deep each token was computed.
#pragma once

#include <string>

#include "engine/open.h"
#include "server/tool_input.h"
#include "server/tool_io.h"

namespace skipserve {

struct InspectJob {
  EngineOptions engine;
  Question question;          // for the page
  std::string skip = "auto";  // as ParseSkip takes it
  int64_t max_tokens = 64;    // of the answer on the page
  std::string html;           // where the page goes; "": the model's facts alone, no weights loaded
  bool json = false;
};

// The process's exit status.
int Inspect(const InspectJob& job, const ToolIo& io);

}  // namespace skipserve
