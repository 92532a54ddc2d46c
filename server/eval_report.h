// What an evaluation found, as a table for people and JSON for machines. No measuring here.
#pragma once

#include <string>

#include "server/eval.h"
#include "server/openai_error.h"

namespace skipserve {

std::string EvalTable(const EvalResult& result, const EvalJob& job);

// Settings, every case, and the summaries.
OrderedJson EvalJson(const Lab& lab, const EvalResult& result, const EvalJob& job);

}  // namespace skipserve
