// See the header.
#include "server/serve.h"

#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "engine/status_macros.h"
#include "server/grpc_server.h"
#include "server/http_server.h"
#include "spdlog/spdlog.h"

namespace skipserve {
namespace {

std::string Address(absl::string_view scheme, const std::string& host, uint16_t port) {
  const bool v6 = absl::StrContains(host, ':') && !absl::StartsWith(host, "[");
  return absl::StrCat(scheme, "://", v6 ? "[" : "", host, v6 ? "]" : "", ":", port);
}

absl::StatusOr<std::unique_ptr<GrpcServer>> StartGrpc(Engine& engine, Metrics& metrics,
                                                      const ServeOptions& options) {
  GrpcOptions grpc = options.grpc;
  grpc.host = options.host;
  grpc.port = options.grpc_port;
  grpc.served_name = options.served_name;
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
  out << "SkipServe is ready: " << options.served_name << ", " << info.dtype << " on "
      << info.backend << ", context " << info.max_context << " tokens, skipping "
      << info.default_skip_level << "\n  " << Address("http", options.host, http_port) << "\n  "
      << Address("grpc", options.host, grpc_port) << std::endl;
}

}  // namespace

std::string ServedName(absl::string_view model_path) {
  while (model_path.size() > 1 && model_path.back() == '/') model_path.remove_suffix(1);
  const absl::string_view file =
      absl::StripSuffix(model_path.substr(model_path.rfind('/') + 1), ".gguf");
  return file.empty() ? "default" : std::string(file);
}

absl::Status ServeEngine(Engine& engine, Metrics& metrics, const std::string& model_path,
                         ServeOptions options, std::ostream& out,
                         const std::function<void()>& wait) {
  if (options.served_name.empty()) options.served_name = ServedName(model_path);
  ASSIGN_OR_RETURN(const std::unique_ptr<GrpcServer> grpc, StartGrpc(engine, metrics, options));
  ASSIGN_OR_RETURN(const std::unique_ptr<HttpServer> http,
                   StartHttp(engine, metrics, options, model_path));
  PrintReady(engine, options, http->port(), grpc->port(), out);
  wait();
  spdlog::info("stopping; running answers have {} s", options.drain_seconds);
  grpc->SetServing(false);
  http->SetReady(false);
  engine.Drain(absl::Seconds(options.drain_seconds));
  // What the engine has given out may still be on its way to slow readers, at both doors at once.
  std::thread stop_http([&] { http->Stop(); });
  grpc->Stop(absl::FromChrono(options.http.stop_timeout));
  stop_http.join();
  spdlog::info("stopped");
  return absl::OkStatus();
}

}  // namespace skipserve
