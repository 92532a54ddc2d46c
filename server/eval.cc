#include "server/eval.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "engine/quality/documents.h"
#include "engine/skip/levels.h"
#include "engine/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/eval_report.h"
#include "server/terminal.h"
#include "server/tool_input.h"

namespace skipserve {
namespace {

// Documents of a plain Debian machine: licence texts, and the source code that is there.
constexpr const char* kDefaultTexts[] = {"/usr/share/common-licenses", "/usr/lib/python3.11/json",
                                         "/usr/lib/python3.11/asyncio", "/usr/share/perl5"};

std::vector<std::string> Texts(const EvalJob& job) {
  if (!job.texts.empty()) return job.texts;
  std::vector<std::string> there;
  for (const char* path : kDefaultTexts) {
    std::error_code error;
    if (std::filesystem::exists(path, error)) there.push_back(path);
  }
  return there;
}

// A policy, or an object of policies by name.
absl::Status AddPolicies(const nlohmann::json& json, const std::string& source,
                         std::vector<Reading>& readings) {
  if (json.is_object() && !json.contains("start")) {
    for (const auto& [name, policy] : json.items()) {
      absl::StatusOr<SkipPolicy> parsed = PolicyFromJson(policy);
      if (!parsed.ok()) {
        return absl::InvalidArgumentError(
            absl::StrCat(source, ": \"", name, "\": ", parsed.status().message()));
      }
      readings.push_back({name, Reading::Method::kSkip, *std::move(parsed)});
    }
    return absl::OkStatus();
  }
  absl::StatusOr<SkipPolicy> policy = PolicyFromJson(json);
  if (!policy.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": ", policy.status().message()));
  }
  readings.push_back(
      {absl::StrCat("custom", readings.size()), Reading::Method::kSkip, *std::move(policy)});
  return absl::OkStatus();
}

// Without proxies a level does here what it does in a server.
Reading ReadingOf(const SkipLevel& level, ProxyShape proxy, std::vector<std::string>& notes) {
  SkipPolicy policy = proxy.rank > 0 ? level.policy : WithoutProxies(level).policy;
  if (!(policy == level.policy)) {
    notes.push_back(absl::StrCat(level.name,
                                 " chooses FFN rows by attention, as it does in a server: there "
                                 "are no FFN proxies; build them with 'skipserve calibrate'"));
  }
  return {level.name, Reading::Method::kSkip, std::move(policy)};
}

absl::StatusOr<std::vector<Reading>> ChoosePolicies(const Lab& lab, const EvalJob& job,
                                                    std::vector<std::string>& notes) {
  std::vector<Reading> readings;
  std::vector<std::string> names;
  for (const SkipLevel& level : lab.skip_file.settings.levels) names.push_back(level.name);
  for (const std::string& text : job.policies.empty() ? names : job.policies) {
    if (const SkipLevel* level = lab.skip_file.settings.Find(text)) {
      readings.push_back(ReadingOf(*level, lab.skip_file.proxy_shape(), notes));
      continue;
    }
    std::string source = "--policy", json_text = text;
    if (absl::StartsWith(text, "@")) {
      source = text.substr(1);
      ASSIGN_OR_RETURN(json_text, ReadDocument(source));
    } else if (!absl::StartsWith(text, "{")) {
      return absl::NotFoundError(absl::StrCat("--policy: this model has no level \"", text,
                                              "\"; it has ", absl::StrJoin(names, ", ")));
    }
    const auto json = nlohmann::json::parse(json_text, nullptr, /*allow_exceptions=*/false);
    if (json.is_discarded()) return absl::InvalidArgumentError(source + " is not valid JSON");
    RETURN_IF_ERROR(AddPolicies(json, source, readings));
  }
  if (readings.empty()) {
    return absl::InvalidArgumentError("this model has no levels: name a policy with --policy");
  }
  return readings;
}

void AddBaselines(std::vector<Reading>& readings) {
  const std::vector<Reading> policies = readings;
  for (const Reading& reading : policies) {
    readings.push_back({"last tokens, as " + reading.name, Reading::Method::kLast, reading.policy});
    readings.push_back(
        {"pruned once, as " + reading.name, Reading::Method::kPruneOnce, reading.policy});
  }
}

