#include "engine/quality/measurer.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "engine/sha256.h"
#include "engine/skip/policy_fingerprint.h"
#include "engine/status_macros.h"
#include "nlohmann/json.hpp"

namespace skipserve {
namespace {

using Json = nlohmann::json;

constexpr char kDense[] = "dense";

// The prompt's own hash: tasks of one name differ when texts or their maker do.
std::string TaskKey(const Task& task) {
  Sha256 sha;
  sha.Update({reinterpret_cast<const char*>(task.prompt.data()),
              task.prompt.size() * sizeof(task.prompt[0])});
  return sha.HexDigest().value_or("").substr(0, 16);
}

std::string Key(const std::string& task, const std::string& policy) {
  return absl::StrCat(task, "/", policy);
}

Json ToJson(const Outcome& o) {
  return {{"flops", o.flops},
          {"flop_bound", o.flop_bound},
          {"prefill_seconds", o.prefill_seconds},
          {"tokens", o.answer_tokens},
          {"agreed", o.agreed},
          {"kl", o.kl},
          {"score", o.score},
          {"loss", o.loss}};
}

Outcome FromJson(const Json& json) {
  Outcome o;
  o.flops = json.at("flops");
  o.flop_bound = json.at("flop_bound");
  o.prefill_seconds = json.at("prefill_seconds");
  o.answer_tokens = json.at("tokens");
  o.agreed = json.at("agreed");
  o.kl = json.at("kl");
  o.score = json.at("score");
  o.loss = json.at("loss");
  return o;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Measurer>> Measurer::Create(Evaluator& evaluator,
                                                           std::string journal_path,
                                                           std::string identity) {
  auto measurer = std::unique_ptr<Measurer>(new Measurer(evaluator));
  if (!journal_path.empty()) RETURN_IF_ERROR(measurer->Load(journal_path, identity));
  return measurer;
}

// Lines of JSON, the identity first. The last line may be cut short by an interruption: from the
// first one that cannot be read on, everything is measured again.
absl::Status Measurer::Load(const std::string& path, const std::string& identity) {
  std::vector<std::string> good;
  {
    std::ifstream old(path);
    std::string line;
    if (std::getline(old, line) && line == Json(identity).dump()) {
      while (std::getline(old, line)) {
        const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
        if (!json.is_object() || !json.contains("key")) break;
        try {
          known_[json.at("key")] = FromJson(json.at("outcome"));
        } catch (const Json::exception&) {
          break;
        }
        good.push_back(line);
      }
    }
  }
  journal_.open(path, std::ios::trunc);
  journal_ << Json(identity).dump() << "\n";
  for (const std::string& line : good) journal_ << line << "\n";
  if (journal_.flush()) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat("cannot write ", path));
}

absl::Status Measurer::Keep(const std::string& key, const Outcome& outcome) {
  known_[key] = outcome;
  if (!journal_.is_open()) return absl::OkStatus();
  journal_ << Json{{"key", key}, {"outcome", ToJson(outcome)}}.dump() << "\n";
  if (journal_.flush()) return absl::OkStatus();
  return absl::ResourceExhaustedError("the search's journal cannot be written: the disk is full");
}

absl::StatusOr<std::vector<std::vector<Outcome>>> Measurer::Measure(
    absl::Span<const Task> tasks, absl::Span<const SkipPolicy> policies, absl::string_view stage,
    const Progress& progress) {
  std::vector<std::vector<Outcome>> outcomes(policies.size());
  std::vector<std::string> fingerprints;
  for (const SkipPolicy& policy : policies) fingerprints.push_back(PolicyFingerprint(policy));
  const int64_t total = static_cast<int64_t>(tasks.size());
  for (int64_t t = 0; t < total; ++t) {
    progress(stage, t, total);
    const std::string task = TaskKey(tasks[t]);
    std::vector<Reading> readings;
    for (size_t i = 0; i < policies.size(); ++i) {
      const std::string key = Key(task, fingerprints[i]);
      if (!known_.count(key)) readings.push_back({key, Reading::Method::kSkip, policies[i]});
    }
    if (!readings.empty() || !known_.count(Key(task, kDense))) {
      ASSIGN_OR_RETURN(const std::vector<Outcome> now, evaluator_.Evaluate(tasks[t], readings));
      if (!known_.count(Key(task, kDense))) RETURN_IF_ERROR(Keep(Key(task, kDense), now[0]));
      for (size_t i = 0; i < readings.size(); ++i) {
        RETURN_IF_ERROR(Keep(readings[i].name, now[i + 1]));
      }
    }
    for (size_t i = 0; i < policies.size(); ++i) {
      outcomes[i].push_back(known_.at(Key(task, fingerprints[i])));
    }
  }
  progress(stage, total, total);
  return outcomes;
}

absl::StatusOr<std::vector<Outcome>> Measurer::MeasureDense(absl::Span<const Task> tasks,
                                                            absl::string_view stage,
                                                            const Progress& progress) {
  RETURN_IF_ERROR(Measure(tasks, {}, stage, progress).status());
  std::vector<Outcome> dense;
  for (const Task& task : tasks) dense.push_back(known_.at(Key(TaskKey(task), kDense)));
  return dense;
}

}  // namespace skipserve
