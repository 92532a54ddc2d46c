// What one request cost, for people: a few lines, or several runs side by side. Pure functions; the
// same facts as JSON are openai_report.h's.
#pragma once

#include <string>
#include <vector>

#include "server/openai_error.h"
#include "server/run_request.h"

namespace skipserve {

// "balanced", or "off (prompts under 1,024 tokens run dense)".
std::string LevelText(const Report& report);

std::string ReportText(const Report& report);

// Side by side, a column for each run under its title, the answers first. With two runs or more the
// last column's gain in time to the first token over the first one's is the last line.
std::string CompareText(const std::vector<std::string>& titles,
                        const std::vector<RunOutcome>& outcomes, int width);

// {"text", "token_ids", "finish_reason", "usage", "skip", "timings"}; the status if it is not OK.
OrderedJson OutcomeJson(const RunOutcome& outcome);

}  // namespace skipserve