absl::StatusOr<std::vector<std::string>> ChooseFamilies(const EvalJob& job) {
  const auto all = TaskFamilies();
  if (job.tasks.empty()) return std::vector<std::string>(all.begin(), all.end());
  for (const std::string& family : job.tasks) {
    if (std::find(all.begin(), all.end(), family) == all.end()) {
      return absl::NotFoundError(absl::StrCat("--tasks: there is no \"", family, "\"; there are ",
                                              absl::StrJoin(all, ", ")));
    }
  }
  return job.tasks;
}

absl::Status CheckJob(const Lab& lab, const EvalJob& job) {
  if (job.lengths.empty()) return absl::InvalidArgumentError("--lengths is empty");
  for (const int64_t length : job.lengths) {
    const int64_t most = lab.config().max_positions - kAnswerRoom;
    if (length <= most) continue;
    return absl::InvalidArgumentError(absl::StrCat("--lengths has ", length, "; with room for an ",
                                                   "answer this model reads at most ", most));
  }
  return absl::OkStatus();
}

int64_t Longest(const EvalJob& job) {
  return job.lengths.empty() ? 0 : *std::max_element(job.lengths.begin(), job.lengths.end());
}

}  // namespace

absl::StatusOr<EvalResult> EvaluateAll(Lab& lab, const EvalJob& job, ProgressLine& progress) {
  RETURN_IF_ERROR(CheckJob(lab, job));
  EvalResult result;
  ASSIGN_OR_RETURN(result.readings, ChoosePolicies(lab, job, result.notes));
  if (!job.no_baselines) AddBaselines(result.readings);
  ASSIGN_OR_RETURN(const std::vector<std::string> families, ChooseFamilies(job));
  ASSIGN_OR_RETURN(std::vector<Document> documents, ReadDocuments(Texts(job)));
  const TaskMaker maker(*lab.tokenizer, lab.chat.get(), std::move(documents));
  Evaluator::Options how = lab.evaluator_options();
  how.max_answer_tokens = job.max_answer_tokens;
  Evaluator evaluator(*lab.reader, *lab.tokenizer, lab.config(), how);

  // Work grows faster than length: progress is counted in tokens squared and tokens alike.
  const auto work = [](int64_t tokens) { return tokens + tokens * tokens / 4096; };
  int64_t total = 0, done = 0;
  for (const int64_t length : job.lengths) total += work(length);
  total *= job.cases * static_cast<int64_t>(families.size());
  for (const int64_t length : job.lengths) {
    for (const std::string& family : families) {
      for (int64_t index = 0; index < job.cases; ++index, done += work(length)) {
        progress.Update("reading tasks", done, total, absl::Now());
        absl::StatusOr<Task> task =
            maker.Make(family, length, index, {job.seed, /*held_out=*/!job.calibration});
        if (!task.ok()) {
          result.left_out.push_back(
              absl::StrCat(family, " at ", length, " tokens: ", task.status().message()));
          done += (job.cases - index) * work(length);
          break;
        }
        ASSIGN_OR_RETURN(std::vector<Outcome> outcomes, evaluator.Evaluate(*task, result.readings));
        result.cases.push_back({family, length, static_cast<int64_t>(task->prompt.size()), index,
                                evaluator.dense_answer(), !task->answers.empty(),
                                std::move(outcomes)});
      }
    }
  }
  if (result.cases.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no task could be made: ", absl::StrJoin(result.left_out, "; ")));
  }
  return result;
}

int Eval(const EvalJob& job, const ToolIo& io) {
  ProgressLine progress(io.err);
  const auto run = [&]() -> absl::Status {
    progress.Say("loading the model");
    LabOptions options = job.lab;
    options.max_tokens = Longest(job) + kAnswerRoom;
    ASSIGN_OR_RETURN(const std::unique_ptr<Lab> lab, OpenLab(options));
    ASSIGN_OR_RETURN(const EvalResult result, EvaluateAll(*lab, job, progress));
    progress.Clear();
    const std::string json =
        job.json_path.empty() ? "" : EvalJson(*lab, result, job).dump(1) + "\n";
    if (job.json_path == "-") {
      Print(io.out, json);
      return absl::OkStatus();
    }
    Print(io.out, EvalTable(result, job));
    if (job.json_path.empty()) return absl::OkStatus();
    std::ofstream file(job.json_path);
    if (file << json && file.flush()) return absl::OkStatus();
    return absl::PermissionDeniedError(absl::StrCat("cannot write ", job.json_path));
  };
  const absl::Status status = run();
  progress.Clear();
  return status.ok() ? Done(io, "eval") : Complain(io, "eval", status);
}

}  // namespace skipserve
