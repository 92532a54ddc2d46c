// One request run to its end from the command line: submits, hands out text as it comes, collects
// the rest. The text is handed out on the caller's thread, so a slow terminal holds nobody up.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/engine.h"
#include "server/interrupt.h"

namespace skipserve {

struct RunOutcome {
  absl::Status status;  // OK, or CANCELLED after Ctrl-C, or what the engine ended with
  FinishReason reason = FinishReason::kStop;
  std::string text;
  std::vector<int32_t> ids;
  Report report;
};

// An error where the engine refuses the request. `on_text` and `interrupt` may be null.
absl::StatusOr<RunOutcome> RunRequest(Engine& engine, GenerateRequest request,
                                      const std::function<void(absl::string_view)>& on_text,
                                      Interrupt* interrupt);

// New tokens a second after the first; 0 where there was one at most.
double DecodeRate(const Report& report);

}  // namespace skipserve
