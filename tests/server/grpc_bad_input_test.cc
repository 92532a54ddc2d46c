// What a client may get wrong in a Generate call: each is INVALID_ARGUMENT, names its field, and
// reaches no engine.
#include <cmath>
#include <functional>
#include <limits>

#include "gmock/gmock.h"
#include "grpcpp/impl/codegen/client_unary_call.h"
#include "tests/server/grpc_fixture.h"

namespace skipserve {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

struct BadCase {
  const char* name;
  const char* field;  // named in the message
  std::function<void(v1::GenerateRequest&)> spoil;
};

void GoodPolicy(v1::GenerateRequest& r) {
  v1::SkipPolicy* policy = r.mutable_skip()->mutable_policy();
  policy->set_start(1);
  policy->add_stage_ends(3);
  policy->add_budgets(0.5);
  policy->add_keeps(0.5);
}

const std::vector<BadCase>& Cases() {
  using R = v1::GenerateRequest;
  static const std::vector<BadCase> cases = {
      {"NoPrompt", "prompt", [](R& r) { r.clear_prompt(); }},
      {"EmptyText", "prompt", [](R& r) { r.set_text(""); }},
      {"EmptyChat", "chat.messages", [](R& r) { r.mutable_chat(); }},
      {"NoRole", "chat.messages[0].role",
       [](R& r) { r.mutable_chat()->add_messages()->set_content("hi"); }},
      {"NoIds", "prompt", [](R& r) { r.mutable_token_ids(); }},
      {"IdTooLarge", "token_ids.ids", [](R& r) { r.mutable_token_ids()->add_ids(kFakeVocab); }},
      {"IdNegative", "token_ids.ids", [](R& r) { r.mutable_token_ids()->add_ids(-1); }},
      {"TooLong", "4096", [](R& r) { r.set_text(std::string(5000, 'a')); }},
      {"AnswerTooLong", "4096", [](R& r) { r.mutable_stop()->set_max_tokens(4090); }},
      {"TemperatureNan", "sampling.temperature",
       [](R& r) { r.mutable_sampling()->set_temperature(kNan); }},
      {"TemperatureInf", "sampling.temperature",
       [](R& r) { r.mutable_sampling()->set_temperature(kInf); }},
      {"TemperatureNegative", "sampling.temperature",
       [](R& r) { r.mutable_sampling()->set_temperature(-0.1f); }},
      {"TopK", "sampling.top_k", [](R& r) { r.mutable_sampling()->set_top_k(-1); }},
      {"TopPNegative", "sampling.top_p", [](R& r) { r.mutable_sampling()->set_top_p(-0.1f); }},
      {"TopPLarge", "sampling.top_p", [](R& r) { r.mutable_sampling()->set_top_p(1.01f); }},
      {"TopPNan", "sampling.top_p", [](R& r) { r.mutable_sampling()->set_top_p(kNan); }},
      {"MinP", "sampling.min_p", [](R& r) { r.mutable_sampling()->set_min_p(kNan); }},
      {"Repetition", "sampling.repetition_penalty",
       [](R& r) { r.mutable_sampling()->set_repetition_penalty(0); }},
      {"Presence", "sampling.presence_penalty",
       [](R& r) { r.mutable_sampling()->set_presence_penalty(-kInf); }},
      {"Frequency", "sampling.frequency_penalty",
       [](R& r) { r.mutable_sampling()->set_frequency_penalty(kNan); }},
      {"BiasId", "sampling.logit_bias",
       [](R& r) { (*r.mutable_sampling()->mutable_logit_bias())[-5] = 1; }},
      {"BiasNan", "sampling.logit_bias",
       [](R& r) { (*r.mutable_sampling()->mutable_logit_bias())[5] = kNan; }},
      {"MaxTokensZero", "stop.max_tokens", [](R& r) { r.mutable_stop()->set_max_tokens(0); }},
      {"MaxTokensHuge", "stop.max_tokens",
       [](R& r) { r.mutable_stop()->set_max_tokens(std::numeric_limits<int64_t>::max()); }},
      {"MinTokensNegative", "stop.min_tokens", [](R& r) { r.mutable_stop()->set_min_tokens(-1); }},
      {"MinAboveMax", "stop.min_tokens",
       [](R& r) {
         r.mutable_stop()->set_min_tokens(9);
         r.mutable_stop()->set_max_tokens(8);
       }},
      {"StopEmpty", "stop.strings", [](R& r) { r.mutable_stop()->add_strings(""); }},
      {"StopLong", "stop.strings",
       [](R& r) { r.mutable_stop()->add_strings(std::string(1025, 'a')); }},
      {"StopMany", "stop.strings",
       [](R& r) {
         const std::string stop = "stop";
         for (int i = 0; i < 17; ++i) r.mutable_stop()->add_strings(stop);
       }},
      {"StopId", "stop.token_ids", [](R& r) { r.mutable_stop()->add_token_ids(kFakeVocab); }},
      {"LogprobsNegative", "logprobs", [](R& r) { r.set_logprobs(-1); }},
      {"LogprobsMany", "logprobs", [](R& r) { r.set_logprobs(21); }},
      {"NZero", "n must", [](R& r) { r.set_n(0); }},
      {"NMany", "n must", [](R& r) { r.set_n(129); }},
      {"UserLong", "user", [](R& r) { r.set_user(std::string(257, 'u')); }},
      {"SkipMode", "skip.mode",
       [](R& r) { r.mutable_skip()->set_mode(static_cast<v1::Skip::Mode>(9)); }},
      {"SkipLevel", "skip.level", [](R& r) { r.mutable_skip()->set_level("brutal"); }},
      {"PolicyEmpty", "skip.policy", [](R& r) { r.mutable_skip()->mutable_policy(); }},
      {"PolicyStart", "start",
       [](R& r) {
         GoodPolicy(r);
         r.mutable_skip()->mutable_policy()->set_start(4);
       }},
      {"PolicyStage", "stage_ends[0]",
       [](R& r) {
         GoodPolicy(r);
         r.mutable_skip()->mutable_policy()->set_stage_ends(0, 4);
       }},
      {"PolicyBudgetNan", "budgets[0]",
       [](R& r) {
         GoodPolicy(r);
         r.mutable_skip()->mutable_policy()->set_budgets(0, kNan);
       }},
      {"PolicyBudgetInf", "budgets[0]",
       [](R& r) {
         GoodPolicy(r);
         r.mutable_skip()->mutable_policy()->set_budgets(0, kInf);
       }},
      {"PolicyKeeps", "keeps",
       [](R& r) {
         GoodPolicy(r);
         r.mutable_skip()->mutable_policy()->add_keeps(0.1);
       }},
      {"PolicyCutAndKeeps", "cut",
       [](R& r) {
         GoodPolicy(r);
         r.mutable_skip()->mutable_policy()->set_cut(0.1);
       }},
      {"PolicyCutNan", "cut",
       [](R& r) {
         GoodPolicy(r);
         r.mutable_skip()->mutable_policy()->clear_keeps();
         r.mutable_skip()->mutable_policy()->set_cut(kNan);
       }},
      {"PolicyWindow", "window",
       [](R& r) {
         GoodPolicy(r);
         r.mutable_skip()->mutable_policy()->set_window(65);
       }},
      {"PolicyPool", "pool",
       [](R& r) {
         GoodPolicy(r);
         r.mutable_skip()->mutable_policy()->set_pool(2);
       }},
      {"PolicyProbesFirst", "probe_layers[0]",
       [](R& r) {
         GoodPolicy(r);
         r.mutable_skip()->mutable_policy()->add_probe_layers(2);
       }},
      {"PolicyProbesOrder", "probe_layers[2]",
       [](R& r) {
         GoodPolicy(r);
         for (const int layer : {1, 3, 2})
           r.mutable_skip()->mutable_policy()->add_probe_layers(layer);
       }},
      {"PolicyProbesBeyond", "probe_layers[1]",
       [](R& r) {
         GoodPolicy(r);
         for (const int layer : {1, 4}) r.mutable_skip()->mutable_policy()->add_probe_layers(layer);
       }},
      {"PolicyMemoryNegative", "memory",
       [](R& r) {
         GoodPolicy(r);
         r.mutable_skip()->mutable_policy()->set_memory(-1);
       }},
      {"PolicyMemoryLarge", "memory",
       [](R& r) {
         GoodPolicy(r);
         r.mutable_skip()->mutable_policy()->set_memory(2);
       }},
      {"PolicyMemoryNan", "memory",
       [](R& r) {
         GoodPolicy(r);
         r.mutable_skip()->mutable_policy()->set_memory(kNan);
       }},
      {"PolicyEnum", "head_reduce",
       [](R& r) {
         GoodPolicy(r);
         r.mutable_skip()->mutable_policy()->set_head_reduce(
             static_cast<v1::SkipPolicy::Reduce>(7));
       }},
  };
  return cases;
}

using GrpcBadInputTest = GrpcTest;

TEST_F(GrpcBadInputTest, EachIsRefusedByName) {
  StartServer();
  for (const BadCase& bad : Cases()) {
    v1::GenerateRequest request = TextRequest();
    bad.spoil(request);
    const Answer answer = Generate(request);
    EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << bad.name;
    EXPECT_THAT(answer.status.error_message(), HasSubstr(bad.field)) << bad.name;
    EXPECT_TRUE(answer.chunks.empty() && answer.finishes.empty()) << bad.name;
  }
  EXPECT_TRUE(engine->requests().empty());
  EXPECT_TRUE(ExposesLine(R"(skipserve_requests_total{endpoint="grpc",outcome="invalid"} )" +
                          std::to_string(Cases().size())));
  v1::GenerateRequest good = TextRequest();
  GoodPolicy(good);
  EXPECT_TRUE(Generate(good).status.ok());
}

TEST_F(GrpcBadInputTest, AnotherModelIsNotFound) {
  StartServer();
  v1::GenerateRequest request = TextRequest();
  request.set_model("gpt-5");
  const Answer answer = Generate(request);
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(answer.status.error_message(), HasSubstr("fake-model"));
  for (const char* name : {"default", "fake-model", "fake", "fake.gguf"}) {
    request.set_model(name);
    EXPECT_TRUE(Generate(request).status.ok()) << name;
  }
}

TEST_F(GrpcBadInputTest, AChatNeedsATemplate) {
  FakeOptions options;
  options.has_chat_template = false;
  StartServer(options);
  v1::GenerateRequest request;
  request.mutable_chat()->add_messages()->set_role("user");
  const Answer answer = Generate(request);
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(answer.status.error_message(), HasSubstr("chat"));
}

TEST_F(GrpcBadInputTest, WhatNoContextCouldHoldIsRefusedWithTheNumbers) {
  StartServer();
  const Answer answer = Generate(TextRequest(std::string(100000, 'a')));
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(answer.status.error_message(), HasSubstr("100000 bytes"));
  EXPECT_THAT(answer.status.error_message(), HasSubstr("4096 tokens"));
}

TEST_F(GrpcBadInputTest, BytesThatAreNoMessageAreRefusedAndHarmNobody) {
  StartServer();
  testing::internal::CaptureStderr();
  const auto expect_refused = [](const grpc::Status& status, const std::string& message) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr("not a skipserve.v1." + message));
    EXPECT_THAT(status.error_message(), HasSubstr("UTF-8"));
  };
  // A field of text that is no UTF-8, and one whose length runs past the end.
  for (const std::string& bytes : {std::string("\x0a\x02\xff\xfe"), std::string("\x0a\x7f"
                                                                                "a")}) {
    grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    const grpc::internal::RpcMethod generate("/skipserve.v1.SkipServe/Generate",
                                             grpc::internal::RpcMethod::SERVER_STREAMING, channel);
    grpc::ClientContext generate_context;
    std::unique_ptr<grpc::ClientReader<grpc::ByteBuffer>> reader(
        grpc::internal::ClientReaderFactory<grpc::ByteBuffer>::Create(channel.get(), generate,
                                                                      &generate_context, request));
    expect_refused(reader->Finish(), "GenerateRequest");
    const grpc::internal::RpcMethod tokenize("/skipserve.v1.SkipServe/Tokenize",
                                             grpc::internal::RpcMethod::NORMAL_RPC, channel);
    grpc::ClientContext tokenize_context;
    grpc::ByteBuffer response;
    expect_refused(grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
                       channel.get(), tokenize, &tokenize_context, request, &response),
                   "TokenizeRequest");
  }
  EXPECT_THAT(testing::internal::GetCapturedStderr(), Not(HasSubstr("libprotobuf")));
  EXPECT_TRUE(ExposesLine(R"(skipserve_requests_total{endpoint="grpc",outcome="invalid"} 2)"));
  EXPECT_TRUE(Generate(TextRequest()).status.ok());
}

}  // namespace
}  // namespace skipserve
