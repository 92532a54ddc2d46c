// API keys, clients and priorities over gRPC.
#include <fstream>

#include "absl/strings/str_cat.h"
#include "tests/server/grpc_fixture.h"

namespace skipserve {
namespace {

class GrpcKeysTest : public GrpcTest {
 protected:
  void SetUp() override {
    const std::string path = absl::StrCat(testing::TempDir(), "/grpc_keys");
    std::ofstream(path) << "alpha team-a 5\n";
    options_.api_keys = *ApiKeys::Read(path);
    StartServer();
  }
  void AddKey(grpc::ClientContext& context, const std::string& key) {
    if (!key.empty()) context.AddMetadata("authorization", "Bearer " + key);
  }
  Answer Ask(const v1::GenerateRequest& request, const std::string& key) {
    grpc::ClientContext context;
    AddKey(context, key);
    return Collect(*stub->Generate(&context, request));
  }
};

TEST_F(GrpcKeysTest, WithoutAKeyNothingIsAnswered) {
  for (const char* key : {"", "beta"}) {
    const auto expect = [&](auto call) {
      grpc::ClientContext context;
      AddKey(context, key);
      EXPECT_EQ(call(context).error_code(), grpc::StatusCode::UNAUTHENTICATED) << key;
    };
    EXPECT_EQ(Ask(TextRequest(), key).status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
    expect([&](grpc::ClientContext& c) {
      v1::TokenizeResponse r;
      return stub->Tokenize(&c, v1::TokenizeRequest(), &r);
    });
    expect([&](grpc::ClientContext& c) {
      v1::GetModelInfoResponse r;
      return stub->GetModelInfo(&c, v1::GetModelInfoRequest(), &r);
    });
    expect([&](grpc::ClientContext& c) {
      v1::GetLoadResponse r;
      return stub->GetLoad(&c, v1::GetLoadRequest(), &r);
    });
    expect([&](grpc::ClientContext& c) {
      v1::ReadPrefixResponse r;
      return stub->ReadPrefix(&c, v1::ReadPrefixRequest(), &r);
    });
    expect([&](grpc::ClientContext& c) {
      v1::ListPrefixesResponse r;
      return stub->ListPrefixes(&c, v1::ListPrefixesRequest(), &r);
    });
    expect([&](grpc::ClientContext& c) {
      v1::DropPrefixResponse r;
      return stub->DropPrefix(&c, v1::DropPrefixRequest(), &r);
    });
  }
  EXPECT_TRUE(engine->requests().empty());
}

TEST_F(GrpcKeysTest, TheKeySaysWhoAsks) {
  v1::GenerateRequest request = TextRequest();
  request.set_user("somebody");
  request.set_priority(5);
  EXPECT_TRUE(Ask(request, "alpha").status.ok());
  EXPECT_EQ(engine->requests().at(0).client, "team-a");
  EXPECT_EQ(engine->requests().at(0).priority, 5);
  request.set_priority(6);
  EXPECT_EQ(Ask(request, "alpha").status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(GrpcTest, WithoutKeysTheRequestSaysWhoAsks) {
  StartServer();
  v1::GenerateRequest request = TextRequest();
  request.set_user("somebody");
  EXPECT_TRUE(Generate(request).status.ok());
  EXPECT_EQ(engine->requests().at(0).client, "somebody");
}

TEST_F(GrpcTest, AFullQueueSaysWhenToComeBack) {
  StartServer();
  engine->SetRetryAfter(absl::Seconds(12));
  engine->RefuseNext({absl::ResourceExhaustedError("queue full: try again later")});
  grpc::ClientContext context;
  const Answer answer = Collect(*stub->Generate(&context, TextRequest()));
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto found = trailers.find("retry-after");
  ASSERT_NE(found, trailers.end());
  EXPECT_EQ(std::string(found->second.data(), found->second.size()), "12");
}

}  // namespace
}  // namespace skipserve
