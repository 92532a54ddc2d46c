// What a command line says, handed to the parts that do it.
#include "server/commands.h"

#include <signal.h>
#include <unistd.h>

#include <iostream>
#include <memory>
#include <vector>

#include "absl/synchronization/notification.h"
#include "engine/open.h"
#include "server/interrupt.h"
#include "server/serve.h"
#include "server/serve_observers.h"
#include "spdlog/spdlog.h"

namespace skipserve {
namespace {

int Fail(const absl::Status& status) {
  std::cerr << "skipserve: " << status.message() << std::endl;
  return 1;
}

}  // namespace

int RunServe(const Options& options) {
  absl::Notification stop;
  // Nobody is served while the model is loaded, so nobody has to be waited for.
  Interrupt signals([] {
    spdlog::info("stopped before the model was loaded");
    _exit(0);
  });
  signal(SIGPIPE, SIG_IGN);  // whoever read our output may have gone; the clients have not
  const auto observers = ServeObservers::Create(options.serve.record_trace);
  if (!observers.ok()) return Fail(observers.status());
  EngineOptions engine_options = options.engine;
  engine_options.observer = &(*observers)->all();
  absl::StatusOr<std::unique_ptr<Engine>> engine = OpenEngine(engine_options);
  absl::Status status = engine.status();
  signals.OnInterrupt([&stop] { stop.Notify(); });
  if (status.ok()) {
    status = ServeEngine(**engine, (*observers)->metrics(), options.engine.model_path,
                         options.serve, std::cout, [&stop] { stop.WaitForNotification(); });
  }
  return status.ok() ? 0 : Fail(status);
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
  job.kv_dtype = options.engine.kv_dtype;
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
  job.lab.kv_dtype = options.engine.kv_dtype;
  job.lab.skip_file = options.engine.skip_file;
  job.lab.threads = options.engine.threads;
  return Eval(job, {});
}

}  // namespace skipserve
