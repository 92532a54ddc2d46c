// See the header.
#include "server/serve.h"

#include <memory>
#include <thread>
#include <utility>

#include "absl/time/time.h"
#include "engine/status_macros.h"
#include "server/grpc_server.h"
#include "server/host_port.h"
#include "server/http_server.h"
#include "server/model_name.h"
#include "spdlog/spdlog.h"

namespace skipserve {
namespace {

absl::StatusOr<std::unique_ptr<GrpcServer>> StartGrpc(Engine& engine, Metrics& metrics,
                                                      const ServeOptions& options,
                                                      const std::string& model_path) {
  GrpcOptions grpc = options.grpc;
  grpc.host = options.host;
  grpc.port = options.grpc_port;
  grpc.served_name = options.served_name;
  grpc.model_path = model_path;
  return GrpcServer::Start(engine, metrics, grpc);
}

absl::StatusOr<std::unique_ptr<HttpServer>> StartHttp(Engine& engine, Metrics& metrics,
                                                      const ServeOptions& options,
                                                      const std::string& model_path) {
  HttpOptions http = options.http;
  http.host = options.host;
  http.port = options.http_port;
  http.served_name = options.served_name;
  http.model_path = model_path;
  return HttpServer::Start(engine, metrics, std::move(http));
}

void PrintReady(const Engine& engine, const ServeOptions& options, uint16_t http_port,
                uint16_t grpc_port, std::ostream& out) {
  const ModelInfo& info = engine.info();
  out << "SkipServe is ready: " << options.served_name << ", " << info.dtype << " with KV in "
      << info.kv_dtype << " on " << info.backend << ", context " << info.max_context
      << " tokens, skipping " << info.default_skip_level << "\n  http://"
      << HostPort(options.host, http_port) << "\n  grpc://" << HostPort(options.host, grpc_port)
      << std::endl;
}

}  // namespace

absl::Status ServeEngine(Engine& engine, Metrics& metrics, const std::string& model_path,
                         ServeOptions options, std::ostream& out,
                         const std::function<void()>& wait) {
  if (options.served_name.empty()) options.served_name = ServedName(model_path);
  if (!options.api_keys_file.empty()) {
    ASSIGN_OR_RETURN(options.http.api_keys, ApiKeys::Read(options.api_keys_file));
    options.grpc.api_keys = options.http.api_keys;
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<GrpcServer> grpc,
                   StartGrpc(engine, metrics, options, model_path));
  ASSIGN_OR_RETURN(const std::unique_ptr<HttpServer> http,
                   StartHttp(engine, metrics, options, model_path));
  PrintReady(engine, options, http->port(), grpc->port(), out);
  wait();
  spdlog::info("stopping; running answers have {} s", options.drain_seconds);
  grpc->SetServing(false);
  http->SetReady(false);
  engine.Drain(absl::Seconds(options.drain_seconds));
  // What the engine has given out may still be on its way to slow readers, at both doors at once.
  const absl::Duration grace = absl::Seconds(options.stop_seconds);
  std::thread stop_http([&] { http->Stop(grace); });
  grpc->Stop(grace);
  stop_http.join();
  spdlog::info("stopped");
  return absl::OkStatus();
}

}  // namespace skipserve
