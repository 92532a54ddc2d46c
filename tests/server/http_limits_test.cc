// Sizes and times: whatever a client sends, or fails to send, gets an answer or an end, and the
// next request is served.
#include <memory>
#include <string>
#include <vector>

#include "tests/server/http_fixture.h"

namespace skipserve {
namespace {

using std::chrono::milliseconds;

TEST_F(HttpTest, HugeHeaderIs431) {
  TestClient client(port());
  client.Send("GET /health HTTP/1.1\r\nHost: test\r\nX-Long: " + std::string(1 << 20, 'x'));
  EXPECT_EQ(client.Read().status, 431);
  ExpectAlive();
}

TEST_F(HttpTest, BodyOverTheLimitIs413) {
  HttpOptions options;
  options.body_limit_bytes = 10000;
  Restart(FakeOptions(), options);
  TestClient client(port());
  client.SendPost(kText, "{\"prompt\":\"" + std::string(1 << 20, 'x') + "\"}");
  const TestReply reply = client.Read();
  EXPECT_EQ(reply.status, 413);
  EXPECT_EQ(reply.headers.at("connection"), "close");
  EXPECT_TRUE(client.ReadsEnd());
  // In chunks, with no length said beforehand.
  TestClient chunked(port());
  chunked.Send("POST /v1/completions HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 20; ++i) chunked.Send("3e8\r\n" + std::string(1000, ' ') + "\r\n");
  EXPECT_EQ(chunked.Read().status, 413);
  ExpectAlive();
}

TEST_F(HttpTest, ChunkedBodyAndExpectContinue) {
  TestClient client(port());
  const std::string body = TextBody().dump();
  client.Send("POST /v1/completions HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
  client.Send("5\r\n" + body.substr(0, 5) + "\r\n");
  char size[16];
  snprintf(size, sizeof(size), "%zx\r\n", body.size() - 5);
  client.Send(size + body.substr(5) + "\r\n0\r\n\r\n");
  EXPECT_EQ(client.Read().status, 200);
  client.Send(
      "POST /v1/completions HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\n"
      "Content-Length: " +
      std::to_string(body.size()) + "\r\n\r\n");
  ASSERT_TRUE(client.ReadUntil("100 Continue\r\n\r\n"));
  client.Send(body);
  EXPECT_EQ(client.Read().status, 200);
}

TEST_F(HttpTest, BodiesOfAllClientsTogetherAreBounded) {
  HttpOptions options;
  options.body_memory_bytes = 100000;
  Restart(FakeOptions(), options);
  const std::string large = "{\"text\":\"" + std::string(200000, 'x') + "\"}";
  EXPECT_EQ(PostText("/tokenize", large).status, 503);
  EXPECT_EQ(PostText("/tokenize", large.substr(0, 50000) + "\"}").status, 200);
  ExpectAlive();
}

TEST_F(HttpTest, ABodyOnceReadIsHeldNoLonger) {
  HttpOptions options;
  options.body_memory_bytes = 100000;
  FakeOptions fake;
  fake.max_context = 1'000'000;
  Restart(fake, options);
  engine_->Pause();
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 5; ++i) {  // together they have twice the memory's bytes
    const bool chat = i % 2 == 0;
    const std::string text(40000, 'x');
    nlohmann::json body = {{"prompt", text}};
    if (chat) body = {{"messages", {{{"role", "user"}, {"content", text}}}}};
    clients.push_back(std::make_unique<TestClient>(port()));
    clients.back()->SendPost(chat ? kChat : kText, body.dump());
    ASSERT_TRUE(engine_->WaitForRequests(i + 1));
  }
  engine_->Resume();
  for (const auto& client : clients) EXPECT_EQ(client->Read().status, 200);
}

TEST_F(HttpTest, SlowHeaderTimesOut) {
  HttpOptions options;
  options.header_timeout = milliseconds(50);
  Restart(FakeOptions(), options);
  TestClient client(port());
  client.Send("GET /health HTTP/1.1\r\nHost:");
  EXPECT_EQ(client.Read().status, 408);
  EXPECT_TRUE(client.ReadsEnd());
  ExpectAlive();
}

TEST_F(HttpTest, SlowBodyTimesOut) {
  HttpOptions options;
  options.body_timeout = milliseconds(50);
  Restart(FakeOptions(), options);
  TestClient client(port());
  client.Send("POST /tokenize HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{");
  EXPECT_EQ(client.Read().status, 408);
  ExpectAlive();
}

TEST_F(HttpTest, IdleConnectionIsClosed) {
  HttpOptions options;
  options.idle_timeout = milliseconds(50);
  Restart(FakeOptions(), options);
  TestClient silent(port());
  EXPECT_TRUE(silent.ReadsEnd());
  TestClient client(port());
  EXPECT_EQ(client.Get("/health").status, 200);
  EXPECT_TRUE(client.ReadsEnd());
}

TEST_F(HttpTest, GarbageGets400AndAnEnd) {
  const std::string cases[] = {
      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 tls hello",
      std::string(1000, '\0'),
      "GET\r\n\r\n",
      "GET /health HTTP/9.9\r\n\r\n",
      "GET /%zz HTTP/1.1\r\n\r\n",
      "GET no-slash HTTP/1.1\r\n\r\n",
      "GET /health HTTP/1.1\r\nno colon\r\n\r\n",
      "POST /tokenize HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
      "POST /tokenize HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
      "POST /tokenize HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
      "POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      "POST /tokenize HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: "
      "chunked\r\n\r\n0\r\n\r\n"};
  for (const std::string& bytes : cases) {
    TestClient client(port());
    client.Send(bytes);
    const int status = client.Read().status;
    EXPECT_TRUE(status == 400 || status == 413 || status == 505) << status << ": " << bytes;
    client.HalfClose();
    EXPECT_TRUE(client.ReadsEnd()) << bytes;
    EXPECT_EQ(Get("/health").status, 200);
  }
  ExpectAlive();
}

TEST_F(HttpTest, PartsOfRequestsThenNothing) {
  const std::string request =
      "POST /tokenize HTTP/1.1\r\nContent-Length: 12\r\n\r\n{\"text\":\"x\"}";
  for (size_t size = 0; size < request.size(); ++size) {
    TestClient client(port());
    client.Send(request.substr(0, size));
    if (size % 2 == 0) client.Reset();
  }
  // A byte at a time is still a request.
  TestClient client(port());
  for (const char c : request) client.Send(std::string(1, c));
  EXPECT_EQ(client.Read().status, 200);
  ExpectAlive();
}

TEST_F(HttpTest, ConnectionsTooManyAreTurnedAway) {
  HttpOptions options;
  options.max_connections = 2;
  Restart(FakeOptions(), options);
  TestClient first(port());
  TestClient second(port());
  EXPECT_EQ(first.Get("/health").status, 200);
  EXPECT_EQ(second.Get("/health").status, 200);
  TestClient third(port());
  const TestReply refused = third.Get("/health");
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
  first.Close();
  // The place is free once the server has seen the end; a connection asks again until then.
  int status = 0;
  for (int i = 0; i < 1000 && status != 200; ++i) status = Get("/health").status;
  EXPECT_EQ(status, 200);
  EXPECT_EQ(second.Get("/health").status, 200);
}

}  // namespace
}  // namespace skipserve
