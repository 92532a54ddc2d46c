#include "server/inspect.h"

#include <fstream>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "server/inspect_facts.h"
#include "server/inspect_page.h"
#include "server/interrupt.h"
#include "server/report_text.h"
#include "server/run_request.h"
#include "server/terminal.h"

namespace skipserve {
namespace {

absl::Status CheckJob(const InspectJob& job) {
  const Question& q = job.question;
  const bool asked = !q.document_path.empty() || !q.prompt.empty() || !q.question.empty();
  if (asked && job.html.empty()) {
    return absl::InvalidArgumentError(
        "a document or question needs --html FILE, where the page goes");
  }
  if (!asked && !job.html.empty()) {
    return absl::InvalidArgumentError(
        "--html needs a document and a question to show: --file and --question");
  }
  return absl::OkStatus();
}

absl::Status WriteFile(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary);
  file << content;
  file.close();
  if (file) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("cannot write ", path));
}

// Runs the request and writes its page; what was said of it for the terminal.
absl::StatusOr<RunOutcome> WritePage(const InspectJob& job, const ToolIo& io) {
  ASSIGN_OR_RETURN(const SkipRequest skip, ParseSkip(job.skip));
  Interrupt interrupt;
  ProgressLine progress(io.err);
  progress.Say("loading the model");
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, OpenEngine(job.engine));
  GenerateRequest request;
  ASSIGN_OR_RETURN(request.prompt, BuildPrompt(*engine, job.question, job.max_tokens));
  request.sampling.temperature = 0;
  request.stop.max_tokens = job.max_tokens;
  request.skip = skip;
  request.layer_report = true;
  request.row_report = true;
  InspectedRun run;
  run.prompt = request.prompt;
  run.question = job.question.question;
  run.document = job.question.document_path;
  progress.Say(absl::StrCat("reading ", FormatCount(run.prompt.size()), " tokens"));
  ASSIGN_OR_RETURN(run.outcome, RunRequest(*engine, std::move(request), nullptr, &interrupt));
  progress.Clear();
  RETURN_IF_ERROR(run.outcome.status);
  RETURN_IF_ERROR(WriteFile(job.html, InspectPage(engine->info(), engine->tokenizer(), run)));
  return std::move(run.outcome);
}

}  // namespace

int Inspect(const InspectJob& job, const ToolIo& io) {
  if (absl::Status status = CheckJob(job); !status.ok()) return Complain(io, "inspect", status);
  const absl::StatusOr<ModelFacts> facts = ReadModelFacts(job.engine);
  if (!facts.ok()) return Complain(io, "inspect", facts.status());
  OrderedJson json;
  if (job.json) {
    json = FactsJson(*facts);
  } else {
    Print(io.out, FactsText(*facts));
  }
  if (!job.html.empty()) {
    const absl::StatusOr<RunOutcome> outcome = WritePage(job, io);
    if (!outcome.ok()) {
      Complain(io, "inspect", outcome.status());
      return absl::IsCancelled(outcome.status()) ? kExitInterrupted : 1;
    }
    if (job.json) {
      RunOutcome brief = *outcome;
      brief.report.rows.clear();  // the page has them
      json["run"] = OutcomeJson(brief);
      json["run"]["page"] = job.html;
    } else {
      Print(io.out, absl::StrCat("\nanswer: ", Printable(outcome->text), "\n\n",
                                 ReportText(outcome->report), "\nwrote ", job.html, "\n"));
    }
  }
  if (job.json) Print(io.out, DumpJson(json) + "\n");
  return Done(io, "inspect");
}

}  // namespace skipserve
