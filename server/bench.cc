#include "server/bench.h"

#include <algorithm>
#include <fstream>
#include <memory>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "engine/machine.h"
#include "engine/open_model.h"
#include "engine/status_macros.h"
#include "server/bench_report.h"
#include "server/run_request.h"
#include "server/terminal.h"
#include "server/tool_input.h"

namespace skipserve {
namespace {

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

absl::Status CheckJob(const BenchJob& job, const ModelInfo& info) {
  const auto wrong = [](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat(parts...));
  };
  if (job.prompt_lengths.empty()) return wrong("--prompt-lengths is empty");
  if (job.levels.empty()) return wrong("--levels is empty");
  if (job.repeat < 1) return wrong("--repeat is ", job.repeat, "; it must be at least 1");
  if (job.decode_tokens < 1) {
    return wrong("--decode-tokens is ", job.decode_tokens, "; it must be at least 1");
  }
  for (const int64_t length : job.prompt_lengths) {
    if (length < 1)
      return wrong("--prompt-lengths has ", length, "; a prompt has at least 1 token");
    if (length > info.max_context || job.decode_tokens + 1 > info.max_context - length) {
      return wrong("a prompt of ", length, " tokens and ", job.decode_tokens + 1,
                   " new ones do not fit this model's context of ", info.max_context,
                   ": choose shorter --prompt-lengths");
    }
  }
  return absl::OkStatus();
}

// Words of a made-up language: any ordinary token, with equal chance. Every run reads another text,
// so nothing that a server may keep of an earlier prompt can help.
std::vector<int32_t> RandomPrompt(const std::vector<int32_t>& ids, int64_t length,
                                  std::mt19937_64& random) {
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < length; ++i) prompt.push_back(ids[random() % ids.size()]);
  return prompt;
}

std::vector<int32_t> OrdinaryTokens(const Engine& engine) {
  std::vector<int32_t> ids;
  const int32_t count = std::min(engine.tokenizer().vocab_size(), engine.info().config.vocab_size);
  for (int32_t id = 0; id < count; ++id) {
    if (!engine.tokenizer().IsSpecial(id)) ids.push_back(id);
  }
  return ids;
}

// Takes what the operations counted at the first token and at the end. The engine computes on the
// thread that calls this, so nothing is counted meanwhile.
class ProfileSink final : public ResponseSink {
 public:
  explicit ProfileSink(ProfiledOps& ops) : ops_(ops) { ops_.Take(); }

  void OnToken(TokenEvent) override {
    if (!std::exchange(first_, false)) return;
    prefill = ops_.Take();
  }
  void OnFinish(FinishEvent event) override {
    decode = ops_.Take();
    status = std::move(event.status);
    ended_.Notify();
  }
  void Await() { ended_.WaitForNotification(); }

  OpTallies prefill, decode;
  absl::Status status;

 private:
  ProfiledOps& ops_;
  bool first_ = true;
  absl::Notification ended_;
};

class Bencher {
 public:
  Bencher(Engine& engine, const BenchJob& job, std::vector<SkipRequest> skips, ProfiledOps* ops)
      : engine_(engine),
        job_(job),
        ops_(ops),
        skips_(std::move(skips)),
        ids_(OrdinaryTokens(engine)),
        random_(job.seed) {}

  GenerateRequest Request(int64_t length, const SkipRequest& skip, int64_t new_tokens) {
    GenerateRequest request;
    request.prompt = RandomPrompt(ids_, length, random_);
    request.sampling.temperature = 0;
    request.stop.max_tokens = new_tokens;
    request.stop.ignore_eos = true;
    request.skip = skip;
    return request;
  }

  absl::StatusOr<Report> Run(int64_t length, const SkipRequest& skip, int64_t new_tokens) {
    ASSIGN_OR_RETURN(RunOutcome outcome,
                     RunRequest(engine_, Request(length, skip, new_tokens), nullptr, nullptr));
    RETURN_IF_ERROR(outcome.status);
    return std::move(outcome.report);
  }

  absl::Status Profile(const SkipRequest& skip, BenchCell& cell) {
    auto watch = std::make_shared<ProfileSink>(*ops_);
    const GenerateRequest request = Request(cell.prompt_tokens, skip, job_.decode_tokens + 1);
    RETURN_IF_ERROR(engine_.Submit(request, watch).status());
    watch->Await();
    cell.prefill_ops = std::move(watch->prefill);
    cell.decode_ops = std::move(watch->decode);
    return watch->status;
  }

