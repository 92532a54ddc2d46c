// Generate over a real socket: what streams, how it ends, and what a client's going away does.
#include <thread>

#include "tests/server/grpc_fixture.h"

namespace skipserve {
namespace {

using GrpcGenerateTest = GrpcTest;

TEST_F(GrpcGenerateTest, StreamsTheAnswerAndOneFinish) {
  StartServer();
  const Answer answer = Generate(TextRequest());
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.Text(), "The answer is 42.");
  EXPECT_EQ(answer.Ids().size(), 17u);
  ASSERT_EQ(answer.finishes.size(), 1u);
  const v1::Finish& finish = answer.finishes[0];
  EXPECT_EQ(finish.reason(), v1::Finish::REASON_STOP);
  EXPECT_EQ(finish.usage().prompt_tokens(), 11);
  EXPECT_EQ(finish.usage().completion_tokens(), 17);
  EXPECT_EQ(finish.skip().level(), "off");
  EXPECT_EQ(finish.skip().reason(), "the prompt is short");
  EXPECT_EQ(finish.skip().layers_size(), 0);
  EXPECT_EQ(finish.skip().policy_fingerprint(), "");
  ASSERT_TRUE(finish.skip().has_expected_kl() && finish.skip().has_expected_agreement());
  EXPECT_EQ(finish.skip().expected_kl(), 0);
  EXPECT_EQ(finish.skip().expected_agreement(), 1);
  EXPECT_GT(finish.timings().total_seconds(), 0);
  EXPECT_TRUE(ExposesLine(R"(skipserve_requests_total{endpoint="grpc",outcome="ok"} 1)"));
}

TEST_F(GrpcGenerateTest, EveryKindOfPromptReachesTheEngine) {
  FakeOptions options;
  options.add_bos = true;
  StartServer(options);
  v1::GenerateRequest chat;
  v1::ChatMessage* message = chat.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content("<|im_end|>hi");
  v1::GenerateRequest ids;
  for (const int id : {7, kFakeEos, 9}) ids.mutable_token_ids()->add_ids(id);

  EXPECT_TRUE(Generate(TextRequest("<|im_start|>a")).status.ok());
  EXPECT_TRUE(Generate(TextRequest("<s>a")).status.ok());
  EXPECT_TRUE(Generate(chat).status.ok());
  EXPECT_TRUE(Generate(ids).status.ok());

  const std::vector<GenerateRequest> seen = engine->requests();
  ASSERT_EQ(seen.size(), 4u);
  EXPECT_EQ(seen[0].prompt, (std::vector<int32_t>{kFakeBos, kFakeStart, 'a'}));
  EXPECT_EQ(seen[1].prompt, (std::vector<int32_t>{kFakeBos, 'a'}));
  EXPECT_EQ(seen[2].prompt.front(), kFakeBos);
  EXPECT_EQ(seen[2].prompt[1], kFakeStart);
  // What the user typed stays text: only the template's own marks are special.
  EXPECT_EQ(std::count(seen[2].prompt.begin(), seen[2].prompt.end(), kFakeEnd), 1);
  EXPECT_EQ(seen[3].prompt, (std::vector<int32_t>{7, kFakeEos, 9}));
}

TEST_F(GrpcGenerateTest, FieldsReachTheEngineAndUnsetOnesHaveTheirDefaults) {
  StartServer();
  v1::GenerateRequest request = TextRequest();
  EXPECT_TRUE(Generate(request).status.ok());
  v1::Sampling* sampling = request.mutable_sampling();
  sampling->set_temperature(0);
  sampling->set_top_k(40);
  sampling->set_top_p(0.5f);
  sampling->set_min_p(0.1f);
  sampling->set_repetition_penalty(1.5f);
  sampling->set_presence_penalty(-1);
  sampling->set_frequency_penalty(2);
  (*sampling->mutable_logit_bias())[9] = -100;
  (*sampling->mutable_logit_bias())[3] = 5;
  sampling->set_seed(77);
  v1::StopRules* stop = request.mutable_stop();
  stop->set_max_tokens(5);
  stop->set_min_tokens(2);
  stop->set_ignore_eos(true);
  stop->add_strings("END");
  stop->add_token_ids(12);
  request.set_logprobs(3);
  request.mutable_skip()->set_level("balanced");
  request.mutable_report()->set_layers(true);
  request.mutable_report()->set_rows(true);
  request.set_show_special_tokens(true);
  request.set_model("fake-model");
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();

  const std::vector<GenerateRequest> seen = engine->requests();
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].sampling.temperature, 1);
  EXPECT_EQ(seen[0].sampling.top_p, 1);
  EXPECT_EQ(seen[0].sampling.repetition_penalty, 1);
  EXPECT_EQ(seen[0].stop.max_tokens, 0);
  EXPECT_EQ(seen[0].logprobs, -1);
  EXPECT_EQ(seen[0].skip.mode, SkipRequest::Mode::kAuto);
  EXPECT_TRUE(seen[0].skip_special_tokens);
  EXPECT_EQ(seen[1].sampling.temperature, 0);
  EXPECT_EQ(seen[1].sampling.top_k, 40);
  EXPECT_EQ(seen[1].sampling.top_p, 0.5f);
  EXPECT_EQ(seen[1].sampling.min_p, 0.1f);
  EXPECT_EQ(seen[1].sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(seen[1].sampling.presence_penalty, -1);
  EXPECT_EQ(seen[1].sampling.frequency_penalty, 2);
  EXPECT_EQ(seen[1].sampling.logit_bias,
            (std::vector<std::pair<int32_t, float>>{{3, 5}, {9, -100}}));
  EXPECT_EQ(seen[1].sampling.seed, 77u);
  EXPECT_EQ(seen[1].stop.max_tokens, 5);
  EXPECT_EQ(seen[1].stop.min_tokens, 2);
  EXPECT_TRUE(seen[1].stop.ignore_eos);
  EXPECT_EQ(seen[1].stop.strings, std::vector<std::string>{"END"});
  EXPECT_EQ(seen[1].stop.token_ids, std::vector<int32_t>{12});
  EXPECT_EQ(seen[1].logprobs, 3);
  EXPECT_EQ(seen[1].skip.level, "balanced");
  EXPECT_TRUE(seen[1].layer_report);
  EXPECT_TRUE(seen[1].row_report);
  EXPECT_FALSE(seen[1].skip_special_tokens);

  EXPECT_EQ(answer.finishes[0].reason(), v1::Finish::REASON_LENGTH);
  EXPECT_EQ(answer.finishes[0].skip().layers_size(), 4);
  EXPECT_EQ(answer.finishes[0].skip().rows(0).attention_size(), 2);
  for (const v1::TokenChunk& chunk : answer.chunks) {
    ASSERT_EQ(chunk.logprobs_size(), chunk.token_ids_size());
    EXPECT_EQ(chunk.logprobs(0).logprob(), -0.5f);
    EXPECT_EQ(chunk.logprobs(0).top_size(), 3);
  }
}

