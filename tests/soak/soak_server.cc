// `skipserve serve` on a backend with faults, which at its end prints what it has kept count of:
//
//   soak_server FAULT_RATE SEED MODEL [flags of serve]
#include <signal.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <vector>

#include "absl/synchronization/notification.h"
#include "engine/open.h"
#include "nlohmann/json.hpp"
#include "server/flags.h"
#include "server/interrupt.h"
#include "server/log.h"
#include "server/serve.h"
#include "server/serve_observers.h"
#include "tests/soak/faulty_ops.h"
#include "tests/soak/watched_engine.h"

namespace skipserve::soak {
namespace {

int Fail(const absl::Status& status) {
  std::cerr << "soak_server: " << status << std::endl;
  return 1;
}

void PrintLedger(const WatchedEngine& engine, const FaultyOps& ops) {
  const Ledger ledger = engine.ledger();
  const EngineLoad load = engine.load();
  const nlohmann::ordered_json line = {{"taken", ledger.taken},
                                       {"ended", ledger.ended},
                                       {"ended_twice", ledger.ended_twice},
                                       {"said_after_end", ledger.said_after_end},
                                       {"never_ended", ledger.never_ended},
                                       {"miscounted", ledger.miscounted},
                                       {"cancelled_late", ledger.cancelled_late},
                                       {"kv_blocks_used", load.kv_blocks_used},
                                       {"kv_blocks_reserved", load.kv_blocks_reserved},
                                       {"preemptions", load.preemptions},
                                       {"prefix_evictions", load.prefix_evictions},
                                       {"faults", ops.counts()}};
  std::cout << "LEDGER " << line.dump() << std::endl;
}

int Main(int argc, char** argv) {
  if (argc < 4) {
    std::cerr << "soak_server FAULT_RATE SEED MODEL [flags]" << std::endl;
    return 2;
  }
  Options options;
  absl::Status status = ParseOptions(kServe, {argv + 3, argv + argc}, &options);
  if (status.ok()) status = SetUpLogging(options.log_level, options.log_format);
  if (!status.ok()) return Fail(status);

  absl::Notification stop;
  Interrupt signals([&stop] { stop.Notify(); });
  signal(SIGPIPE, SIG_IGN);
  const auto observers = ServeObservers::Create(options.serve.record_trace);
  if (!observers.ok()) return Fail(observers.status());
  options.engine.observer = &(*observers)->all();
  auto made = std::make_unique<FaultyOps>(options.engine.threads > 0 ? options.engine.threads : 2,
                                          std::atof(argv[1]), std::strtoull(argv[2], nullptr, 10));
  FaultyOps& ops = *made;
  const auto engine = OpenEngine(options.engine, std::move(made));
  if (!engine.ok()) return Fail(engine.status());
  ops.Arm();
  WatchedEngine watched(**engine);
  status = ServeEngine(watched, (*observers)->metrics(), options.engine.model_path, options.serve,
                       std::cout, [&stop] { stop.WaitForNotification(); });
  for (const PrefixInfo& prefix : watched.Prefixes("")) {
    status.Update(watched.DropPrefix("", prefix.name));
  }
  if (!status.ok()) return Fail(status);
  PrintLedger(watched, ops);
  return 0;
}

}  // namespace
}  // namespace skipserve::soak

int main(int argc, char** argv) { return skipserve::soak::Main(argc, argv); }
