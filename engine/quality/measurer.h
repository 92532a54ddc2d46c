// Evaluates policies on a fixed set of tasks, each pair once: what was measured is kept in a
// journal file, so that a search that was interrupted goes on where it was. One thread at a time.
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/progress.h"
#include "engine/quality/evaluator.h"

namespace skipserve {

class Measurer {
 public:
  // `identity` says what the journal's entries depend on beside task and policy: model, texts,
  // settings. A journal of another identity is begun anew. "": no journal.
  // PERMISSION_DENIED where it cannot be written.
  static absl::StatusOr<std::unique_ptr<Measurer>> Create(Evaluator& evaluator,
                                                          std::string journal_path,
                                                          std::string identity);

  // outcomes[policy][task].
  absl::StatusOr<std::vector<std::vector<Outcome>>> Measure(absl::Span<const Task> tasks,
                                                            absl::Span<const SkipPolicy> policies,
                                                            absl::string_view stage,
                                                            const Progress& progress);

  // The dense outcome of each task.
  absl::StatusOr<std::vector<Outcome>> MeasureDense(absl::Span<const Task> tasks,
                                                    absl::string_view stage,
                                                    const Progress& progress);

 private:
  explicit Measurer(Evaluator& evaluator) : evaluator_(evaluator) {}
  absl::Status Load(const std::string& path, const std::string& identity);
  absl::Status Keep(const std::string& key, const Outcome& outcome);

  Evaluator& evaluator_;
  std::map<std::string, Outcome> known_;  // by task and policy
  std::ofstream journal_;
};

}  // namespace skipserve