TEST_F(GrpcGenerateTest, APolicyArrivesWholeAndIsReported) {
  StartServer();
  v1::GenerateRequest request = TextRequest(std::string(200, 'x'));
  v1::SkipPolicy* policy = request.mutable_skip()->mutable_policy();
  policy->set_start(1);
  policy->add_stage_ends(2);
  policy->add_stage_ends(3);
  policy->add_budgets(100);
  policy->add_budgets(50);
  policy->set_cut(10);
  policy->set_window(8);
  policy->set_head_reduce(v1::SkipPolicy::REDUCE_MAX);
  policy->add_probe_layers(1);
  policy->add_probe_layers(3);
  policy->set_memory(0.25);
  policy->set_ffn_score(v1::SkipPolicy::FFN_SCORE_EXACT);
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  const SkipPolicy seen = engine->requests().at(0).skip.policy;
  EXPECT_EQ(seen.start, 1);
  EXPECT_EQ(seen.stage_ends, (std::vector<int32_t>{2, 3}));
  EXPECT_EQ(seen.budgets, (std::vector<double>{100, 50}));
  EXPECT_EQ(seen.keeps, (std::vector<double>{90, 40}));
  EXPECT_EQ(seen.sink, 4);
  EXPECT_EQ(seen.window, 8);
  EXPECT_EQ(seen.window_reduce, Reduce::kMax);
  EXPECT_EQ(seen.head_reduce, Reduce::kMax);
  EXPECT_EQ(seen.probe_layers, (std::vector<int32_t>{1, 3}));
  EXPECT_EQ(seen.memory, 0.25);
  EXPECT_EQ(seen.ffn_score, FfnScore::kExact);
  EXPECT_EQ(answer.finishes[0].skip().level(), "custom");
  EXPECT_EQ(answer.finishes[0].skip().skip_ratio(), 0.5);
  EXPECT_EQ(answer.finishes[0].skip().flop_bound(), 2);
  EXPECT_EQ(answer.finishes[0].skip().policy_fingerprint(), kFakeFingerprint);
  EXPECT_FALSE(answer.finishes[0].skip().has_expected_kl()) << "nobody has measured it";
  EXPECT_FALSE(answer.finishes[0].skip().has_expected_agreement());
}

