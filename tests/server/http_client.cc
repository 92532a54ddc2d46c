#include "tests/server/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace skipserve {

nlohmann::json TestReply::json() const { return nlohmann::json::parse(body, nullptr, false); }

std::vector<std::string> TestReply::events() const {
  std::vector<std::string> events;
  for (absl::string_view event : absl::StrSplit(body, "\n\n", absl::SkipEmpty())) {
    if (absl::ConsumePrefix(&event, "data: ")) events.emplace_back(event);
  }
  return events;
}

TestClient::TestClient(uint16_t port, int receive_buffer) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
  const timeval limit{30, 0};
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  if (receive_buffer > 0) {
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) Close();
}

TestClient::~TestClient() { Close(); }

void TestClient::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

void TestClient::Reset() {
  const linger hard{1, 0};
  setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  Close();
}

void TestClient::HalfClose() { shutdown(fd_, SHUT_WR); }

bool TestClient::Send(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

void TestClient::SendGet(absl::string_view path) {
  Send(absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: test\r\n\r\n"));
}

void TestClient::SendPost(absl::string_view path, absl::string_view body,
                          absl::string_view headers) {
  Send(absl::StrCat("POST ", path, " HTTP/1.1\r\nHost: test\r\n", headers,
                    "Content-Type: application/json\r\nContent-Length: ", body.size(), "\r\n\r\n",
                    body));
}

bool TestClient::Fill() {
  char bytes[4096];
  const ssize_t got = recv(fd_, bytes, sizeof(bytes), 0);
  if (got <= 0) return false;
  in_.append(bytes, static_cast<size_t>(got));
  return true;
}

bool TestClient::TakeLine(std::string* line) {
  size_t end = 0;
  while ((end = in_.find("\r\n")) == std::string::npos) {
    if (!Fill()) return false;
  }
  *line = in_.substr(0, end);
  in_.erase(0, end + 2);
  return true;
}

bool TestClient::TakeBytes(size_t count, std::string* bytes) {
  while (in_.size() < count) {
    if (!Fill()) return false;
  }
  *bytes = in_.substr(0, count);
  in_.erase(0, count);
  return true;
}

TestReply TestClient::Read(bool head) {
  TestReply reply;
  const TestReply broken;
  std::string line;
  if (!TakeLine(&line)) return broken;
  const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(' ', 2));
  if (parts.size() < 2 || !absl::SimpleAtoi(parts[1], &reply.status)) return broken;
  while (TakeLine(&line) && !line.empty()) {
    const std::pair<std::string, std::string> field =
        absl::StrSplit(line, absl::MaxSplits(": ", 1));
    reply.headers[absl::AsciiStrToLower(field.first)] = field.second;
  }
  if (reply.status == 100) return Read(head);
  if (head) return reply;
  if (reply.headers.count("content-length") > 0) {
    const size_t size = std::strtoul(reply.headers["content-length"].c_str(), nullptr, 10);
    return TakeBytes(size, &reply.body) ? reply : broken;
  }
  if (reply.headers.count("transfer-encoding") == 0) {
    while (Fill()) {
    }
    reply.body = std::exchange(in_, "");
    return reply;
  }
  for (;;) {
    std::string chunk;
    if (!TakeLine(&line)) return broken;
    const size_t size = std::strtoul(line.c_str(), nullptr, 16);
    if (!TakeBytes(size, &chunk) || !TakeLine(&line) || !line.empty()) return broken;
    if (size == 0) return reply;
    reply.body += chunk;
    reply.chunks.push_back(std::move(chunk));
  }
}

bool TestClient::ReadUntil(absl::string_view text) {
  while (!absl::StrContains(in_, text)) {
    if (!Fill()) return false;
  }
  return true;
}

bool TestClient::ReadsEnd() { return in_.empty() && !Fill(); }

TestReply TestClient::Get(absl::string_view path) {
  SendGet(path);
  return Read();
}

TestReply TestClient::Post(absl::string_view path, absl::string_view body) {
  SendPost(path, body);
  return Read();
}

}  // namespace skipserve
