// What a level was measured to cost beside dense reading, by prompt length, and its JSON form.
// Nothing is measured here and nothing computed from a policy. Plain values; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"

namespace skipserve {

// Over held-out prompts of about one length. Doubles are means over the prompts.
struct LengthFigures {
  int64_t prompt_tokens = 0;  // 1 .. 2^30
  int64_t cases = 0;          // prompts measured; 1 .. 2^30
  double flop_bound = 1;      // dense prefill FLOPs / the level's
  double kl = 0;              // nats per token, dense to the level, along dense's own answers; >= 0
  double agreement = 1;       // share of greedy tokens equal to dense's; 0 .. 1
  int64_t facts_found = 0;
  int64_t facts_asked = 0;  // those that dense answers; 0: none were asked for

  bool operator==(const LengthFigures&) const = default;
};

struct LevelFigures {
  std::vector<LengthFigures> lengths;   // ascending; empty: not measured, and so is all the rest
  std::vector<std::string> weak_tasks;  // such as "counting": where it loses more than elsewhere
  std::string measured_on;              // model, data type and texts, in words

  bool measured() const { return !lengths.empty(); }
  // Those of the nearest length by ratio, the shorter of two as near; null if not measured.
  const LengthFigures* Near(int64_t prompt_tokens) const;

  bool operator==(const LevelFigures&) const = default;
};

// INVALID_ARGUMENT naming the field that is wrong. Figures without lengths must be empty.
absl::Status ValidateFigures(const LevelFigures& figures);

// From and to JSON, by the field names above. All fields must be there, and "lengths" must have an
// entry: what is not measured has no figures. Checked as by ValidateFigures; unknown fields are
// errors.
absl::StatusOr<LevelFigures> FiguresFromJson(const nlohmann::json& json);
nlohmann::json FiguresToJson(const LevelFigures& figures);

}  // namespace skipserve
