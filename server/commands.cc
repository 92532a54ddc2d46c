// What a command line says, handed to the parts that do it.
#include "server/commands.h"

#include <signal.h>
#include <unistd.h>

#include <iostream>
#include <memory>
#include <vector>

#include "absl/synchronization/notification.h"
#include "engine/open.h"
#include "server/engine_log.h"
#include "server/interrupt.h"
#include "server/metrics.h"
#include "server/serve.h"
#include "spdlog/spdlog.h"

namespace skipserve {

int RunServe(const Options& options) {
  absl::Notification stop;
  // Nobody is served while the model is loaded, so nobody has to be waited for.
  Interrupt signals([] {
    spdlog::info("stopped before the model was loaded");
    _exit(0);
  });
  signal(SIGPIPE, SIG_IGN);  // whoever read our output may have gone; the clients have not
  Metrics metrics;
  EngineOptions engine_options = options.engine;
  EngineLog log(metrics);
  engine_options.observer = &log;
  absl::StatusOr<std::unique_ptr<Engine>> engine = OpenEngine(engine_options);
  absl::Status status = engine.status();
  signals.OnInterrupt([&stop] { stop.Notify(); });
  if (status.ok()) {
    status = ServeEngine(**engine, metrics, options.engine.model_path, options.serve, std::cout,
                         [&stop] { stop.WaitForNotification(); });
  }
  if (status.ok()) return 0;
  std::cerr << "skipserve: " << status.message() << std::endl;
  return 1;
}

int RunGenerate(const Options& options) {
  GenerateJob job = options.generate;
  job.engine = options.engine;
  if (options.compare && job.skips.size() == 1) job.skips.insert(job.skips.begin(), "off");
  return Generate(job, {});
}

int RunCalibrate(const Options& options) {
  CalibrateJob job = options.calibrate;
  job.calibrate.model_path = options.engine.model_path;
  job.calibrate.threads = options.engine.threads;
  job.dtype = options.engine.dtype;
  return CalibrateModel(job, {});
}

int RunInspect(const Options& options) {
  InspectJob job = options.inspect;
  job.engine = options.engine;
  return Inspect(job, {});
}

int RunBench(const Options& options) {
  BenchJob job = options.bench;
  job.engine = options.engine;
  return Bench(job, {});
}

int RunEval(const Options& options) {
  EvalJob job = options.eval;
  job.lab.model_path = options.engine.model_path;
  job.lab.backend = options.engine.backend;
  job.lab.dtype = options.engine.dtype;
  job.lab.skip_file = options.engine.skip_file;
  job.lab.threads = options.engine.threads;
  return Eval(job, {});
}

}  // namespace skipserve
