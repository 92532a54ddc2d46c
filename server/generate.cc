#include "server/generate.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "server/report_text.h"
#include "server/run_request.h"
#include "server/terminal.h"

namespace skipserve {
namespace {

constexpr size_t kWarmUpTokens = 600;

class Generator {
 public:
  Generator(const GenerateJob& job, const ToolIo& io) : job_(job), io_(io), progress_(io.err) {}

  absl::StatusOr<std::vector<RunOutcome>> Run();
  bool interrupted() const { return interrupt_.interrupted(); }

 private:
  absl::StatusOr<RunOutcome> RunOne(SkipRequest skip, bool show);

  const GenerateJob& job_;
  const ToolIo& io_;
  Interrupt interrupt_;
  ProgressLine progress_;
  std::unique_ptr<Engine> engine_;
  std::vector<int32_t> prompt_;
};

absl::StatusOr<std::vector<RunOutcome>> Generator::Run() {
  std::vector<SkipRequest> skips;
  for (const std::string& text : job_.skips) {
    ASSIGN_OR_RETURN(skips.emplace_back(), ParseSkip(text));
  }
  progress_.Say("loading the model");
  EngineOptions options = job_.engine;
  options.prefix_cache = false;  // no run is to profit from what one before it read
  ASSIGN_OR_RETURN(engine_, OpenEngine(options));
  progress_.Clear();
  ASSIGN_OR_RETURN(prompt_, BuildPrompt(*engine_, job_.question, job_.stop.max_tokens));

  const bool compare = skips.size() > 1;
  if (compare) {
    // What a process does once, on its first tokens, must not count against the first run.
    GenerateRequest warm_up;
    warm_up.prompt.assign(prompt_.begin(),
                          prompt_.begin() + std::min(prompt_.size(), kWarmUpTokens));
    warm_up.skip.mode = SkipRequest::Mode::kOff;
    warm_up.stop.max_tokens = 2;
    RETURN_IF_ERROR(RunRequest(*engine_, std::move(warm_up), nullptr, &interrupt_).status());
  }
  std::vector<RunOutcome> outcomes;
  for (size_t i = 0; i < skips.size(); ++i) {
    if (compare && !job_.json) Print(io_.err, absl::StrCat("--- ", job_.skips[i], "\n"));
    ASSIGN_OR_RETURN(outcomes.emplace_back(), RunOne(skips[i], !job_.json));
    if (!outcomes.back().status.ok()) break;
  }
  return outcomes;
}

absl::StatusOr<RunOutcome> Generator::RunOne(SkipRequest skip, bool show) {
  GenerateRequest request;
  request.prompt = prompt_;
  request.sampling = job_.sampling;
  request.stop = job_.stop;
  request.skip = std::move(skip);
  progress_.Say(absl::StrCat("reading ", FormatCount(prompt_.size()), " tokens"));
  const auto on_text = [&](absl::string_view text) {
    progress_.Clear();
    if (show) Print(io_.out, Printable(text));
  };
  absl::StatusOr<RunOutcome> outcome =
      RunRequest(*engine_, std::move(request), on_text, &interrupt_);
  progress_.Clear();
  if (outcome.ok() && show) Print(io_.out, "\n");
  return outcome;
}

OrderedJson RunJson(const std::string& skip, const RunOutcome& outcome) {
  OrderedJson json = {{"requested_skip", skip}};
  json.update(OutcomeJson(outcome));
  return json;
}

}  // namespace

int Generate(const GenerateJob& job, const ToolIo& io) {
  Generator generator(job, io);
  const absl::StatusOr<std::vector<RunOutcome>> outcomes = generator.Run();
  if (!outcomes.ok()) return Complain(io, "generate", outcomes.status());
  if (job.json) {
    OrderedJson json = RunJson(job.skips[0], outcomes->front());
    if (job.skips.size() > 1) {
      json = {{"runs", OrderedJson::array()}};
      for (size_t i = 0; i < outcomes->size(); ++i) {
        json["runs"].push_back(RunJson(job.skips[i], (*outcomes)[i]));
      }
    }
    Print(io.out, DumpJson(json) + "\n");
  } else if (outcomes->size() > 1) {
    Print(io.out, "\n" + CompareText({job.skips.begin(), job.skips.begin() + outcomes->size()},
                                     *outcomes, TerminalWidth()));
  } else {
    Print(io.err, "\n" + ReportText(outcomes->front().report));
  }
  const absl::Status& status = outcomes->back().status;
  if (generator.interrupted()) {
    Print(io.err, "cancelled\n");
    return kExitInterrupted;
  }
  return status.ok() ? Done(io, "generate") : Complain(io, "generate", status);
}

}  // namespace skipserve
