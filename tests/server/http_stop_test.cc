// Starting and stopping: nothing hangs, nothing runs on, and what can be finished is.
#include <string>
#include <thread>

#include "tests/server/http_fixture.h"

namespace skipserve {
namespace {

TEST_F(HttpTest, StopClosesIdleConnections) {
  TestClient idle(port());
  EXPECT_EQ(idle.Get("/health").status, 200);
  TestClient fresh(port());
  TestClient halfway(port());
  halfway.Send("POST /tokenize HTTP/1.1\r\nContent-Len");
  const uint16_t old_port = port();
  server_->Stop(absl::Seconds(30));
  EXPECT_TRUE(idle.ReadsEnd());
  EXPECT_TRUE(fresh.ReadsEnd());
  EXPECT_TRUE(halfway.ReadsEnd());
  EXPECT_EQ(TestClient(old_port).Get("/health").status, 0);
  server_->Stop(absl::Seconds(30));  // again: nothing
}

TEST_F(HttpTest, StopLetsAReplyUnderWayFinish) {
  engine_->Pause();
  TestClient client(port());
  client.SendPost(kText, TextBody({{"stream", true}}).dump());
  ASSERT_TRUE(engine_->WaitForRequests(1));
  std::thread stop([this] { server_->Stop(absl::Seconds(30)); });
  engine_->Resume();
  const TestReply reply = client.Read();
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.events().back(), "[DONE]");
  EXPECT_TRUE(client.ReadsEnd());
  stop.join();
}

TEST_F(HttpTest, StopCutsOffWhatDoesNotFinish) {
  engine_->Pause();
  TestClient plain(port());
  plain.SendPost(kText, TextBody().dump());
  TestClient stream(port());
  stream.SendPost(kText, TextBody({{"stream", true}}).dump());
  ASSERT_TRUE(engine_->WaitForRequests(2));
  server_->Stop(absl::Milliseconds(50));
  EXPECT_TRUE(engine_->WaitForCancelled(2));
  EXPECT_EQ(plain.Read().status, 0);
  EXPECT_EQ(stream.Read().status, 0);
}

TEST_F(HttpTest, DrainThenStopAnswersEveryone) {
  engine_->Pause();
  TestClient plain(port());
  plain.SendPost(kText, TextBody().dump());
  TestClient stream(port());
  stream.SendPost(kText, TextBody({{"stream", true}}).dump());
  ASSERT_TRUE(engine_->WaitForRequests(2));
  engine_->Drain(absl::ZeroDuration());
  server_->Stop(absl::Seconds(30));
  EXPECT_EQ(plain.Read().status, 503);
  EXPECT_EQ(stream.Read().status, 503);
}

TEST_F(HttpTest, TheEngineMayOutliveTheServer) {
  FakeOptions fake;
  fake.token_delay = absl::Milliseconds(1);
  fake.max_context = 1'000'000;
  Restart(fake);
  TestClient client(port());
  client.SendPost(
      kText, TextBody({{"stream", true}, {"ignore_eos", true}, {"max_tokens", 100000}}).dump());
  ASSERT_TRUE(client.ReadUntil("data: "));
  server_.reset();
  EXPECT_TRUE(engine_->WaitForCancelled(1));
  EXPECT_TRUE(engine_->WaitForIdle());
}

TEST_F(HttpTest, AnAddressInUseIsAnError) {
  HttpOptions options;
  options.port = port();
  const auto second = HttpServer::Start(*engine_, metrics_, options);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), ::testing::HasSubstr(std::to_string(port())));
  options.host = "no.such.host.invalid";
  EXPECT_FALSE(HttpServer::Start(*engine_, metrics_, options).ok());
}

}  // namespace
}  // namespace skipserve
