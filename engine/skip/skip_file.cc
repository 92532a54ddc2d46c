#include "engine/skip/skip_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>
#include <set>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/mapped_file.h"
#include "engine/sha256.h"
#include "engine/status_macros.h"
#include "nlohmann/json.hpp"

namespace skipserve {
namespace {

using Json = nlohmann::json;

static_assert(std::endian::native == std::endian::little,
              "the file's numbers are copied as they are");

constexpr absl::string_view kMagic("SKIPSRV\n", 8);
constexpr size_t kPrefixBytes = 16;    // magic, version, header length
constexpr size_t kChecksumBytes = 64;  // hex digits
constexpr uint32_t kMaxHeaderBytes = 4 << 20;
constexpr size_t kMaxNameBytes = 64;
constexpr int64_t kMaxShape = 65536;

// The proxy's matrices in the file's order, with their sizes.
template <typename Proxy, typename Visit>
void ForEachMatrix(Proxy& p, Visit visit) {
  const size_t width = p.width, d_low = p.d_low, rank = p.rank;
  visit(p.gate_a, rank * width);
  visit(p.gate_b, d_low * rank);
  visit(p.up_a, rank * width);
  visit(p.up_b, d_low * rank);
  visit(p.gram, d_low * d_low);
}

uint32_t LoadU32(absl::string_view bytes) {
  uint32_t value;
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

std::string Shown(absl::string_view text) { return absl::CHexEscape(text.substr(0, 80)); }

absl::Status AtLevel(absl::string_view name, const absl::Status& status) {
  return absl::InvalidArgumentError(
      absl::StrCat("level \"", Shown(name), "\": ", status.message()));
}

absl::Status CheckSettings(const SkipSettings& settings, int32_t layers) {
  std::set<absl::string_view> names;
  for (const auto& [name, policy, figures] : settings.levels) {
    if (name.size() > kMaxNameBytes) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the level name \"", Shown(name), "...\" is longer than ", kMaxNameBytes, " bytes"));
    }
    if (name.empty() || name == "off" || !names.insert(name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("the level name \"", Shown(name), "\" is empty, reserved or there twice"));
    }
    absl::Status status = ValidatePolicy(policy, layers);
    if (status.ok()) status = ValidateFigures(figures);
    if (!status.ok()) return AtLevel(name, status);
  }
  if (settings.default_level != "off" && !names.count(settings.default_level)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the default level \"", Shown(settings.default_level), "\" is not among the levels"));
  }
  if (settings.min_prompt < 0) return absl::InvalidArgumentError("min_prompt is negative");
  return absl::OkStatus();
}

Json HeaderToJson(const SkipFile& file) {
  Json levels = Json::array();
  for (const auto& [name, policy, figures] : file.settings.levels) {
    Json& level = levels.emplace_back(Json{{"name", name}, {"policy", PolicyToJson(policy)}});
    if (figures.measured()) level["figures"] = FiguresToJson(figures);
  }
  Json header = {{"fingerprint", file.fingerprint},
                 {"layers", file.layers},
                 {"width", file.width},
                 {"ffn_width", file.ffn_width},
                 {"default_level", file.settings.default_level},
                 {"min_prompt", file.settings.min_prompt},
                 {"levels", std::move(levels)}};
  if (!file.proxies.empty()) {
    header["proxy"] = {{"d_low", file.proxies[0].d_low}, {"rank", file.proxies[0].rank}};
  }
  return header;
}

absl::StatusOr<int64_t> Integer(const Json& json, const char* field, int64_t max) {
  const auto it = json.find(field);
  if (it == json.end() || !it->is_number_integer()) {
    return absl::InvalidArgumentError(absl::StrCat("its header has no number \"", field, "\""));
  }
  const int64_t value = it->is_number_unsigned()
                            ? static_cast<int64_t>(std::min<uint64_t>(it->get<uint64_t>(), max + 1))
                            : it->get<int64_t>();
  if (value < 0 || value > max) {
    return absl::InvalidArgumentError(absl::StrCat("\"", field, "\" is out of range"));
  }
  return value;
}

absl::StatusOr<std::string> String(const Json& json, const char* field) {
  const auto it = json.find(field);
  if (it == json.end() || !it->is_string()) {
    return absl::InvalidArgumentError(absl::StrCat("its header has no text \"", field, "\""));
  }
  return it->get<std::string>();
}

absl::StatusOr<SkipSettings> SettingsFromJson(const Json& header) {
  SkipSettings settings;
  ASSIGN_OR_RETURN(settings.default_level, String(header, "default_level"));
  ASSIGN_OR_RETURN(settings.min_prompt,
                   Integer(header, "min_prompt", std::numeric_limits<int32_t>::max()));
  const auto levels = header.find("levels");
  if (levels == header.end() || !levels->is_array()) {
    return absl::InvalidArgumentError("its header has no list \"levels\"");
  }
  for (const Json& level : *levels) {
    if (!level.is_object() || !level.contains("policy")) {
      return absl::InvalidArgumentError("a level has no policy");
    }
    SkipLevel& read = settings.levels.emplace_back();
    ASSIGN_OR_RETURN(read.name, String(level, "name"));
    ASSIGN_OR_RETURN(read.policy, PolicyFromJson(level.at("policy")));
    const auto figures = level.find("figures");
    if (figures == level.end()) continue;  // not measured
    absl::StatusOr<LevelFigures> measured = FiguresFromJson(*figures);
    if (!measured.ok()) return AtLevel(read.name, measured.status());
    read.figures = *std::move(measured);
  }
  return settings;
}

