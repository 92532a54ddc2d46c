// The gRPC server: its port, its connections' limits, health and reflection. The engine and the
// metrics must outlive it. Its methods may be called from any thread but gRPC's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/engine.h"
#include "server/api_keys.h"
#include "server/metrics.h"

namespace skipserve {

struct GrpcOptions {
  std::string host = "127.0.0.1";  // a name or an address
  uint16_t port = 0;               // 0: a free one; port() tells
  std::string served_name;         // the model's name for clients
  std::string model_path;          // its last part is accepted as a name too
  int worker_threads = 2;          // for tokenizing
  ApiKeys api_keys;
  int max_message_mb = 64;  // a prompt of a million tokens takes 5 as text
};

class GrpcServer {
 public:
  // Listens and is healthy when it returns. UNAVAILABLE where the address cannot be had.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(Engine& engine, Metrics& metrics,
                                                           const GrpcOptions& options);
  ~GrpcServer();  // Stop with no grace

  uint16_t port() const;

  // What grpc.health.v1 says, of the whole server and of skipserve.v1.SkipServe. Calls are not
  // affected.
  void SetServing(bool serving);

  // Gives calls of skipserve.v1 `grace` to end (drain the engine first, so that they can, and no
  // new ones begin), then cancels what is left, watches of the health too. Returns when none is
  // left.
  void Stop(absl::Duration grace);

 private:
  class Impl;
  explicit GrpcServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace skipserve
