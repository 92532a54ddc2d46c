#include "server/calibrate.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/quality/documents.h"
#include "engine/status_macros.h"
#include "server/terminal.h"

namespace skipserve {
namespace {

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
  absl::StrAppend(&out, "levels:");
  for (const SkipLevel& level : file.settings.levels) {
    absl::StrAppend(&out, " ", level.name,
                    level.name == file.settings.default_level ? " (default)" : "");
  }
  if (file.settings.levels.empty())
    absl::StrAppend(&out, " none; a request may give a policy of its own");
  absl::StrAppend(&out, "\n");
  if (file.settings.default_level == "off" && !file.settings.levels.empty()) {
    absl::StrAppend(&out,
                    "Nobody has measured these levels on this model, so they act only when asked "
                    "for by name.\n");
  }
  return out;
}

absl::StatusOr<std::string> Run(const CalibrateJob& job, ProgressLine& progress) {
  const std::string path = job.out.empty() ? SkipFilePath(job.calibrate.model_path) : job.out;
  RETURN_IF_ERROR(CheckTarget(path));
  ASSIGN_OR_RETURN(std::vector<Document> documents, ReadDocuments(job.texts));
  std::vector<std::string> texts;
  for (Document& document : documents) texts.push_back(std::move(document.text));
  const auto tell = [&](absl::string_view stage, int64_t done, int64_t total) {
    progress.Update(stage, done, total, absl::Now());
  };
  ASSIGN_OR_RETURN(const SkipFile file, Calibrate(job.calibrate, texts, tell));
  RETURN_IF_ERROR(WriteSkipFile(path, file));
  return Describe(file, path);
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
