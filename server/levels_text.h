// A model's skip levels, for people: what each would save by arithmetic, and what it was measured
// to cost. Pure functions; the same as JSON is openai_models.h's.
#pragma once

#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/skip/skip_settings.h"

namespace skipserve {

// A layered policy in few words: where it starts, its first and last budgets, and how it probes.
std::string PolicyText(const SkipPolicy& policy);

// What levels were measured to cost: a row for each level and length, then what the numbers do not
// say.
std::string MeasuredText(const std::vector<SkipLevel>& levels);

std::string LevelsText(const std::vector<SkipLevelInfo>& levels, const std::string& default_level);

}  // namespace skipserve
