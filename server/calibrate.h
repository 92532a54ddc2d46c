// `skipserve calibrate`: builds a model's skip file from texts and puts it beside the model: the
// FFN proxies, and levels found by search and measured on held-out tasks.
#pragma once

#include <string>
#include <vector>

#include "engine/quality/find_levels.h"
#include "engine/skip/calibrate.h"
#include "server/tool_io.h"

namespace skipserve {

struct CalibrateJob {
  CalibrateOptions calibrate;
  bool no_search = false;  // the ready levels of the model instead of a search
  std::string dtype = "auto";
  std::string kv_dtype = "auto";
  // Of gentle, balanced and fast.
  std::vector<double> min_speedups = {1.5, 2.1, 2.6};
  std::vector<double> max_kls = {0.03, 0.08, 0.15};
  FindLevelsOptions find;          // targets and journal are set from the rest
  std::vector<std::string> texts;  // files and folders
  std::string out;                 // "": SkipFilePath of the model
};

// The process's exit status. Whatever happens, an older file is replaced whole or not at all.
int CalibrateModel(const CalibrateJob& job, const ToolIo& io);

}  // namespace skipserve
