// A model's skip levels, for people: what each would save by arithmetic, and what it was measured
// to cost. Pure functions; the same as JSON is openai_models.h's.
#pragma once

#include <string>
#include <vector>

#include "engine/engine.h"

namespace skipserve {

std::string LevelsText(const std::vector<SkipLevelInfo>& levels, const std::string& default_level);

}  // namespace skipserve
