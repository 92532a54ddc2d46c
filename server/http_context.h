// What all connections and handlers of one HTTP server share. Thread-safe: everything that changes
// is atomic.
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "engine/engine.h"
#include "server/http_body_budget.h"
#include "server/http_server.h"
#include "server/metrics.h"
#include "server/openai_error.h"

namespace skipserve {

struct HttpContext {
  HttpContext(Engine& engine_in, Metrics& metrics_in, HttpOptions options_in);

  bool IsModelName(absl::string_view name) const;  // as MeansModel
  ApiError NoSuchModel(absl::string_view name) const;

  Engine& engine;
  Metrics& metrics;
  const HttpOptions options;
  const int64_t created;  // Unix seconds, of the server's start
  HttpBodyBudget bodies;
  std::atomic<bool> ready{true};
  std::atomic<bool> stopping{false};
  // Parsing and tokenizing a long document takes a while; it must not hold up other clients'
  // streams.
  boost::asio::thread_pool workers;
};

}  // namespace skipserve
