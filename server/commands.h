// The program's five commands. Each returns the process's exit code: 0, or 1 after one clear line
// on standard error.
#pragma once

#include "server/options.h"

namespace skipserve {

int RunServe(const Options& options);
int RunGenerate(const Options& options);
int RunCalibrate(const Options& options);
int RunInspect(const Options& options);
int RunBench(const Options& options);
int RunEval(const Options& options);

}  // namespace skipserve
