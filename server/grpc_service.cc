// See the header.
#include "server/grpc_service.h"

#include <boost/asio/post.hpp>
#include <chrono>
#include <memory>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/status_macros.h"
#include "server/completion.h"
#include "server/convert_proto.h"
#include "server/grpc_generate.h"
#include "server/log.h"
#include "server/status.h"

namespace skipserve {
namespace {

constexpr char kEndpoint[] = "grpc";

absl::Time Deadline(const grpc::CallbackServerContext& context) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteFuture();
  return absl::FromChrono(deadline);
}

struct ReadCall {
  GenerateRequest request;
  int n = 1;
};

absl::StatusOr<ReadCall> Read(const v1::GenerateRequest& proto, const Engine& engine,
                              const std::string& served_name, absl::Time deadline) {
  if (!proto.model().empty() && proto.model() != "default" && proto.model() != served_name) {
    return absl::NotFoundError(
        absl::StrCat("model: there is only '", served_name, "' (or 'default') here"));
  }
  ReadCall call;
  ASSIGN_OR_RETURN(call.n, ChoicesFromProto(proto));
  ASSIGN_OR_RETURN(call.request, RequestFromProto(proto, engine.info()));
  ASSIGN_OR_RETURN(call.request.prompt, PromptFromProto(proto, engine));
  if (!proto.sampling().has_seed()) {
    call.request.sampling.seed = absl::Uniform<uint64_t>(absl::BitGen());
  }
  call.request.deadline = deadline;
  return call;
}

// A call that never became a Completion.
void CountRefused(Metrics& metrics, const std::string& id, const absl::Status& status) {
  metrics.CallEnded(kEndpoint, status, absl::ZeroDuration());
  LogEvent(spdlog::level::info, {{"event", "request"},
                                 {"id", id},
                                 {"endpoint", kEndpoint},
                                 {"outcome", std::string(OutcomeLabel(status))}});
}

}  // namespace

GrpcService::GrpcService(Engine& engine, Metrics& metrics, std::string served_name, int workers)
    : engine_(engine),
      metrics_(metrics),
      served_name_(std::move(served_name)),
      workers_(static_cast<size_t>(workers)) {}

grpc::ServerWriteReactor<v1::GenerateResponse>* GrpcService::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  const absl::Time deadline = Deadline(*context);
  std::string id = absl::StrFormat("gen-%016x", absl::Uniform<uint64_t>(absl::BitGen()));
  std::shared_ptr<GenerateStream> stream = GenerateStream::Create(id, deadline);
  // gRPC keeps `request` until the stream ends, which it does not before Started.
  boost::asio::post(workers_, [this, request, deadline, stream, id = std::move(id)] {
    absl::StatusOr<ReadCall> call = Read(*request, engine_, served_name_, deadline);
    if (!call.ok()) {
      CountRefused(metrics_, id, call.status());
      return stream->Started(call.status());
    }
    stream->ExpectChoices(call->n);
    stream->Started(Completion::Start(engine_, metrics_, std::move(call->request), call->n,
                                      {id, kEndpoint}, stream));
  });
  return stream.get();
}

grpc::ServerUnaryReactor* GrpcService::Tokenize(grpc::CallbackServerContext* context,
                                                const v1::TokenizeRequest* request,
                                                v1::TokenizeResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  boost::asio::post(workers_, [this, request, response, reactor] {
    const absl::StatusOr<std::vector<int32_t>> ids = PromptFromProto(*request, engine_);
    if (ids.ok()) {
      response->mutable_token_ids()->Assign(ids->begin(), ids->end());
      for (const int32_t id : *ids) {
        response->add_token_bytes(std::string(engine_.tokenizer().TokenBytes(id)));
      }
    }
    reactor->Finish(ToGrpcStatus(ids.status()));
  });
  return reactor;
}

grpc::ServerUnaryReactor* GrpcService::Detokenize(grpc::CallbackServerContext* context,
                                                  const v1::DetokenizeRequest* request,
                                                  v1::DetokenizeResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  boost::asio::post(workers_, [this, request, response, reactor] {
    const absl::Status status =
        CheckTokenIds(request->token_ids(), "token_ids", engine_.info().config.vocab_size);
    if (status.ok()) {
      response->set_text(
          engine_.tokenizer().Decode(request->token_ids(), !request->show_special_tokens()));
    }
    reactor->Finish(ToGrpcStatus(status));
  });
  return reactor;
}

grpc::ServerUnaryReactor* GrpcService::GetModelInfo(grpc::CallbackServerContext* context,
                                                    const v1::GetModelInfoRequest* /*request*/,
                                                    v1::GetModelInfoResponse* response) {
  ModelInfoToProto(engine_.info(), response);
  response->set_served_name(served_name_);
  response->set_has_chat_template(engine_.chat_template() != nullptr);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* GrpcService::GetLoad(grpc::CallbackServerContext* context,
                                               const v1::GetLoadRequest* /*request*/,
                                               v1::GetLoadResponse* response) {
  LoadToProto(engine_.load(), response);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace skipserve