// `body` must hold exactly `layers` proxies; checked before memory is taken for them.
absl::StatusOr<std::vector<LayerProxy>> ReadProxies(const Json& header, const SkipFile& file,
                                                    absl::string_view body) {
  std::vector<LayerProxy> proxies;
  const auto shape = header.find("proxy");
  if (shape == header.end()) {
    if (!body.empty()) return absl::InvalidArgumentError("it has bytes after its header");
    return proxies;
  }
  LayerProxy blank;
  blank.width = file.width;
  ASSIGN_OR_RETURN(blank.d_low,
                   Integer(*shape, "d_low", std::min<int64_t>(kMaxShape, file.ffn_width)));
  ASSIGN_OR_RETURN(blank.rank, Integer(*shape, "rank", std::min(blank.d_low, file.width)));
  if (blank.rank < 1) return absl::InvalidArgumentError("its proxies have no rank");
  size_t layer_bytes = 0;
  ForEachMatrix(blank, [&](const auto&, size_t n) { layer_bytes += n * sizeof(float); });
  if (body.size() % layer_bytes != 0 ||
      body.size() / layer_bytes != static_cast<size_t>(file.layers)) {
    return absl::InvalidArgumentError(absl::StrCat("its proxies have ", body.size(),
                                                   " bytes where ", file.layers, " layers need ",
                                                   layer_bytes, " each"));
  }
  for (int32_t i = 0; i < file.layers; ++i) {
    LayerProxy& proxy = proxies.emplace_back(blank);
    ForEachMatrix(proxy, [&](std::vector<float>& values, size_t n) {
      values.resize(n);
      std::memcpy(values.data(), body.data(), n * sizeof(float));
      body.remove_prefix(n * sizeof(float));
    });
  }
  return proxies;
}

// What is read and what is written keep to the same rules.
absl::Status CheckFile(const SkipFile& file) {
  if (file.layers < 1 || file.width < 1 || file.ffn_width < 1) {
    return absl::InvalidArgumentError("the model's shape is missing");
  }
  RETURN_IF_ERROR(CheckSettings(file.settings, file.layers));
  if (file.proxies.empty()) return absl::OkStatus();
  const LayerProxy& first = file.proxies[0];
  if (file.proxies.size() != static_cast<size_t>(file.layers) || first.rank < 1 ||
      first.d_low > std::min<int64_t>(kMaxShape, file.ffn_width) ||
      first.rank > std::min(first.d_low, file.width)) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.proxies.size(), " proxies of ", first.d_low, " channels and rank ",
                     first.rank, " do not fit a model of ", file.layers, " layers"));
  }
  for (const LayerProxy& proxy : file.proxies) {
    bool fits = proxy.width == file.width && proxy.d_low == first.d_low && proxy.rank == first.rank;
    ForEachMatrix(proxy, [&](const std::vector<float>& values, size_t n) {
      fits = fits && values.size() == n &&
             std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
    });
    if (!fits) {
      return absl::InvalidArgumentError(
          "a proxy has another shape than the first, or a value that is not finite");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<SkipFile> Parse(absl::string_view bytes, const ModelConfig& config,
                               const std::string& fingerprint) {
  if (bytes.size() < kPrefixBytes || bytes.substr(0, kMagic.size()) != kMagic) {
    return absl::InvalidArgumentError("it is not a skip file");
  }
  const uint32_t version = LoadU32(bytes.substr(8));
  if (version != kSkipFileVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "it has version ", version, " and this program reads version ", kSkipFileVersion));
  }
  const size_t header_bytes = LoadU32(bytes.substr(12));
  if (bytes.size() < kPrefixBytes + kChecksumBytes || header_bytes > kMaxHeaderBytes ||
      header_bytes > bytes.size() - kPrefixBytes - kChecksumBytes) {
    return absl::InvalidArgumentError("it is cut off or its header is damaged");
  }
  const absl::string_view checked = bytes.substr(0, bytes.size() - kChecksumBytes);
  Sha256 sha;
  sha.Update(checked);
  ASSIGN_OR_RETURN(const std::string digest, sha.HexDigest());
  if (digest != bytes.substr(checked.size())) {
    return absl::InvalidArgumentError(
        "its checksum does not fit its content: it is cut off or damaged");
  }
  const absl::string_view text = checked.substr(kPrefixBytes, header_bytes);
  const Json header = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!header.is_object()) return absl::InvalidArgumentError("its header is not a JSON object");

  SkipFile file;
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  ASSIGN_OR_RETURN(file.fingerprint, String(header, "fingerprint"));
  if (file.fingerprint != fingerprint) {
    return absl::FailedPreconditionError(
        absl::StrCat("it belongs to another model: its fingerprint is ", Shown(file.fingerprint),
                     ", this model's is ", fingerprint));
  }
  ASSIGN_OR_RETURN(file.layers, Integer(header, "layers", kMax));
  ASSIGN_OR_RETURN(file.width, Integer(header, "width", kMax));
  ASSIGN_OR_RETURN(file.ffn_width, Integer(header, "ffn_width", kMax));
  if (file.layers != config.layers || file.width != config.width ||
      file.ffn_width != config.ffn_width) {
    return absl::FailedPreconditionError(
        absl::StrCat("it is for a model of ", file.layers, " layers, width ", file.width,
                     " and FFN width ", file.ffn_width, "; this one has ", config.layers, ", ",
                     config.width, " and ", config.ffn_width));
  }
  ASSIGN_OR_RETURN(file.settings, SettingsFromJson(header));
  ASSIGN_OR_RETURN(file.proxies,
                   ReadProxies(header, file, checked.substr(kPrefixBytes + header_bytes)));
  RETURN_IF_ERROR(CheckFile(file));
  return file;
}

