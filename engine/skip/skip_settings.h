// A model's skip settings: its levels, and which of them acts by default. Plain values; where they
// come from is ready_settings.h's and skip_file.h's business.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/skip/level_figures.h"
#include "engine/skip/policy.h"

namespace skipserve {

// A policy with a name. The figures are of this very policy: whoever changes it drops them.
struct SkipLevel {
  std::string name;
  SkipPolicy policy;
  LevelFigures figures = {};  // empty: nobody has measured it

  bool operator==(const SkipLevel&) const = default;
};

struct SkipSettings {
  std::string default_level = "off";  // "off", or the name of a level
  int64_t min_prompt = 0;             // tokens; shorter prompts run dense in mode auto
  // From gentle to fast: a level loses no more than those after it, and saves no more. The order
  // counts: it is shown as it is, and who looks for something gentler looks to the front.
  std::vector<SkipLevel> levels;

  // Null where there is no such level.
  const SkipLevel* Find(const std::string& name) const;
  bool operator==(const SkipSettings&) const = default;
};

}  // namespace skipserve
