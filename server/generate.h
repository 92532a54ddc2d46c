// `skipserve generate`: one question about a document, answered on the terminal; or the same
// question dense and skipping, side by side.
#pragma once

#include <string>
#include <vector>

#include "engine/open.h"
#include "engine/request.h"
#include "server/tool_input.h"
#include "server/tool_io.h"

namespace skipserve {

struct GenerateJob {
  GenerateJob() { sampling.temperature = 0; }  // who asks twice expects one answer

  EngineOptions engine;
  Question question;
  std::vector<std::string> skips = {"auto"};  // each as ParseSkip takes it; several are compared
  SamplingParams sampling;
  StopRules stop;
  bool json = false;
};

// The process's exit status.
int Generate(const GenerateJob& job, const ToolIo& io);

}  // namespace skipserve
