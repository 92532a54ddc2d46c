// The HTTP front end: OpenAI's API, tokenizing, health and metrics over HTTP/1.1, in front of one
// engine. Owns its threads and connections; the engine and the metrics must outlive it. Its methods
// may be called from any thread but its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/engine.h"
#include "server/api_keys.h"
#include "server/metrics.h"

namespace skipserve {

struct HttpOptions {
  std::string host = "127.0.0.1";  // a name or an address
  uint16_t port = 0;               // 0: a free one; port() tells
  std::string served_name;         // the model's name for clients
  std::string model_path;          // its last part is accepted as a name too
  ApiKeys api_keys;
  bool page = true;  // for people, at /

  int io_threads = 2;
  int worker_threads = 2;  // for parsing and tokenizing
  int max_connections = 1024;
  uint32_t header_limit_bytes = 16 << 10;
  uint64_t body_limit_bytes = uint64_t{64} << 20;
  int64_t body_memory_bytes = int64_t{1} << 30;  // of all request bodies together

  std::chrono::milliseconds header_timeout{10'000};
  std::chrono::milliseconds body_timeout{60'000};   // and a second more for every 64 KiB that came
  std::chrono::milliseconds idle_timeout{75'000};   // between two requests
  std::chrono::milliseconds write_timeout{30'000};  // for a client to take 64 KiB
  std::chrono::milliseconds heartbeat{15'000};      // a silent stream gets a comment this often
};

class HttpServer {
 public:
  // Listens when it returns. UNAVAILABLE where the address cannot be had.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(Engine& engine, Metrics& metrics,
                                                           HttpOptions options);
  ~HttpServer();  // Stop with no grace

  uint16_t port() const;

  // What /ready says; true after Start. Other routes are not affected.
  void SetReady(bool ready);

  // Takes no more requests, gives replies under way `grace` to finish (drain the engine first, so
  // that they can), then cuts them off and cancels their work. Returns when all threads have ended.
  // Once is enough.
  void Stop(absl::Duration grace);

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace skipserve
