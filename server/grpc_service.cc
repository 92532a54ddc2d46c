// See the header.
#include "server/grpc_service.h"

#include <boost/asio/post.hpp>
#include <chrono>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/status_macros.h"
#include "server/completion.h"
#include "server/convert_proto.h"
#include "server/grpc_generate.h"
#include "server/grpc_messages.h"
#include "server/grpc_prefix.h"
#include "server/model_name.h"
#include "server/prompt.h"
#include "server/status.h"

namespace skipserve {
namespace {

constexpr char kEndpoint[] = "grpc";
constexpr char kPrefixEndpoint[] = "grpc/ReadPrefix";

absl::Time Deadline(const grpc::CallbackServerContext& context) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteFuture();
  return absl::FromChrono(deadline);
}

// What it throws becomes the call's end.
template <typename T>
absl::StatusOr<T> Guarded(const std::function<absl::StatusOr<T>()>& work) {
  try {
    return work();
  } catch (const std::exception& error) {
    return StatusFromException(error, kEndpoint);
  }
}

absl::Status CheckModel(const std::string& name, const GrpcOptions& options) {
  if (MeansModel(name, options.served_name, options.model_path)) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat("model: there is only '", options.served_name, "' (or 'default') here"));
}

absl::StatusOr<CompletionRequest> ReadCall(const grpc::ByteBuffer& bytes, const Engine& engine,
                                           const GrpcOptions& options, absl::Time deadline) {
  ASSIGN_OR_RETURN(const auto proto, FromBytes<v1::GenerateRequest>(bytes));
  RETURN_IF_ERROR(CheckModel(proto.model(), options));
  CompletionRequest call;
  ASSIGN_OR_RETURN(call.n, ChoicesFromProto(proto));
  ASSIGN_OR_RETURN(call.generate, RequestFromProto(proto, engine.info()));
  ASSIGN_OR_RETURN(call.prompts.emplace_back(), PromptFromProto(proto, engine));
  if (!proto.sampling().has_seed()) call.generate.sampling.seed = NewSeed();
  call.generate.deadline = deadline;
  return call;
}

absl::StatusOr<PrefixRequest> ReadPrefixCall(const grpc::ByteBuffer& bytes, const Engine& engine,
                                             const GrpcOptions& options) {
  ASSIGN_OR_RETURN(const auto proto, FromBytes<v1::ReadPrefixRequest>(bytes));
  RETURN_IF_ERROR(CheckModel(proto.model(), options));
  return PrefixFromProto(proto, engine);
}

// The client's name by its key, as ApiKeys::Client.
absl::StatusOr<std::string> ClientOf(const grpc::CallbackServerContext& context,
                                     const GrpcOptions& options) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find("authorization");
  if (found == metadata.end()) return options.api_keys.Client("");
  return options.api_keys.Client({found->second.data(), found->second.size()});
}

// gRPC's default reactor, but one that tells when it is done.
class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  explicit UnaryCall(std::function<void()> on_done) : on_done_(std::move(on_done)) {}
  void OnDone() override {
    on_done_();
    delete this;
  }

 private:
  const std::function<void()> on_done_;
};

}  // namespace

GrpcService::GrpcService(Engine& engine, Metrics& metrics, const GrpcOptions& options)
    : engine_(engine),
      metrics_(metrics),
      options_(options),
      workers_(static_cast<size_t>(options.worker_threads)) {}

std::function<void()> GrpcService::Open() {
  absl::MutexLock lock(&mutex_);
  ++open_;
  return [this] {
    absl::MutexLock lock(&mutex_);
    --open_;
  };
}

bool GrpcService::AwaitIdle(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return open_ == 0; };
  return mutex_.AwaitWithTimeout(absl::Condition(&idle), timeout);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* GrpcService::Generate(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  const absl::Time begun = absl::Now();
  const absl::Time deadline = Deadline(*context);
  CompletionContext about{NewCallId("gen"), kEndpoint};
  std::shared_ptr<GenerateStream> stream = GenerateStream::Create(about.id, deadline, Open());
  // gRPC keeps `context` and `request` until the stream ends, which it does not before Started.
  boost::asio::post(
      workers_, [this, context, request, begun, deadline, stream, about = std::move(about)] {
        auto call = Guarded<CompletionRequest>([&]() -> absl::StatusOr<CompletionRequest> {
          ASSIGN_OR_RETURN(const std::string client, ClientOf(*context, options_));
          ASSIGN_OR_RETURN(CompletionRequest read, ReadCall(*request, engine_, options_, deadline));
          // A key says whose it is; without keys the caller's word is good enough.
          RETURN_IF_ERROR(options_.api_keys.Claim(client, read.generate));
          return read;
        });
        if (!call.ok()) {
          CountRefused(metrics_, about, call.status(), absl::Now() - begun);
          return stream->Started(call.status());
        }
        stream->ExpectChoices(call->n);
        auto completion = Completion::Start(engine_, metrics_, *std::move(call), about, stream);
        if (absl::IsResourceExhausted(completion.status())) {
          context->AddTrailingMetadata("retry-after", RetrySeconds(engine_.RetryAfter()));
        }
        stream->Started(std::move(completion));
      });
  return stream.get();
}

