// A real text with lines planted in it. Internal to this folder. Plain functions.
#pragma once

#include <string>
#include <vector>

#include "engine/quality/prompt_fit.h"

namespace skipserve {

struct PlantedLine {
  double depth = 0;  // 0 is the document's beginning, 1 its end
  std::string line;
};

// The text grows by words; the lines stay at their depths, each at a line's beginning.
Growing PlantedDocument(std::string text, std::vector<PlantedLine> lines);

}  // namespace skipserve
