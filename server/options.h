// What a command line or a configuration file can say, as plain values. Each default stands in the
// struct of the part that it belongs to, or here where it belongs to the program.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/open.h"
#include "engine/skip/calibrate.h"
#include "server/grpc_server.h"
#include "server/http_server.h"

namespace skipserve {

struct Options {
  EngineOptions engine;  // model_path: the first positional argument
  std::string log_level = "info";
  std::string log_format = "text";

  // serve
  std::string host = "127.0.0.1";  // of both front ends; nobody is served by accident
  uint16_t grpc_port = 50051;      // 0: a free one, printed
  uint16_t http_port = 8080;       // 0: a free one, printed
  std::string served_name;         // "": that of the model's file
  double drain_seconds = 20;       // what running answers get when the server is told to stop
  GrpcOptions grpc;                // host, port and name are those above
  HttpOptions http;                // likewise

  // generate, inspect, bench
  std::string file;           // a document; "": none
  std::string question;       // about it, or alone
  std::string skip = "auto";  // "off", "auto", a level's name, or a policy as JSON
  int64_t max_tokens = 0;     // 0: engine.default_max_tokens
  double temperature = 0;
  uint64_t seed = 0;
  bool compare = false;  // generate: dense too, side by side
  std::string html;      // inspect: where the page goes
  std::string json;      // where the figures go as JSON

  // calibrate
  std::vector<std::string> texts;  // the other positional arguments: files
  CalibrateOptions calibrate;      // its model and threads are engine's
  std::string output;              // "": beside the model

  // bench
  std::vector<int64_t> prompt_lengths = {512, 2048, 8000};  // tokens
  int64_t decode_tokens = 64;
  int32_t rounds = 3;
};

}  // namespace skipserve
