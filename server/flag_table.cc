// Every flag of every command.
#include "server/flag_table.h"

#include <cmath>

#include "server/flags.h"

namespace skipserve {
namespace {

#define FIELD(path) \
  [](Options & o) -> auto& { return o.path; }

constexpr unsigned kRuns = kServe | kGenerate | kInspect | kBench;  // those that open an engine
constexpr unsigned kReads = kRuns | kEval;                          // those that read prompts
constexpr unsigned kAll = kReads | kCalibrate;
constexpr Range kPorts{0, 65535};
constexpr Range kCounts{1, 1 << 30};
constexpr Range kZeroOrMore{0, 1 << 30};
constexpr Range kSeconds{0.001, 86400};

// A switch that turns off what the field says is on.
template <typename Field>
Flag BindOff(unsigned commands, const char* section, const char* name, Field field,
             const char* help) {
  Flag flag = Bind(commands, section, name, field, help);
  flag.set = [field](absl::string_view value, Options& options) {
    bool off = false;
    absl::Status status = ReadValue(value, {}, &off);
    field(options) = !off;
    return status;
  };
  flag.get = [field](const Options& options) {
    return ShowValue(!field(const_cast<Options&>(options)));
  };
  return flag;
}

std::vector<Flag> MakeTable() {
  std::vector<Flag> table = {
      Bind(kAll, "Model", "model", FIELD(engine.model_path),
           "The model, instead of as the first argument: a .gguf file or a Hugging Face folder."),
      Bind(kReads, "Model", "backend", FIELD(engine.backend),
           "What computes: cpu, or reference (slow and readable, for comparison)."),
      Bind(kAll, "Model", "dtype", FIELD(engine.dtype),
           "Of weights: f32, bf16, int8 (of weights and of what they multiply) or int4 (weights "
           "that the file has in 4 bits stay so, others are as with int8); auto is bf16."),
      Bind(kAll, "Model", "kv-dtype", FIELD(engine.kv_dtype),
           "Of KV: f32, bf16, or int8 (about half the memory of bf16; a scale for each 32 values); "
           "or auto, which is f32 beside weights in f32, else bf16. Unless it is f32, prompts' "
           "attention computes in bf16 where the machine is fast at it, and beside weights in int8 "
           "in 8 bits where the machine has VNNI and no AMX."),
      Bind(kAll, "Model", "threads", FIELD(engine.threads),
           "Threads that compute; 0: as many as the cores this process may use.", {0, 4096}),
      Bind(kRuns, "Model", "kv-memory-mb", FIELD(engine.kv_memory_mb),
           "Memory for KV, MiB; 0: four full contexts, at most 40 % of the machine's memory.",
           kZeroOrMore),
      Bind(kRuns, "Model", "max-context", FIELD(engine.max_context),
           "Tokens of prompt and answer together; 0: what the model was made for.", kZeroOrMore),
      Bind(kRuns, "Model", "chunk-tokens", FIELD(engine.chunk_tokens),
           "Prompt tokens computed together.", kCounts),
      BindOff(kRuns, "Skipping", "no-skip", FIELD(engine.skip_enabled),
              "Read every prompt densely, whatever requests ask for."),
      Bind(kReads, "Skipping", "skip-file", FIELD(engine.skip_file),
           "The file made by `skipserve calibrate`; by default the one beside the model."),
      Bind(kServe, "Skipping", "default-skip-level", FIELD(engine.default_skip_level),
           "The level for requests that do not say; off: dense; by default the settings' own."),
      Bind(kRuns, "Skipping", "skip-min-prompt", FIELD(engine.skip_min_prompt),
           "Shorter prompts, in tokens, are read densely unless a level is asked for; 0: the "
           "settings' own.",
           kZeroOrMore),
      Bind(kServe, "Skipping", "canary", FIELD(engine.canary.rate),
           "Share of the requests that skip, 0 to 1, that are read again densely when the server "
           "has "
           "nothing else to do, to see how far apart the answers' first 32 tokens are.",
           {0, 1}),
      Bind(kServe, "Skipping", "canary-max-kl", FIELD(engine.canary.guard.max_kl),
           "A level whose last 16 canaries (at least 4) are on average further from dense than "
           "this, "
           "KL in nats per token, is served by the next gentler one.",
           {0, 1000}),
      Bind(kServe, "Skipping", "canary-hold", FIELD(engine.canary.guard.hold),
           "Seconds before such a level is tried again; twice as long each time it fails, up to 8 "
           "times as long.",
           {0.001, 1e6}),
      Bind(kServe, "Requests", "max-running", FIELD(engine.max_running),
           "Answers worked on at once.", kCounts),
      Bind(kServe, "Requests", "max-queue", FIELD(engine.max_queue),
           "Answers that may wait; more are refused.", kZeroOrMore),
      Bind(kServe, "Requests", "max-queue-tokens", FIELD(engine.max_queue_tokens),
           "Tokens that the prompts which wait may have, all together; 0: no bound.", kZeroOrMore),
      Bind(kServe, "Requests", "promised-tokens", FIELD(engine.promised_tokens),
           "New tokens whose KV memory a request is sure of when it is admitted. Longer answers "
           "take "
           "what is free, or begin again later; 0: all that they may need is promised.",
           kZeroOrMore),
      Bind(kServe, "Requests", "api-keys-file", FIELD(serve.api_keys_file),
           "Requests need a key of this file: a line for each, the key, the client's name, and the "
           "highest priority it may ask for (0). Clients share the machine evenly."),
      Bind(kServe, "Requests", "default-max-tokens", FIELD(engine.default_max_tokens),
           "New tokens of an answer where a request does not say.", kCounts),
      Bind(kServe, "Requests", "max-token-gap", FIELD(engine.max_token_gap),
           "Seconds between two tokens of an answer, whatever prompts others send; shorter is "
           "smoother, longer reads prompts faster.",
           {0.001, 3600}),
      Bind(kServe, "Requests", "drain-seconds", FIELD(serve.drain_seconds),
           "What running answers get to end in when the server is told to stop.", {0, 86400}),
      Bind(kServe, "Requests", "stop-seconds", FIELD(serve.stop_seconds),
           "What ended answers then get to reach slow readers in.", {0, 86400}),
      BindOff(kServe, "Prefix cache", "no-prefix-cache", FIELD(engine.prefix_cache),
              "Read every prompt from its first token, also where others began alike."),
      Bind(kServe, "Prefix cache", "prefix-states", FIELD(engine.prefix_states),
           "Of the hidden states kept for prompts that skip: f32, or bf16, which takes half the "
           "memory and rounds them."),
      Bind(kServe, "Addresses", "host", FIELD(serve.host),
           "Where to listen; 0.0.0.0 for all of the machine's addresses, as in a container."),
      Bind(kServe, "Addresses", "grpc-port", FIELD(serve.grpc_port), "0: a free one, printed.",
           kPorts),
      Bind(kServe, "Addresses", "http-port", FIELD(serve.http_port), "0: a free one, printed.",
           kPorts),
      Bind(kServe, "Addresses", "served-name", FIELD(serve.served_name),
           "The model's name for clients; by default that of its file."),
      BindOff(kServe, "Addresses", "no-page", FIELD(serve.http.page),
              "Without the page for people at the HTTP address."),
      Bind(kServe, "Log", "record-trace", FIELD(serve.record_trace),
           "Write arrivals, lengths and work of all requests to this file, never text, for "
           "simulation."),
      Bind(kServe, "Limits", "grpc-max-message-mb", FIELD(serve.grpc.max_message_mb),
           "Largest gRPC request, MiB.", {1, 1024}),
      Bind(kServe, "Limits", "grpc-workers", FIELD(serve.grpc.worker_threads),
           "Threads that tokenize for gRPC.", {1, 256}),
      Bind(kServe, "Limits", "http-io-threads", FIELD(serve.http.io_threads),
           "Threads that move HTTP's bytes.", {1, 256}),
      Bind(kServe, "Limits", "http-workers", FIELD(serve.http.worker_threads),
           "Threads that parse and tokenize for HTTP.", {1, 256}),
      Bind(kServe, "Limits", "http-max-connections", FIELD(serve.http.max_connections),
           "HTTP connections at once.", {1, 1000000}),
      Bind(kServe, "Limits", "http-header-bytes", FIELD(serve.http.header_limit_bytes),
           "Largest header of an HTTP request.", {1024, 1 << 20}),
      Bind(kServe, "Limits", "http-body-bytes", FIELD(serve.http.body_limit_bytes),
           "Largest body of an HTTP request.", {1024, double{1 << 30} * 4}),
      Bind(kServe, "Limits", "http-body-memory-bytes", FIELD(serve.http.body_memory_bytes),
           "All bodies of HTTP requests together.", {1024, 1e15}),
      Bind(kServe, "Limits", "http-header-seconds", FIELD(serve.http.header_timeout),
           "For a request's header to arrive.", kSeconds),
      Bind(kServe, "Limits", "http-body-seconds", FIELD(serve.http.body_timeout),
           "For a request's body to arrive, and a second more for every 64 KiB that came.",
           kSeconds),
      Bind(kServe, "Limits", "http-idle-seconds", FIELD(serve.http.idle_timeout),
           "Between two requests on one connection.", kSeconds),
      Bind(kServe, "Limits", "http-write-seconds", FIELD(serve.http.write_timeout),
           "For a client to take 64 KiB.", kSeconds),
      Bind(kServe, "Limits", "http-heartbeat-seconds", FIELD(serve.http.heartbeat),
           "A silent stream gets a comment this often.", kSeconds),
      Bind(kGenerate, "Question", "file", FIELD(generate.question.document_path),
           "A document to read; - is standard input."),
      Bind(kGenerate, "Question", "prompt", FIELD(generate.question.prompt),
           "Text that stands before the question, as a short document."),
      Bind(kGenerate, "Question", "question", FIELD(generate.question.question),
           "What to ask, about the document or alone."),
      Bind(kGenerate, "Question", "raw", FIELD(generate.question.raw),
           "Without the chat template: the text is continued."),
      Bind(
          kGenerate, "Question", "skip", FIELD(generate.skips),
          "How to read it: off, auto, a level's name, a policy as JSON, or @FILE with one; several "
          "between commas are compared."),
      Bind(kGenerate, "Question", "compare", FIELD(compare),
           "Answer densely first, and show both side by side."),
      Bind(kGenerate, "Answer", "max-tokens", FIELD(generate.stop.max_tokens),
           "New tokens at most; 0: the engine's default.", kZeroOrMore),
      Bind(kGenerate, "Answer", "ignore-eos", FIELD(generate.stop.ignore_eos),
           "Go on after the model's end."),
      Bind(kGenerate, "Answer", "temperature", FIELD(generate.sampling.temperature),
           "0: always the likeliest token.", {0, 2}),
      Bind(kGenerate, "Answer", "top-k", FIELD(generate.sampling.top_k),
           "Draw among so many best tokens; 0: all.", kZeroOrMore),
      Bind(kGenerate, "Answer", "top-p", FIELD(generate.sampling.top_p),
           "Draw among the best tokens that together have this probability.", {0.0001, 1}),
      Bind(kGenerate, "Answer", "seed", FIELD(generate.sampling.seed),
           "The same seed gives the same answer.", {0, 1.9e19}),
      Bind(kGenerate, "Answer", "json", FIELD(generate.json), "Print answer and report as JSON."),
      Bind(kInspect, "Page", "html", FIELD(inspect.html),
           "Where to write a page that shows how deep each token was computed; without it only the "
           "model's facts are shown."),
      Bind(kInspect, "Page", "file", FIELD(inspect.question.document_path),
           "The document to read; - is standard input."),
      Bind(kInspect, "Page", "prompt", FIELD(inspect.question.prompt),
           "Text that stands before the question, as a short document."),
      Bind(kInspect, "Page", "question", FIELD(inspect.question.question),
           "What to ask about the document."),
      Bind(kInspect, "Page", "raw", FIELD(inspect.question.raw),
           "Without the chat template: the text is continued."),
      Bind(kInspect, "Page", "skip", FIELD(inspect.skip),
           "How to read it: off, auto, a level's name, a policy as JSON, or @FILE with one."),
      Bind(kInspect, "Page", "max-tokens", FIELD(inspect.max_tokens),
           "New tokens of the answer on the page, at most.", kCounts),
      Bind(kInspect, "Page", "json", FIELD(inspect.json), "Print the facts as JSON."),
      Bind(kCalibrate, "Calibration", "out", FIELD(calibrate.out),
           "The file to write; by default beside the model, where it is found by itself."),
      Bind(kCalibrate, "Calibration", "proxy-channels", FIELD(calibrate.calibrate.proxy.d_low),
           "Channels that a proxy keeps; 0: what suits the model.", kZeroOrMore),
      Bind(kCalibrate, "Calibration", "proxy-rank", FIELD(calibrate.calibrate.proxy.rank),
           "Rank of a proxy's factors; 0: what suits the model.", kZeroOrMore),
      Bind(kCalibrate, "Calibration", "tokens-per-text", FIELD(calibrate.calibrate.tokens_per_text),
           "Texts are cut into pieces of so many tokens.", {16, 1 << 20}),
      Bind(kCalibrate, "Calibration", "max-pieces", FIELD(calibrate.calibrate.max_pieces),
           "Pieces used in all, spread over the texts.", {2, 1 << 20}),
      Bind(kCalibrate, "Levels", "no-search", FIELD(calibrate.no_search),
           "Keep the ready levels of the model, and build the proxies alone."),
      Bind(kCalibrate, "Levels", "min-speedup", FIELD(calibrate.min_speedups),
           "What gentle, balanced and fast are to save: dense FLOPs over theirs.", {1, 100}),
      Bind(kCalibrate, "Levels", "max-kl", FIELD(calibrate.max_kls),
           "How far they may be from dense, in nats per token of its answers.", {0, 100}),
      Bind(kCalibrate, "Levels", "search-tokens", FIELD(calibrate.find.tokens),
           "Tokens of the search's prompts.", {64, 1 << 20}),
      Bind(kCalibrate, "Levels", "search-facts", FIELD(calibrate.find.facts),
           "Facts that the search is made on.", {1, 1000}),
      Bind(kCalibrate, "Levels", "held-out-cases", FIELD(calibrate.find.held_out_cases),
           "Facts of each length that the levels' figures are of.", {1, 10000}),
      Bind(kCalibrate, "Levels", "seed", FIELD(calibrate.find.seed), "Of the tasks.", {0, 1.9e19}),
      Bind(kBench, "Measurement", "prompt-lengths", FIELD(bench.prompt_lengths),
           "Tokens, between commas.", {1, 1 << 30}),
      Bind(kBench, "Measurement", "levels", FIELD(bench.levels),
           "Ways of reading to measure in turn, as generate's --skip has them; off is dense."),
      Bind(kBench, "Measurement", "decode-tokens", FIELD(bench.decode_tokens),
           "New tokens after each prompt.", kCounts),
      Bind(kBench, "Measurement", "repeat", FIELD(bench.repeat),
           "Times each is measured; the median counts.", {1, 1000}),
      Bind(kBench, "Measurement", "seed", FIELD(bench.seed), "Of the prompts' tokens.",
           {0, 1.9e19}),
      Bind(kBench, "Measurement", "profile", FIELD(bench.profile),
           "One more run of each, with the time and the rate of every operation."),
      Bind(kBench, "Measurement", "json", FIELD(bench.json_path),
           "Write the figures to this file too; -: JSON instead of the table."),
      Bind(kEval, "Measurement", "policy", FIELD(eval.policies),
           "What to measure: levels, a policy as JSON, or @FILE with one or with policies by name; "
           "by default all levels."),
      Bind(kEval, "Measurement", "tasks", FIELD(eval.tasks),
           "Families of tasks, between commas; by default all."),
      Bind(kEval, "Measurement", "lengths", FIELD(eval.lengths),
           "Tokens of the prompts, between commas.", {64, 1 << 30}),
      Bind(kEval, "Measurement", "cases", FIELD(eval.cases), "Prompts of each family and length.",
           {1, 100000}),
      Bind(kEval, "Measurement", "max-answer-tokens", FIELD(eval.max_answer_tokens),
           "Tokens of the dense answers along which readings are compared, at most.", {1, 128}),
      Bind(kEval, "Measurement", "no-baselines", FIELD(eval.no_baselines),
           "Without the baselines at equal FLOPs: the last tokens only, and pruning once."),
      Bind(
          kEval, "Measurement", "calibration-tasks", FIELD(eval.calibration),
          "The tasks that calibration searches on, not those held out: for finding settings, never "
          "for reporting them."),
      Bind(kEval, "Measurement", "seed", FIELD(eval.seed), "Of the tasks.", {0, 1.9e19}),
      Bind(kEval, "Measurement", "json", FIELD(eval.json_path),
           "Write figures and all cases to this file too; -: JSON instead of the table."),
      Bind(kAll, "Log", "log-level", FIELD(log_level), "trace, debug, info, warn, error or off."),
      Bind(kAll, "Log", "log-format", FIELD(log_format), "text, or json: one object a line."),
  };
  return table;
}

#undef FIELD

// Without an exponent where there is no need for one.
std::string Bound(double bound) {
  return std::abs(bound) < 1e15 && bound == std::trunc(bound)
             ? absl::StrCat(static_cast<int64_t>(bound))
             : absl::StrCat(bound);
}

}  // namespace

std::string KindText(bool whole, Range range) {
  return absl::StrCat(whole ? "a whole number" : "a number", " from ", Bound(range.min), " to ",
                      Bound(range.max));
}

const std::vector<Flag>& FlagTable() {
  static const auto* const table = new std::vector<Flag>(MakeTable());
  return *table;
}

}  // namespace skipserve
