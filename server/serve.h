// Serving: both front ends over an engine, from ready to drained. Apart from `skipserve serve` so
// that it can be run over any engine.
#pragma once

#include <functional>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "engine/engine.h"
#include "server/metrics.h"
#include "server/options.h"

namespace skipserve {

// Listens, prints the addresses to `out`, calls `wait`, and when that returns stops: not ready, no
// new work, the engine drained within options.drain_seconds, and what it gave out on its way to
// slow readers for options.stop_seconds more. UNAVAILABLE where an address cannot be had.
absl::Status ServeEngine(Engine& engine, Metrics& metrics, const std::string& model_path,
                         ServeOptions options, std::ostream& out,
                         const std::function<void()>& wait);

}  // namespace skipserve
