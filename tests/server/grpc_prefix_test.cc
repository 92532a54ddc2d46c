// ReadPrefix, ListPrefixes and DropPrefix by a real client.
#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "tests/server/grpc_fixture.h"

namespace skipserve {
namespace {

using testing::HasSubstr;

class GrpcPrefixTest : public GrpcTest {
 protected:
  static v1::ReadPrefixRequest Law() {
    v1::ReadPrefixRequest request;
    request.set_name("law");
    request.set_text("All of it.");
    return request;
  }
  grpc::Status Read(const v1::ReadPrefixRequest& request, v1::ReadPrefixResponse* response) {
    grpc::ClientContext context;
    return stub->ReadPrefix(&context, request, response);
  }
  grpc::StatusCode Code(const v1::ReadPrefixRequest& request) {
    v1::ReadPrefixResponse response;
    return Read(request, &response).error_code();
  }
  v1::ListPrefixesResponse List() {
    grpc::ClientContext context;
    v1::ListPrefixesResponse list;
    EXPECT_TRUE(stub->ListPrefixes(&context, {}, &list).ok());
    return list;
  }
  grpc::Status Drop(const std::string& name) {
    grpc::ClientContext context;
    v1::DropPrefixRequest request;
    v1::DropPrefixResponse response;
    request.set_name(name);
    return stub->DropPrefix(&context, request, &response);
  }
};

TEST_F(GrpcPrefixTest, ReadListedAndDropped) {
  StartServer();
  v1::ReadPrefixResponse read;
  ASSERT_TRUE(Read(Law(), &read).ok());
  EXPECT_EQ(read.prefix().name(), "law");
  EXPECT_EQ(read.prefix().tokens(), 10);
  EXPECT_EQ(read.prefix().kv_blocks(), 4);
  EXPECT_EQ(read.prefix().trunk_layers(), 4);
  EXPECT_EQ(read.prefix().skip_level(), "off");
  EXPECT_EQ(read.prefix().created(), 1'700'000'000);
  ASSERT_EQ(List().prefixes_size(), 1);
  EXPECT_EQ(List().prefixes(0).SerializeAsString(), read.prefix().SerializeAsString());
  EXPECT_TRUE(
      ExposesLine(R"(skipserve_requests_total{endpoint="grpc/ReadPrefix",outcome="ok"} 1)"));

  grpc::ClientContext context;
  v1::GetLoadResponse load;
  ASSERT_TRUE(stub->GetLoad(&context, {}, &load).ok());
  EXPECT_EQ(load.prefixes(), 1);
  EXPECT_EQ(load.prefix_tokens(), 10);
  EXPECT_EQ(load.kv_blocks_cached(), 7);
  EXPECT_EQ(load.prefix_evictions(), 3);

  EXPECT_TRUE(Drop("law").ok());
  EXPECT_EQ(List().prefixes_size(), 0);
  EXPECT_EQ(Drop("law").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(Drop("law").error_message(), HasSubstr("law"));
}

TEST_F(GrpcPrefixTest, EveryFieldReachesTheEngine) {
  StartServer();
  v1::ReadPrefixRequest request = Law();
  request.set_cache_salt("mine");
  request.mutable_skip()->set_level("balanced");
  ASSERT_EQ(Code(request), grpc::StatusCode::OK);
  request = v1::ReadPrefixRequest();
  request.set_name("ids");
  request.mutable_token_ids()->add_ids(259);
  request.set_model("fake-model");
  ASSERT_EQ(Code(request), grpc::StatusCode::OK);
  request.set_name("chat");
  v1::ChatMessage* message = request.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content("A law.");
  ASSERT_EQ(Code(request), grpc::StatusCode::OK);
  const std::vector<PrefixRequest> requests = engine->prefix_requests();
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(requests[0].cache_salt, "mine");
  EXPECT_EQ(requests[0].skip.level, "balanced");
  EXPECT_EQ(requests[1].tokens, (std::vector<int32_t>{259}));
  EXPECT_EQ(requests[2].tokens.front(), kFakeStart);
  EXPECT_EQ(requests[2].tokens.back(), '.') << "the message is still open";
}

TEST_F(GrpcPrefixTest, WhatIsWrongIsNamed) {
  StartServer();
  const auto expect = [&](const v1::ReadPrefixRequest& request, grpc::StatusCode code,
                          const std::string& named) {
    v1::ReadPrefixResponse response;
    const grpc::Status status = Read(request, &response);
    EXPECT_EQ(status.error_code(), code);
    EXPECT_THAT(status.error_message(), HasSubstr(named));
  };
  const grpc::StatusCode invalid = grpc::StatusCode::INVALID_ARGUMENT;
  v1::ReadPrefixRequest request = Law();
  request.clear_name();
  expect(request, invalid, "name");
  request.set_name(std::string(129, 'n'));
  expect(request, invalid, "name");
  request = Law();
  request.clear_prompt();
  expect(request, invalid, "prompt");
  request.mutable_token_ids()->add_ids(-1);
  expect(request, invalid, "token_ids.ids");
  request.mutable_chat();
  expect(request, invalid, "chat.messages");
  request = Law();
  request.set_cache_salt(std::string(129, 's'));
  expect(request, invalid, "cache_salt");
  request = Law();
  request.mutable_skip()->set_level("never");
  expect(request, invalid, "skip.level");
  request = Law();
  request.set_model("other");
  expect(request, grpc::StatusCode::NOT_FOUND, "model");
  EXPECT_TRUE(engine->prefix_requests().empty());
  for (const auto& [status, code] : std::vector<std::pair<absl::Status, grpc::StatusCode>>{
           {absl::AlreadyExistsError("taken"), grpc::StatusCode::ALREADY_EXISTS},
           {absl::FailedPreconditionError("no cache"), grpc::StatusCode::FAILED_PRECONDITION},
           {absl::ResourceExhaustedError("full"), grpc::StatusCode::RESOURCE_EXHAUSTED}}) {
    engine->RefuseNext({status});
    expect(Law(), code, std::string(status.message()));
  }
}

TEST_F(GrpcPrefixTest, CancellingEndsTheReadingAndFreesTheName) {
  StartServer();
  engine->Pause();
  grpc::ClientContext context;
  std::thread cancel([&] {
    EXPECT_TRUE(engine->WaitForPrefixRequests(1));
    context.TryCancel();
  });
  v1::ReadPrefixResponse response;
  EXPECT_EQ(stub->ReadPrefix(&context, Law(), &response).error_code(), grpc::StatusCode::CANCELLED);
  cancel.join();
  EXPECT_TRUE(engine->WaitForCancelled(1));
  EXPECT_TRUE(engine->WaitForIdle());
  engine->Resume();
  EXPECT_EQ(List().prefixes_size(), 0);
  EXPECT_EQ(Code(Law()), grpc::StatusCode::OK);
}

TEST_F(GrpcPrefixTest, TheDeadlineEndsTheReading) {
  StartServer();
  engine->Pause();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  v1::ReadPrefixResponse response;
  EXPECT_EQ(stub->ReadPrefix(&context, Law(), &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(engine->WaitForIdle());
  EXPECT_EQ(List().prefixes_size(), 0);
}

TEST_F(GrpcPrefixTest, StoppingTheServerEndsTheReading) {
  StartServer();
  engine->Pause();
  std::thread stop([&] {
    EXPECT_TRUE(engine->WaitForPrefixRequests(1));
    server->Stop(absl::ZeroDuration());
  });
  EXPECT_NE(Code(Law()), grpc::StatusCode::OK);
  stop.join();
  EXPECT_TRUE(engine->WaitForIdle());
}

TEST_F(GrpcPrefixTest, AnAnswersSaltGoesInAndItsHitsComeOut) {
  FakeOptions options;
  options.cached_tokens = 5;
  StartServer(options);
  v1::GenerateRequest request = TextRequest();
  request.set_cache_salt(std::string(128, 's'));
  request.set_n(2);
  const Answer answer = Generate(request);
  ASSERT_EQ(answer.finishes.size(), 2u);
  EXPECT_EQ(answer.finishes[0].usage().cached_tokens(), 5);
  EXPECT_EQ(engine->requests()[0].cache_salt, request.cache_salt());
  EXPECT_TRUE(ExposesLine("skipserve_prompt_cached_tokens_total 5")) << "once per prompt";
  request.set_cache_salt(std::string(129, 's'));
  const grpc::Status status = Generate(request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("cache_salt"));
}

}  // namespace
}  // namespace skipserve
