#include "engine/quality/find_levels.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

constexpr int64_t kMinPrompt = 1024;  // shorter prompts run dense in mode auto
constexpr double kMinGain = 1.05;     // a level that saves less is not worth its name

// All that a journal's entries depend on beside the prompt and the policy.
std::string Identity(const Lab& lab) {
  return absl::StrCat("skipserve calibration 1 ", lab.model->fingerprint(), " ", lab.ops->name(),
                      " ", lab.precision.name, " ", lab.precision.kv_name);
}

std::string Figures(const Candidate& c) {
  return absl::StrFormat("%.2fx at %.3f nats per token", c.flop_bound, c.kl);
}

// The search's levels, from gentle to fast, each faster than the one before.
std::vector<SkipLevel> Choose(const FindLevelsOptions& options, const SearchResult& search,
                              std::vector<std::string>& remarks) {
  std::vector<SkipLevel> levels;
  double fastest = kMinGain;
  for (size_t i = 0; i < options.targets.size(); ++i) {
    const LevelTarget& target = options.targets[i];
    const Candidate& found = search.levels[i];
    const std::string wanted = absl::StrFormat("at least %.2fx at no more than %.3f nats per token",
                                               target.min_speedup, target.max_kl);
    if (found.kl > target.max_kl) {
      remarks.push_back(absl::StrCat(target.name, " is left out: wanted ", wanted,
                                     "; best I found is ", Figures(found)));
      continue;
    }
    if (found.flop_bound < fastest) {
      remarks.push_back(absl::StrCat(target.name, " is left out: wanted ", wanted,
                                     "; nothing faster than the level before it keeps to that, ",
                                     "best I found is ", Figures(found)));
      continue;
    }
    if (!search.met[i]) {
      remarks.push_back(
          absl::StrCat(target.name, ": wanted ", wanted, "; best I found is ", Figures(found)));
    }
    fastest = found.flop_bound * 1.001;
    levels.push_back({target.name, found.policy, {}});
  }
  return levels;
}

}  // namespace

absl::StatusOr<FoundLevels> FindLevels(Lab& lab, const std::vector<Document>& documents,
                                       const FindLevelsOptions& options, const Progress& progress) {
  const TaskMaker maker(*lab.tokenizer, lab.chat.get(), documents);
  // The search compares distributions alone: a third of its time would go into other answers.
  Evaluator::Options how = lab.evaluator_options();
  how.answers = false;
  Evaluator searching(*lab.reader, *lab.tokenizer, lab.config(), how);
  ASSIGN_OR_RETURN(std::unique_ptr<Measurer> measurer,
                   Measurer::Create(searching, options.journal_path, Identity(lab)));

  FoundLevels found;
  const int64_t longest = lab.config().max_positions - kAnswerRoom;
  const int64_t tokens = std::min(options.tokens, longest);
  ASSIGN_OR_RETURN(const SearchTasks tasks, MakeSearchTasks(maker, *measurer, tokens, options.facts,
                                                            options.seed, progress));
  if (tasks.facts.empty()) {
    found.remarks.push_back(
        "the dense model answers none of the planted facts: settings are chosen on texts alone");
  }
  ASSIGN_OR_RETURN(const SearchResult search,
                   SearchPolicies(tasks, options.targets, lab.config(), *measurer, progress));
  found.front = search.front;
  found.settings.levels = Choose(options, search, found.remarks);
  if (found.settings.levels.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("no setting keeps to any target, so nothing is written: ",
                     absl::StrJoin(found.remarks, "; "), ". Allow more with --max-kl"));
  }
  Evaluator answering(*lab.reader, *lab.tokenizer, lab.config(), lab.evaluator_options());
  measurer.reset();  // it has the journal open
  ASSIGN_OR_RETURN(measurer, Measurer::Create(answering, options.journal_path, Identity(lab)));
  std::vector<int64_t> lengths;
  for (int64_t length = tokens; length <= longest && lengths.size() < 3; length *= 2) {
    lengths.push_back(length);
  }
  if (lengths.back() * 5 / 4 < longest && lengths.size() < 3) lengths.push_back(longest);
  RETURN_IF_ERROR(MeasureLevels(maker, *measurer, lengths, options.held_out_cases, options.seed,
                                "held-out facts in the calibration texts", progress,
                                found.settings.levels));
  found.settings.default_level = found.settings.levels.front().name;
  found.settings.min_prompt = std::min(kMinPrompt, tokens);
  return found;
}

}  // namespace skipserve
