// `skipserve calibrate`'s search, whole: tasks, search, and the figures of what was found, measured
// on held-out tasks. One thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/quality/documents.h"
#include "engine/quality/lab.h"
#include "engine/quality/measurer.h"
#include "engine/quality/search.h"
#include "engine/skip/skip_settings.h"

namespace skipserve {

struct FindLevelsOptions {
  std::vector<LevelTarget> targets = {
      {"gentle", 1.5, 0.03}, {"balanced", 2.1, 0.08}, {"fast", 2.6, 0.15}};
  int64_t tokens = 2048;        // of the search's prompts; less where the context is shorter
  int64_t facts = 8;            // that the search is made on
  int64_t held_out_cases = 12;  // facts at each length that the figures are of
  uint64_t seed = 1;
  std::string journal_path;  // "": an interrupted search begins anew
};

struct FoundLevels {
  SkipSettings settings;
  std::vector<Candidate> front;      // the best that the search measured at every speed
  std::vector<std::string> remarks;  // targets that were not met, levels left out: for people
};

// The texts are split: the search sees one half, the figures are of the other. NOT_FOUND where they
// are too few or too short, FAILED_PRECONDITION where no setting keeps any target's quality.
absl::StatusOr<FoundLevels> FindLevels(Lab& lab, const std::vector<Document>& documents,
                                       const FindLevelsOptions& options, const Progress& progress);

// Figures of levels by length and the names of tasks where they are weak, on held-out tasks.
absl::Status MeasureLevels(const TaskMaker& maker, Measurer& measurer,
                           const std::vector<int64_t>& lengths, int64_t cases, uint64_t seed,
                           const std::string& measured_on, const Progress& progress,
                           std::vector<SkipLevel>& levels);

}  // namespace skipserve
