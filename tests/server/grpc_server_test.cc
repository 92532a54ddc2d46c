// What surrounds Generate: the other RPCs, health, reflection, ports, draining and stopping.
#include <fstream>
#include <new>
#include <sstream>
#include <thread>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "grpcpp/impl/codegen/client_unary_call.h"
#include "server/convert_proto.h"
#include "tests/server/grpc_fixture.h"

namespace skipserve {
namespace {

using testing::HasSubstr;

// Health and reflection are spoken in bytes: their messages are tiny, and Debian has no stubs for
// them.
constexpr char kServing[] = "\x08\x01";
constexpr char kNotServing[] = "\x08\x02";

std::string HealthRequest(const std::string& service) {
  return service.empty() ? ""
                         : "\x0a" + std::string(1, static_cast<char>(service.size())) + service;
}

grpc::ByteBuffer ToBuffer(const std::string& bytes) {
  grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

std::string ToString(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

class GrpcServerTest : public GrpcTest {
 protected:
  using Reader = std::unique_ptr<grpc::ClientReader<grpc::ByteBuffer>>;

  // What a server-streaming method gives for one message of bytes.
  Reader Stream(const char* name, const std::string& request, grpc::ClientContext& context) {
    const grpc::internal::RpcMethod method(name, grpc::internal::RpcMethod::SERVER_STREAMING,
                                           channel);
    return Reader(grpc::internal::ClientReaderFactory<grpc::ByteBuffer>::Create(
        channel.get(), method, &context, ToBuffer(request)));
  }

  std::string Health(const std::string& service) {
    const grpc::internal::RpcMethod method("/grpc.health.v1.Health/Check",
                                           grpc::internal::RpcMethod::NORMAL_RPC, channel);
    grpc::ClientContext context;
    grpc::ByteBuffer response;
    const grpc::ByteBuffer request = ToBuffer(HealthRequest(service));
    const grpc::Status status =
        grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
            channel.get(), method, &context, request, &response);
    return status.ok() ? ToString(response) : status.error_message();
  }
};

TEST_F(GrpcServerTest, HealthIsOfTheServerAndOfTheService) {
  StartServer();
  EXPECT_EQ(Health(""), kServing);
  EXPECT_EQ(Health("skipserve.v1.SkipServe"), kServing);
  EXPECT_NE(Health("skipserve.v1.Other"), kServing);
  server->SetServing(false);
  EXPECT_EQ(Health(""), kNotServing);
  EXPECT_EQ(Health("skipserve.v1.SkipServe"), kNotServing);
}

TEST_F(GrpcServerTest, HealthWatchTellsOfTheChange) {
  StartServer();
  grpc::ClientContext context;
  const Reader watch =
      Stream("/grpc.health.v1.Health/Watch", HealthRequest("skipserve.v1.SkipServe"), context);
  grpc::ByteBuffer response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(ToString(response), kServing);
  server->SetServing(false);
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(ToString(response), kNotServing);
  context.TryCancel();
  watch->Finish();
}

TEST_F(GrpcServerTest, ReflectionListsTheServices) {
  StartServer();
  const grpc::internal::RpcMethod method(
      "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
      grpc::internal::RpcMethod::BIDI_STREAMING, channel);
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> stream(
      grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
          channel.get(), method, &context));
  ASSERT_TRUE(stream->Write(ToBuffer("\x3a\x01*")));  // list_services
  grpc::ByteBuffer response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_THAT(ToString(response), HasSubstr("skipserve.v1.SkipServe"));
  EXPECT_THAT(ToString(response), HasSubstr("grpc.health.v1.Health"));
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

// As /tokenize does; see http_routes_test.cc.
TEST_F(GrpcServerTest, TokenizesAsGenerateWouldAndPlainly) {
  FakeOptions options;
  options.add_bos = true;
  StartServer(options);
  const auto tokenize = [&](const v1::TokenizeRequest& request) {
    grpc::ClientContext context;
    v1::TokenizeResponse response;
    EXPECT_TRUE(stub->Tokenize(&context, request, &response).ok());
    EXPECT_EQ(response.token_bytes_size(), response.token_ids_size());
    return std::vector<int32_t>(response.token_ids().begin(), response.token_ids().end());
  };
  v1::TokenizeRequest request;
  request.set_text("a</s>");
  EXPECT_EQ(tokenize(request), (std::vector<int32_t>{kFakeBos, 'a', kFakeEos}));
  request.set_plain(true);
  EXPECT_EQ(tokenize(request), (std::vector<int32_t>{'a', '<', '/', 's', '>'}));
  request.set_plain(false);
  request.set_text(std::string(5000, 'x'));  // more than the context: it is only counted
  EXPECT_EQ(tokenize(request).size(), 5001u);
  request.mutable_chat()->add_messages()->set_role("user");
  EXPECT_EQ(tokenize(request)[1], kFakeStart);

  request.clear_prompt();
  grpc::ClientContext context;
  v1::TokenizeResponse response;
  EXPECT_EQ(stub->Tokenize(&context, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(GrpcServerTest, DetokenizesAndRefusesUnknownIds) {
  StartServer();
  v1::DetokenizeRequest request;
  for (const int id : {kFakeBos, 0xc3, 0xa9, 0xff}) request.add_token_ids(id);
  v1::DetokenizeResponse response;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(stub->Detokenize(&context, request, &response).ok());
    EXPECT_EQ(response.text(), "\u00e9\ufffd");
  }
  {
    request.set_show_special_tokens(true);
    grpc::ClientContext context;
    ASSERT_TRUE(stub->Detokenize(&context, request, &response).ok());
    EXPECT_EQ(response.text(), "<s>\u00e9\ufffd");
  }
  request.add_token_ids(kFakeVocab);
  grpc::ClientContext context;
  const grpc::Status status = stub->Detokenize(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("token_ids"));
}

TEST(ModelInfoToProtoTest, LevelsKeepTheirOrderAndTheUnmeasuredHaveNoFigures) {
  ModelInfo info;
  info.skip_levels.resize(3);
  info.skip_levels[0].name = "gentle";
  info.skip_levels[1].name = "balanced";
  info.skip_levels[1].figures.lengths = {{2000, 1, 1, 0, 1, 0, 0}, {8000, 1, 1, 0, 1, 0, 0}};
  info.skip_levels[2].name = "fast";
  v1::GetModelInfoResponse proto;
  ModelInfoToProto(info, &proto);
  ASSERT_EQ(proto.skip_levels_size(), 3);
  EXPECT_EQ(proto.skip_levels(0).name(), "gentle");
  EXPECT_EQ(proto.skip_levels(2).name(), "fast");
  EXPECT_FALSE(proto.skip_levels(0).has_figures());
  EXPECT_TRUE(proto.skip_levels(1).has_figures());
  EXPECT_EQ(proto.skip_levels(1).figures().lengths(1).prompt_tokens(), 8000);
  EXPECT_FALSE(proto.skip_levels(2).has_figures());
}

TEST_F(GrpcServerTest, ModelInfoAndLoad) {
  StartServer();
  v1::GetModelInfoResponse info;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(stub->GetModelInfo(&context, {}, &info).ok());
  }
  EXPECT_EQ(info.served_name(), "fake-model");
  EXPECT_EQ(info.layers(), 4);
  EXPECT_EQ(info.dtype(), "f32");
  EXPECT_EQ(info.kv_dtype(), "int8");
  EXPECT_EQ(info.vocab_size(), kFakeVocab);
  EXPECT_EQ(info.max_context(), 4096);
  EXPECT_TRUE(info.has_chat_template());
  ASSERT_EQ(info.skip_levels_size(), 1);
  EXPECT_EQ(info.skip_levels(0).name(), "balanced");
  EXPECT_EQ(info.skip_levels(0).policy().stage_ends_size(), 2);
  EXPECT_EQ(info.skip_levels(0).policy_fingerprint(), kFakeFingerprint);
  ASSERT_EQ(info.skip_levels(0).bounds_size(), 2);
  EXPECT_EQ(info.skip_levels(0).bounds(0).prompt_tokens(), 1024);
  EXPECT_EQ(info.skip_levels(0).bounds(0).flop_bound(), 1.5);
  EXPECT_EQ(info.skip_levels(0).bounds(0).kv_share(), 0.75);
  EXPECT_EQ(info.skip_levels(0).bounds(1).prompt_tokens(), 4096);
  const v1::LevelFigures& figures = info.skip_levels(0).figures();
  ASSERT_EQ(figures.lengths_size(), 1);
  EXPECT_EQ(figures.lengths(0).prompt_tokens(), 2000);
  EXPECT_EQ(figures.lengths(0).cases(), 24);
  EXPECT_EQ(figures.lengths(0).flop_bound(), 2);
  EXPECT_EQ(figures.lengths(0).kl(), 0.25);
  EXPECT_EQ(figures.lengths(0).agreement(), 0.875);
  EXPECT_EQ(figures.lengths(0).facts_found(), 11);
  EXPECT_EQ(figures.lengths(0).facts_asked(), 15);
  ASSERT_EQ(figures.weak_tasks_size(), 1);
  EXPECT_EQ(figures.weak_tasks(0), "counting");
  EXPECT_EQ(figures.measured_on(), "a fake");
  // What it says can be sent back as it is.
  v1::GenerateRequest request = TextRequest();
  *request.mutable_skip()->mutable_policy() = info.skip_levels(0).policy();
  EXPECT_TRUE(Generate(request).status.ok());
  EXPECT_EQ(engine->requests().at(0).skip.policy, engine->info().skip_levels[0].policy);

  engine->Pause();
  grpc::ClientContext generate_context;
  auto reader = stub->Generate(&generate_context, TextRequest());
  ASSERT_TRUE(engine->WaitForRequests(2));
  engine->SetFallbacks({{"fast", "balanced", 0.31, 0.25, absl::Seconds(287)}});
  v1::GetLoadResponse load;
  grpc::ClientContext context;
  ASSERT_TRUE(stub->GetLoad(&context, {}, &load).ok());
  EXPECT_EQ(load.waiting(), 1);
  EXPECT_EQ(load.kv_blocks_total(), 1000);
  EXPECT_THAT(load.kv_blocks_by_layer(), testing::ElementsAre(1, 1, 1, 1));
  ASSERT_EQ(load.level_fallbacks_size(), 1);
  EXPECT_EQ(load.level_fallbacks(0).level(), "fast");
  EXPECT_EQ(load.level_fallbacks(0).served_by(), "balanced");
  EXPECT_EQ(load.level_fallbacks(0).canary_kl(), 0.31);
  EXPECT_EQ(load.level_fallbacks(0).canary_max_kl(), 0.25);
  EXPECT_EQ(load.level_fallbacks(0).retry_in_seconds(), 287);
  EXPECT_FALSE(load.draining());
  engine->Resume();
  EXPECT_TRUE(Collect(*reader).status.ok());
}

TEST_F(GrpcServerTest, DrainingRefusesNewWorkAndEndsTheRestUnavailable) {
  StartServer();
  engine->Pause();
  grpc::ClientContext context;
  auto running = stub->Generate(&context, TextRequest());
  ASSERT_TRUE(engine->WaitForRequests(1));
  engine->Drain(absl::Milliseconds(1));
  EXPECT_EQ(Collect(*running).status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Generate(TextRequest()).status.error_code(), grpc::StatusCode::UNAVAILABLE);
  v1::GetLoadResponse load;
  grpc::ClientContext load_context;
  ASSERT_TRUE(stub->GetLoad(&load_context, {}, &load).ok());
  EXPECT_TRUE(load.draining());
}

TEST_F(GrpcServerTest, DrainingLetsRunningStreamsEnd) {
  StartServer();
  engine->Pause();
  grpc::ClientContext context;
  auto running = stub->Generate(&context, TextRequest());
  ASSERT_TRUE(engine->WaitForRequests(1));
  std::thread drain([&] { engine->Drain(absl::Seconds(60)); });
  engine->Resume();
  drain.join();
  server->Stop(absl::Seconds(60));
  const Answer answer = Collect(*running);
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.Text(), "The answer is 42.");
}

TEST_F(GrpcServerTest, StoppingCancelsWhatIsLeft) {
  StartServer();
  engine->Pause();
  grpc::ClientContext context;
  auto running = stub->Generate(&context, TextRequest());
  ASSERT_TRUE(engine->WaitForRequests(1));
  server->Stop(absl::ZeroDuration());
  EXPECT_TRUE(engine->WaitForCancelled(1));
  EXPECT_FALSE(Collect(*running).status.ok());
}

TEST_F(GrpcServerTest, WatchersOfTheHealthHoldNothingUp) {
  StartServer();
  grpc::ClientContext context;
  const Reader watch = Stream("/grpc.health.v1.Health/Watch", HealthRequest(""), context);
  grpc::ByteBuffer response;
  ASSERT_TRUE(watch->Read(&response));
  const absl::Time begin = absl::Now();
  server->Stop(absl::Seconds(20));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(10));
  EXPECT_FALSE(watch->Finish().ok());
}

TEST_F(GrpcServerTest, StoppingWaitsForCallsUnderWay) {
  StartServer();
  engine->Pause();
  grpc::ClientContext context;
  auto running = stub->Generate(&context, TextRequest());
  ASSERT_TRUE(engine->WaitForRequests(1));
  std::thread stop([&] { server->Stop(absl::Seconds(60)); });
  absl::SleepFor(absl::Milliseconds(50));
  engine->Resume();
  EXPECT_TRUE(Collect(*running).status.ok());
  stop.join();
}

// Has no memory to tokenize with.
class NoMemoryEngine : public FakeEngine {
 public:
  const Tokenizer& tokenizer() const override { throw std::bad_alloc(); }
};

TEST_F(GrpcServerTest, WhatAHandlerThrowsIsItsCallsEndAlone) {
  StartServer(std::make_unique<NoMemoryEngine>());
  const auto expect_refused = [](const grpc::Status& status) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_THAT(status.error_message(), HasSubstr("memory"));
  };
  expect_refused(Generate(TextRequest()).status);
  v1::TokenizeRequest text;
  text.set_text("a");
  v1::TokenizeResponse tokens;
  grpc::ClientContext tokenize_context;
  expect_refused(stub->Tokenize(&tokenize_context, text, &tokens));
  v1::DetokenizeRequest ids;
  v1::DetokenizeResponse back;
  grpc::ClientContext detokenize_context;
  expect_refused(stub->Detokenize(&detokenize_context, ids, &back));
  EXPECT_TRUE(ExposesLine(R"(skipserve_requests_total{endpoint="grpc",outcome="rejected"} 1)"));
  v1::GetLoadResponse load;
  grpc::ClientContext load_context;
  EXPECT_TRUE(stub->GetLoad(&load_context, {}, &load).ok());
}

TEST_F(GrpcServerTest, ATakenPortIsAnError) {
  StartServer();
  GrpcOptions options;
  options.port = server->port();
  const auto second = GrpcServer::Start(*engine, metrics, options);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(std::to_string(server->port())));
}

// Each field line of the contract stands below a comment.
TEST(ProtoTest, EveryFieldHasAComment) {
  std::ifstream file(SKIPSERVE_SOURCE_DIR "/proto/skipserve/v1/skipserve.proto");
  ASSERT_TRUE(file.is_open());
  std::string line, previous;
  int fields = 0;
  while (std::getline(file, line)) {
    const bool field = line.rfind("  ", 0) == 0 && line.find(" = ") != std::string::npos &&
                       line.find(" = 0;") == std::string::npos && line.back() == ';' &&
                       line.find("//") == std::string::npos;
    if (field) {
      ++fields;
      EXPECT_NE(previous.find("//"), std::string::npos) << line;
    }
    previous = line;
  }
  EXPECT_GT(fields, 100);
}

}  // namespace
}  // namespace skipserve