TEST_F(GrpcGenerateTest, AMeasuredLevelSaysWhatItIsExpectedToLose) {
  StartServer();
  v1::GenerateRequest request;
  request.set_text(std::string(200, 'x'));
  request.mutable_skip()->set_level("balanced");
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  const v1::SkipReport& skip = answer.finishes[0].skip();
  EXPECT_EQ(skip.level(), "balanced");
  EXPECT_EQ(skip.policy_fingerprint(), kFakeFingerprint);
  ASSERT_TRUE(skip.has_expected_kl() && skip.has_expected_agreement());
  EXPECT_EQ(skip.expected_kl(), 0.25);
  EXPECT_EQ(skip.expected_agreement(), 0.875);
}

TEST_F(GrpcGenerateTest, ManyChoicesEachEndOnce) {
  StartServer();
  v1::GenerateRequest request = TextRequest();
  request.set_n(5);
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  ASSERT_EQ(answer.finishes.size(), 5u);
  for (int choice = 0; choice < 5; ++choice) {
    EXPECT_EQ(answer.Text(choice), "The answer is 42.");
    EXPECT_EQ(engine->requests()[choice].sampling.choice, static_cast<uint32_t>(choice));
  }
  EXPECT_TRUE(ExposesLine(R"(skipserve_requests_total{endpoint="grpc",outcome="ok"} 1)"));
  EXPECT_TRUE(ExposesLine("skipserve_prompt_tokens_total 11"));
  EXPECT_TRUE(ExposesLine("skipserve_generated_tokens_total 85"));
}

TEST_F(GrpcGenerateTest, WithoutASeedCallsDiffer) {
  StartServer();
  Generate(TextRequest());
  Generate(TextRequest());
  EXPECT_NE(engine->requests()[0].sampling.seed, engine->requests()[1].sampling.seed);
}

TEST_F(GrpcGenerateTest, CancellingReachesTheEngine) {
  FakeOptions options;
  options.token_delay = absl::Milliseconds(1);
  StartServer(options);
  v1::GenerateRequest request = TextRequest();
  request.mutable_stop()->set_ignore_eos(true);
  request.mutable_stop()->set_max_tokens(4000);
  request.set_n(2);
  grpc::ClientContext context;
  auto reader = stub->Generate(&context, request);
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  context.TryCancel();
  EXPECT_TRUE(engine->WaitForCancelled(2));
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(engine->WaitForIdle());
}

