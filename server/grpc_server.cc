// See the header.
#include "server/grpc_server.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/protobuf/stubs/logging.h"
#include "grpc/support/log.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "server/grpc_service.h"
#include "server/host_port.h"
#include "spdlog/spdlog.h"

namespace skipserve {
namespace {

// gRPC's own lines are for who looks into its workings; what they mean for us comes back as a
// status.
void LogForGrpc(gpr_log_func_args* args) {
  spdlog::debug("grpc: {} ({}:{})", args->message, args->file, args->line);
}

// Of bytes that are no message, which their sender is told, and which are no trouble of ours.
void LogForProtobuf(google::protobuf::LogLevel /*level*/, const char* file, int line,
                    const std::string& message) {
  spdlog::debug("protobuf: {} ({}:{})", message, file, line);
}

void Configure(const GrpcOptions& options, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(options.max_message_mb << 20);
  builder.SetMaxSendMessageSize(-1);  // a report of all rows is as large as it was asked for
  // Two servers on one port would each get some of the calls; better an error at start.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // A client that pings through minutes of silent prefill is right to, and must not be cut off.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // And a client that vanished without a word must not keep its work running.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
}

}  // namespace

class GrpcServer::Impl {
 public:
  Impl(Engine& engine, Metrics& metrics, const GrpcOptions& options)
      : service(engine, metrics, options) {}

  GrpcService service;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
};

GrpcServer::GrpcServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GrpcServer::~GrpcServer() { Stop(absl::ZeroDuration()); }

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(Engine& engine, Metrics& metrics,
                                                              const GrpcOptions& options) {
  gpr_set_log_function(LogForGrpc);
  google::protobuf::SetLogHandler(LogForProtobuf);
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  auto impl = std::make_unique<Impl>(engine, metrics, options);
  const std::string address = HostPort(options.host, options.port);
  grpc::ServerBuilder builder;
  Configure(options, builder);
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &impl->port);
  builder.RegisterService(&impl->service);
  impl->server = builder.BuildAndStart();
  if (impl->server == nullptr || impl->port == 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen for gRPC on ", address,
                                               ": the port is taken or the address is not ours"));
  }
  std::unique_ptr<GrpcServer> server(new GrpcServer(std::move(impl)));
  server->SetServing(true);
  return server;
}

uint16_t GrpcServer::port() const { return static_cast<uint16_t>(impl_->port); }

void GrpcServer::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* health = impl_->server->GetHealthCheckService();
  health->SetServingStatus("", serving);
  health->SetServingStatus(v1::SkipServe::service_full_name(), serving);
}

void GrpcServer::Stop(absl::Duration grace) {
  if (impl_->server == nullptr) return;
  // Shutdown alone would wait for watchers of our health too, who never leave by themselves.
  impl_->service.AwaitIdle(grace);
  impl_->server->Shutdown(absl::ToChronoTime(absl::Now()));
  impl_->server->Wait();
  impl_->server.reset();
}

}  // namespace skipserve