grpc::ServerUnaryReactor* GrpcService::AnswerOnWorker(grpc::CallbackServerContext* context,
                                                      grpc::ByteBuffer* response, AnswerTo answer) {
  auto* reactor = new UnaryCall(Open());
  boost::asio::post(workers_, [this, context, response, reactor, answer = std::move(answer)] {
    Answer bytes = Guarded<grpc::ByteBuffer>([&]() -> Answer {
      ASSIGN_OR_RETURN(const std::string client, ClientOf(*context, options_));
      return answer(client);
    });
    const grpc::Status status = ToGrpcStatus(bytes.status());
    if (bytes.ok()) *response = *std::move(bytes);
    reactor->Finish(status);
  });
  return reactor;
}

grpc::ServerUnaryReactor* GrpcService::AnswerAtOnce(
    grpc::CallbackServerContext* context, const std::function<void(const std::string&)>& answer) {
  const absl::StatusOr<std::string> client = ClientOf(*context, options_);
  if (client.ok()) answer(*client);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(client.status()));
  return reactor;
}

grpc::ServerUnaryReactor* GrpcService::Tokenize(grpc::CallbackServerContext* context,
                                                const grpc::ByteBuffer* request,
                                                grpc::ByteBuffer* response) {
  return AnswerOnWorker(
      context, response, [this, request](const std::string& /*client*/) -> Answer {
        ASSIGN_OR_RETURN(const auto proto, FromBytes<v1::TokenizeRequest>(*request));
        ASSIGN_OR_RETURN(const std::vector<int32_t> ids, PromptFromProto(proto, engine_));
        v1::TokenizeResponse tokens;
        tokens.mutable_token_ids()->Assign(ids.begin(), ids.end());
        for (const int32_t id : ids) {
          tokens.add_token_bytes(std::string(engine_.tokenizer().TokenBytes(id)));
        }
        return ToBytes(tokens);
      });
}

grpc::ServerUnaryReactor* GrpcService::Detokenize(grpc::CallbackServerContext* context,
                                                  const grpc::ByteBuffer* request,
                                                  grpc::ByteBuffer* response) {
  return AnswerOnWorker(
      context, response, [this, request](const std::string& /*client*/) -> Answer {
        ASSIGN_OR_RETURN(const auto proto, FromBytes<v1::DetokenizeRequest>(*request));
        RETURN_IF_ERROR(
            CheckTokenIds(proto.token_ids(), "token_ids", engine_.info().config.vocab_size));
        v1::DetokenizeResponse text;
        text.set_text(engine_.tokenizer().Decode(proto.token_ids(), !proto.show_special_tokens()));
        return ToBytes(text);
      });
}

grpc::ServerUnaryReactor* GrpcService::GetModelInfo(grpc::CallbackServerContext* context,
                                                    const v1::GetModelInfoRequest* /*request*/,
                                                    v1::GetModelInfoResponse* response) {
  return AnswerAtOnce(context, [&](const std::string& /*client*/) {
    ModelInfoToProto(engine_.info(), response);
    response->set_served_name(options_.served_name);
    response->set_has_chat_template(engine_.chat_template() != nullptr);
  });
}

grpc::ServerUnaryReactor* GrpcService::GetLoad(grpc::CallbackServerContext* context,
                                               const v1::GetLoadRequest* /*request*/,
                                               v1::GetLoadResponse* response) {
  return AnswerAtOnce(
      context, [&](const std::string& /*client*/) { LoadToProto(engine_.load(), response); });
}

grpc::ServerUnaryReactor* GrpcService::ReadPrefix(grpc::CallbackServerContext* context,
                                                  const grpc::ByteBuffer* request,
                                                  grpc::ByteBuffer* response) {
  const absl::Time begun = absl::Now();
  CompletionContext about{NewCallId("prefix"), kPrefixEndpoint};
  std::shared_ptr<PrefixCall> call = PrefixCall::Create(engine_, workers_, response, Open());
  boost::asio::post(workers_, [this, context, request, begun, call, about = std::move(about)] {
    auto prefix = Guarded<PrefixRequest>([&]() -> absl::StatusOr<PrefixRequest> {
      ASSIGN_OR_RETURN(const std::string client, ClientOf(*context, options_));
      ASSIGN_OR_RETURN(PrefixRequest read, ReadPrefixCall(*request, engine_, options_));
      read.client = read.tenant = client;
      return read;
    });
    if (prefix.ok()) return call->Read(metrics_, about, *std::move(prefix));
    CountRefused(metrics_, about, prefix.status(), absl::Now() - begun);
    call->Refuse(prefix.status());
  });
  return call.get();
}

grpc::ServerUnaryReactor* GrpcService::ListPrefixes(grpc::CallbackServerContext* context,
                                                    const v1::ListPrefixesRequest* /*request*/,
                                                    v1::ListPrefixesResponse* response) {
  return AnswerAtOnce(context, [&](const std::string& client) {
    for (const PrefixInfo& info : engine_.Prefixes(client)) {
      PrefixToProto(info, response->add_prefixes());
    }
  });
}

grpc::ServerUnaryReactor* GrpcService::DropPrefix(grpc::CallbackServerContext* context,
                                                  const grpc::ByteBuffer* request,
                                                  grpc::ByteBuffer* response) {
  return AnswerOnWorker(context, response, [this, request](const std::string& client) -> Answer {
    ASSIGN_OR_RETURN(const auto proto, FromBytes<v1::DropPrefixRequest>(*request));
    RETURN_IF_ERROR(engine_.DropPrefix(client, proto.name()));
    return ToBytes(v1::DropPrefixResponse());
  });
}

}  // namespace skipserve
