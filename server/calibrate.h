// `skipserve calibrate`: builds a model's skip file from texts and puts it beside the model.
#pragma once

#include <string>
#include <vector>

#include "engine/skip/calibrate.h"
#include "server/tool_io.h"

namespace skipserve {

struct CalibrateJob {
  CalibrateOptions calibrate;
  std::vector<std::string> texts;  // files and folders
  std::string out;                 // "": SkipFilePath of the model
};

// The process's exit status. Whatever happens, an older file is replaced whole or not at all.
int CalibrateModel(const CalibrateJob& job, const ToolIo& io);

}  // namespace skipserve
