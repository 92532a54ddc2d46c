#include "server/calibrate.h"

#include <filesystem>
#include <iterator>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/quality/documents.h"
#include "engine/status_macros.h"
#include "server/levels_text.h"
#include "server/terminal.h"

namespace skipserve {
namespace {

constexpr int kWidth = 200;

// Minutes of work must not end in a folder that does not exist.
absl::Status CheckTarget(const std::string& path) {
  std::error_code error;
  const std::filesystem::path target(path);
  const std::filesystem::path folder = target.has_parent_path() ? target.parent_path() : ".";
  if (!std::filesystem::is_directory(folder, error)) {
    return absl::NotFoundError(
        absl::StrCat("cannot write ", path, ": there is no folder ", folder.string()));
  }
  if (std::filesystem::is_directory(target, error)) {
    return absl::InvalidArgumentError(absl::StrCat("cannot write ", path, ": it is a folder"));
  }
  return absl::OkStatus();
}

std::string Describe(const SkipFile& file, const std::string& path) {
  std::error_code error;
  const double megabytes = double(std::filesystem::file_size(path, error)) / (1 << 20);
  const LayerProxy& proxy = file.proxies.front();
  std::string out =
      absl::StrFormat("wrote %s: %.1f MB, FFN proxies of %d channels and rank %d for %d layers\n",
                      path, megabytes, proxy.d_low, proxy.rank, file.layers);
  if (file.settings.levels.empty()) {
    return out + "no levels; a request may give a policy of its own\n";
  }
  absl::StrAppend(&out, MeasuredText(file.settings.levels));
  if (file.settings.default_level == "off") {
    absl::StrAppend(&out,
                    "Nobody has measured these levels on this model, so they act only when asked "
                    "for by name.\n");
  } else {
    absl::StrAppend(&out, "the default is ", file.settings.default_level, "\n");
  }
  return out;
}

// What the search found at every speed, on its own tasks: where there is more to be had.
std::string FrontText(const std::vector<Candidate>& front) {
  Table table({"FLOP bound", "KL, facts", "KL, whole texts", "policy"});
  for (const Candidate& c : front) {
    table.AddRow({absl::StrFormat("%.2fx", c.flop_bound), FormatKl(c.kl), FormatKl(c.whole_kl),
                  PolicyText(c.policy)});
  }
  return "the best the search measured, on its own tasks\n" + table.ToString(kWidth);
}

absl::StatusOr<std::vector<LevelTarget>> Targets(const CalibrateJob& job) {
  constexpr const char* kNames[] = {"gentle", "balanced", "fast"};
  if (job.min_speedups.size() != std::size(kNames) || job.max_kls.size() != std::size(kNames)) {
    return absl::InvalidArgumentError(
        "--min-speedup and --max-kl take three numbers: for gentle, balanced and fast");
  }
  std::vector<LevelTarget> targets;
  for (size_t i = 0; i < std::size(kNames); ++i) {
    targets.push_back({kNames[i], job.min_speedups[i], job.max_kls[i]});
  }
  return targets;
}

// The journal stays where the search did not come to its end, so that the next one goes on there.
absl::StatusOr<FoundLevels> Search(const CalibrateJob& job, std::vector<LevelTarget> targets,
                                   const std::string& journal,
                                   const std::vector<Document>& documents,
                                   const Progress& progress) {
  FindLevelsOptions find = job.find;
  find.journal_path = journal;
  find.targets = std::move(targets);
  LabOptions open;
  open.model_path = job.calibrate.model_path;
  open.dtype = job.dtype;
  open.kv_dtype = job.kv_dtype;
  open.threads = job.calibrate.threads;
  open.use_skip_file = false;
  ASSIGN_OR_RETURN(const std::unique_ptr<Lab> lab, OpenLab(open));
  return FindLevels(*lab, documents, find, progress);
}

absl::StatusOr<std::string> Run(const CalibrateJob& job, ProgressLine& progress) {
  const std::string path = job.out.empty() ? SkipFilePath(job.calibrate.model_path) : job.out;
  const std::string journal = path + ".partial";
  RETURN_IF_ERROR(CheckTarget(path));
  ASSIGN_OR_RETURN(std::vector<LevelTarget> targets, Targets(job));
  ASSIGN_OR_RETURN(const std::vector<Document> documents, ReadDocuments(job.texts));
  std::vector<std::string> texts;
  for (const Document& document : documents) texts.push_back(document.text);
  const auto tell = [&](absl::string_view stage, int64_t done, int64_t total) {
    progress.Update(stage, done, total, absl::Now());
  };
  ASSIGN_OR_RETURN(SkipFile file, Calibrate(job.calibrate, texts, tell));
  std::string front, remarks;
  if (!job.no_search) {
    ASSIGN_OR_RETURN(FoundLevels found, Search(job, std::move(targets), journal, documents, tell));
    file.settings = std::move(found.settings);
    front = FrontText(found.front) + "\n";
    for (const std::string& remark : found.remarks) absl::StrAppend(&remarks, remark, "\n");
  }
  RETURN_IF_ERROR(WriteSkipFile(path, file));
  std::error_code error;
  std::filesystem::remove(journal, error);
  return front + Describe(file, path) + remarks;
}

}  // namespace

int CalibrateModel(const CalibrateJob& job, const ToolIo& io) {
  const absl::Time begin = absl::Now();
  ProgressLine progress(io.err);
  const absl::StatusOr<std::string> said = Run(job, progress);
  progress.Clear();
  if (!said.ok()) return Complain(io, "calibrate", said.status());
  Print(io.out, *said + "took " + FormatElapsed(absl::Now() - begin) + "\n");
  return Done(io, "calibrate");
}

}  // namespace skipserve