// Appends to an open file and to the checksum of what was appended.
class Writer {
 public:
  explicit Writer(int fd) : fd_(fd) {}

  void Write(absl::string_view bytes) {
    sha_.Update(bytes);
    Append(bytes);
  }
  absl::Status Finish() {
    ASSIGN_OR_RETURN(const std::string digest, sha_.HexDigest());
    Append(digest);
    if (error_ == 0 && fsync(fd_) != 0) error_ = errno;
    return error_ == 0 ? absl::OkStatus() : absl::ErrnoToStatus(error_, "cannot write");
  }

 private:
  void Append(absl::string_view bytes) {
    while (error_ == 0 && !bytes.empty()) {
      const ssize_t written = write(fd_, bytes.data(), bytes.size());
      if (written > 0) bytes.remove_prefix(written);
      if (written < 0 && errno != EINTR) error_ = errno;
    }
  }

  int fd_;
  int error_ = 0;
  Sha256 sha_;
};

absl::Status WriteTo(int fd, const SkipFile& file) {
  const std::string header =
      HeaderToJson(file).dump(1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  if (header.size() > kMaxHeaderBytes) {
    return absl::InvalidArgumentError("skip file: the levels are too large");
  }
  const uint32_t numbers[2] = {kSkipFileVersion, static_cast<uint32_t>(header.size())};
  Writer writer(fd);
  writer.Write(kMagic);
  writer.Write({reinterpret_cast<const char*>(numbers), sizeof(numbers)});
  writer.Write(header);
  for (const LayerProxy& proxy : file.proxies) {
    ForEachMatrix(proxy, [&](const std::vector<float>& values, size_t) {
      writer.Write({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
    });
  }
  return writer.Finish();
}

// A rename is on the disk only once its folder is.
absl::Status SyncFolderOf(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const int fd = open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", folder));
  const absl::Cleanup close_fd = [fd] { close(fd); };
  // Some file systems cannot sync a folder and say EINVAL; the data itself is safe.
  if (fsync(fd) != 0 && errno != EINVAL) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot sync ", folder));
  }
  return absl::OkStatus();
}

}  // namespace

std::string SkipFilePath(const std::string& model_path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(model_path, ignored)) {
    return (std::filesystem::path(model_path) / "skipserve.skip").string();
  }
  return model_path + ".skip";
}

absl::StatusOr<SkipFile> ReadSkipFile(const std::string& path, const std::string& model_path,
                                      const ModelConfig& config, const std::string& fingerprint) {
  const auto explain = [&](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat("skip file ", path, ": ", status.message(),
                                                    ". Make a new one with: skipserve calibrate ",
                                                    model_path, " TEXT..."));
  };
  const auto mapped = MappedFile::Open(path);
  if (!mapped.ok()) return explain(mapped.status());
  absl::StatusOr<SkipFile> file = Parse((*mapped)->bytes(), config, fingerprint);
  if (!file.ok()) return explain(file.status());
  return file;
}

absl::Status WriteSkipFile(const std::string& path, const SkipFile& file) {
  if (const absl::Status status = CheckFile(file); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat("skip file: ", status.message()));
  }
  std::string temporary = path + ".XXXXXX";
  const int fd = mkstemp(temporary.data());
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot create ", temporary));
  absl::Cleanup remove_temporary = [&] { unlink(temporary.c_str()); };
  absl::Status status = WriteTo(fd, file);
  if (status.ok() && fchmod(fd, 0644) != 0) status = absl::ErrnoToStatus(errno, "cannot write");
  if (close(fd) != 0 && status.ok()) status = absl::ErrnoToStatus(errno, "cannot write");
  if (!status.ok())
    return absl::Status(status.code(), absl::StrCat(temporary, ": ", status.message()));
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot rename ", temporary, " to ", path));
  }
  std::move(remove_temporary).Cancel();
  return SyncFolderOf(path);
}

}  // namespace skipserve
