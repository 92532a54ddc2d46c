// A raw HTTP client for tests: one blocking socket that can also misbehave. Every wait ends within
// half a minute. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace skipserve {

struct TestReply {
  int status = 0;  // 0: the connection ended before a whole reply had come
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // chunks put together
  std::vector<std::string> chunks;
  nlohmann::json json() const;  // discarded where the body is not JSON
  // The payloads of "data:" events.
  std::vector<std::string> events() const;
};

class TestClient {
 public:
  // `receive_buffer` above 0 makes a client that takes little at a time.
  explicit TestClient(uint16_t port, int receive_buffer = 0);
  ~TestClient();
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  // False where the server has closed.
  bool Send(absl::string_view bytes);
  void SendGet(absl::string_view path);
  void SendPost(absl::string_view path, absl::string_view body, absl::string_view headers = "");
  TestReply Read(bool head = false);
  // Until `text` is in what has come; false where the connection ends before.
  bool ReadUntil(absl::string_view text);
  // True where the server closes, or resets, without another byte.
  bool ReadsEnd();

  TestReply Get(absl::string_view path);
  TestReply Post(absl::string_view path, absl::string_view body);

  void Close();
  void Reset();  // RST in place of FIN
  void HalfClose();

 private:
  bool Fill();  // more bytes into in_; false at the end
  bool TakeLine(std::string* line);
  bool TakeBytes(size_t count, std::string* bytes);

  int fd_ = -1;
  std::string in_;
};

}  // namespace skipserve