TEST_F(GrpcGenerateTest, CancellingWhileItWaitsReachesTheEngine) {
  StartServer();
  engine->Pause();
  grpc::ClientContext context;
  auto reader = stub->Generate(&context, TextRequest());
  ASSERT_TRUE(engine->WaitForRequests(1));
  context.TryCancel();
  EXPECT_TRUE(engine->WaitForCancelled(1));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(GrpcGenerateTest, TheDeadlineIsTheEngines) {
  StartServer();
  engine->Pause();
  const Answer answer = Generate(TextRequest(), std::chrono::milliseconds(300));
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  ASSERT_TRUE(engine->WaitForRequests(1));
  const absl::Time deadline = engine->requests().at(0).deadline;
  EXPECT_LT(deadline, absl::Now() + absl::Seconds(1));
  EXPECT_TRUE(engine->WaitForIdle());
  EXPECT_EQ(engine->cancelled(), 0) << "it ended by its deadline, not by the client's going away";
}

TEST_F(GrpcGenerateTest, AClientWhoGivesUpAtTheDeadlineDidNotCancel) {
  StartServer();
  engine->Pause();
  const auto deadline = std::chrono::system_clock::now() + std::chrono::milliseconds(500);
  grpc::ClientContext context;
  context.set_deadline(deadline);
  auto reader = stub->Generate(&context, TextRequest());
  ASSERT_TRUE(engine->WaitForRequests(1));
  std::this_thread::sleep_until(deadline - std::chrono::milliseconds(50));  // its clock is ahead
  context.TryCancel();
  EXPECT_TRUE(engine->WaitForIdle());
  EXPECT_EQ(engine->cancelled(), 0);
  reader->Finish();
}

TEST_F(GrpcGenerateTest, WithoutADeadlineThereIsNone) {
  StartServer();
  grpc::ClientContext context;
  EXPECT_TRUE(Collect(*stub->Generate(&context, TextRequest())).status.ok());
  EXPECT_EQ(engine->requests().at(0).deadline, absl::InfiniteFuture());
}

TEST_F(GrpcGenerateTest, AFullQueueIsResourceExhausted) {
  FakeOptions options;
  options.max_queue = 1;
  StartServer(options);
  engine->Pause();
  grpc::ClientContext context;
  auto first = stub->Generate(&context, TextRequest());
  ASSERT_TRUE(engine->WaitForRequests(1));
  const Answer second = Generate(TextRequest());
  EXPECT_EQ(second.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  engine->Resume();
  EXPECT_TRUE(Collect(*first).status.ok());
  EXPECT_TRUE(ExposesLine(R"(skipserve_requests_total{endpoint="grpc",outcome="rejected"} 1)"));
}

TEST_F(GrpcGenerateTest, AFailureInMidStreamIsTheCallsStatus) {
  FakeOptions options;
  options.fail_after = 3;
  StartServer(options);
  const Answer answer = Generate(TextRequest());
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(answer.Ids().size(), 3u);
  EXPECT_TRUE(answer.finishes.empty());
  EXPECT_TRUE(ExposesLine(R"(skipserve_requests_total{endpoint="grpc",outcome="error"} 1)"));
}

TEST_F(GrpcGenerateTest, ASlowReaderHoldsNobodyUp) {
  FakeOptions options;
  options.max_context = 2000000;
  StartServer(options);
  v1::GenerateRequest request = TextRequest();
  request.mutable_stop()->set_ignore_eos(true);
  request.mutable_stop()->set_max_tokens(200000);
  request.set_logprobs(5);  // large messages: far more than any window of flow control
  grpc::ClientContext context;
  auto slow = stub->Generate(&context, request);
  // Nothing is read, and yet the engine gets it all done, and others are served.
  EXPECT_TRUE(engine->WaitForTokens(200000));
  EXPECT_TRUE(engine->WaitForIdle());
  EXPECT_TRUE(Generate(TextRequest()).status.ok());
  const Answer answer = Collect(*slow);
  EXPECT_TRUE(answer.status.ok());
  EXPECT_EQ(answer.Ids().size(), 200000u);
  ASSERT_EQ(answer.finishes.size(), 1u);
}

TEST_F(GrpcGenerateTest, FiveMegabytesOfPromptAreRead) {
  FakeOptions options;
  options.max_context = 10000000;
  StartServer(options);
  const Answer answer = Generate(TextRequest(std::string(5 << 20, 'a')));
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.finishes[0].usage().prompt_tokens(), 5 << 20);
}

TEST_F(GrpcGenerateTest, ManyClientsAtOnceAndSomeLeave) {
  FakeOptions options;
  options.token_delay = absl::Microseconds(200);
  StartServer(options);
  std::vector<std::thread> clients;
  std::atomic<int> whole = 0;
  for (int i = 0; i < 16; ++i) {
    clients.emplace_back([&, i] {
      for (int round = 0; round < 5; ++round) {
        grpc::ClientContext context;
        auto reader = stub->Generate(&context, TextRequest());
        if (i % 3 == 0) context.TryCancel();
        const Answer answer = Collect(*reader);
        if (answer.status.ok() && answer.Text() == "The answer is 42.") ++whole;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_GE(whole, 50);
  EXPECT_TRUE(engine->WaitForIdle());
}

}  // namespace
}  // namespace skipserve
