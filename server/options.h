// What a command line or a configuration file can say, as plain values. Each default stands in the
// struct of the part that it belongs to, or here where it belongs to the program.
#pragma once

#include <cstdint>
#include <string>

#include "engine/open.h"
#include "server/bench.h"
#include "server/calibrate.h"
#include "server/eval.h"
#include "server/generate.h"
#include "server/grpc_server.h"
#include "server/http_server.h"
#include "server/inspect.h"

namespace skipserve {

struct ServeOptions {
  std::string host = "127.0.0.1";  // of both front ends; nobody is served by accident
  uint16_t grpc_port = 50051;      // 0: a free one, printed
  uint16_t http_port = 8080;       // 0: a free one, printed
  std::string served_name;         // "": that of the model's file
  std::string api_keys_file;       // "": everybody may ask
  std::string record_trace;        // where to; "": nowhere
  double drain_seconds = 20;       // what running answers get when the server is told to stop
  double stop_seconds = 5;         // and then their last words, to reach their readers
  GrpcOptions grpc;                // host, port and name are those above
  HttpOptions http;                // likewise
};

struct Options {
  EngineOptions engine;  // of every command; its copies in the jobs below are filled from it
  std::string log_level = "info";
  std::string log_format = "text";
  ServeOptions serve;
  GenerateJob generate;
  bool compare = false;  // generate: dense first, beside what was asked for
  CalibrateJob calibrate;
  InspectJob inspect;
  BenchJob bench;
  EvalJob eval;
};

}  // namespace skipserve