  // All levels at one length, in turn; odd rounds go backwards, so no level is always the first.
  absl::StatusOr<std::vector<BenchCell>> Length(int64_t length, const std::function<void()>& done) {
    std::vector<BenchCell> cells(skips_.size());
    for (size_t i = 0; i < skips_.size(); ++i) {
      cells[i].prompt_tokens = length;
      cells[i].requested = job_.levels[i];
      RETURN_IF_ERROR(Run(length, skips_[i], 2).status());  // warm-up
      done();
    }
    for (int64_t round = 0; round < job_.repeat; ++round) {
      for (size_t k = 0; k < skips_.size(); ++k) {
        const size_t i = round % 2 == 0 ? k : skips_.size() - 1 - k;
        ASSIGN_OR_RETURN(Report report, Run(length, skips_[i], job_.decode_tokens + 1));
        Note(std::move(report), cells[i]);
        done();
      }
    }
    Summarise(cells);
    for (size_t i = 0; ops_ != nullptr && i < cells.size(); ++i) {
      RETURN_IF_ERROR(Profile(skips_[i], cells[i]));
      done();
    }
    return cells;
  }

 private:
  void Note(Report report, BenchCell& cell) {
    cell.ttft_runs.push_back(absl::ToDoubleSeconds(report.ttft));
    cell.decode_runs.push_back(DecodeRate(report));
    cell.report = std::move(report);
  }

  void Summarise(std::vector<BenchCell>& cells) {
    const ModelInfo& info = engine_.info();
    double dense = 0;
    for (size_t i = 0; i < cells.size(); ++i) {
      BenchCell& cell = cells[i];
      cell.ttft_seconds = Median(cell.ttft_runs);
      cell.decode_tokens_per_second = Median(cell.decode_runs);
      cell.prefill_tokens_per_second = cell.prompt_tokens / cell.ttft_seconds;
      cell.kv_bytes = cell.report.kv_token_layers * info.kv_token_bytes;
      if (skips_[i].mode == SkipRequest::Mode::kOff) dense = cell.ttft_seconds;
    }
    for (BenchCell& cell : cells) cell.gain = dense > 0 ? dense / cell.ttft_seconds : 0;
  }

  Engine& engine_;
  const BenchJob& job_;
  ProfiledOps* const ops_;  // null: no profile
  const std::vector<SkipRequest> skips_;
  const std::vector<int32_t> ids_;
  std::mt19937_64 random_;
};

absl::Status Run(const BenchJob& job, const ToolIo& io) {
  ProgressLine progress(io.err);
  progress.Say("loading the model");
  EngineOptions options = job.engine;
  options.prefix_cache = false;  // or each run pays for memory that nobody has touched yet
  ProfiledOps* profiled = nullptr;
  std::unique_ptr<Engine> engine;
  if (job.profile) {
    ASSIGN_OR_RETURN(std::unique_ptr<Ops> ops,
                     MakeOps(options.backend, options.threads, options.dtype));
    auto wrapped = std::make_unique<ProfiledOps>(std::move(ops));
    profiled = wrapped.get();
    ASSIGN_OR_RETURN(engine, OpenEngine(options, std::move(wrapped)));
  } else {
    ASSIGN_OR_RETURN(engine, OpenEngine(options));
  }
  ASSIGN_OR_RETURN(const std::vector<BenchCell> cells,
                   MeasureAll(*engine, job, profiled, progress));
  progress.Clear();
  const int threads = job.engine.threads > 0 ? job.engine.threads : AvailableCpus();
  const MachineFacts machine = ReadMachineFacts(threads);
  const int64_t peak = PeakMemory();
  if (job.json_path != "-") Print(io.out, BenchTable(engine->info(), machine, job, cells, peak));
  if (job.json_path.empty()) return absl::OkStatus();
  const std::string json = DumpJson(BenchJson(engine->info(), machine, job, cells, peak)) + "\n";
  if (job.json_path == "-") {
    Print(io.out, json);
    return absl::OkStatus();
  }
  std::ofstream file(job.json_path, std::ios::binary);
  file << json;
  file.close();
  if (!file) return absl::InvalidArgumentError(absl::StrCat("cannot write ", job.json_path));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<BenchCell>> MeasureAll(Engine& engine, const BenchJob& job,
                                                  ProfiledOps* ops, ProgressLine& progress) {
  RETURN_IF_ERROR(CheckJob(job, engine.info()));
  std::vector<SkipRequest> skips;
  for (const std::string& level : job.levels) {
    ASSIGN_OR_RETURN(skips.emplace_back(), ParseSkip(level));
  }
  Bencher bencher(engine, job, std::move(skips), ops);
  std::vector<BenchCell> cells;
  for (const int64_t length : job.prompt_lengths) {
    const std::string stage = absl::StrCat("prompts of ", FormatCount(length), " tokens");
    const int64_t runs =
        static_cast<int64_t>(job.levels.size()) * (job.repeat + (ops == nullptr ? 1 : 2));
    int64_t done = 0;
    progress.Update(stage, done, runs, absl::Now());
    ASSIGN_OR_RETURN(std::vector<BenchCell> found, bencher.Length(length, [&] {
      progress.Update(stage, ++done, runs, absl::Now());
    }));
    for (BenchCell& cell : found) cells.push_back(std::move(cell));
  }
  return cells;
}

int Bench(const BenchJob& job, const ToolIo& io) {
  const absl::Status status = Run(job, io);
  return status.ok() ? Done(io, "bench") : Complain(io, "bench", status);
}

}  // namespace skipserve
