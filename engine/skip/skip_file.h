// The file that `skipserve calibrate` writes beside a model: its skip levels with what they were
// measured to cost, and the FFN proxies of its layers, tied to that very model. Reading trusts
// nothing in the file. Functions without state; any thread.
//
// Layout, little-endian: 8 bytes of magic, uint32 version, uint32 length of the header, the header
// (JSON), then for every layer gate_a, gate_b, up_a, up_b and gram as float32, then the SHA-256 of
// everything before it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/model_config.h"
#include "engine/skip/proxy.h"
#include "engine/skip/skip_settings.h"

namespace skipserve {

struct SkipFile {
  std::string fingerprint;  // ModelFile::fingerprint() of the model it was made for
  int32_t layers = 0;
  int32_t width = 0;
  int32_t ffn_width = 0;
  SkipSettings settings;
  std::vector<LayerProxy> proxies;  // one per layer, all of one shape; or none

  ProxyShape proxy_shape() const {  // zeros without proxies
    return proxies.empty() ? ProxyShape() : ProxyShape{proxies[0].d_low, proxies[0].rank};
  }

  bool operator==(const SkipFile&) const = default;
};

inline constexpr uint32_t kSkipFileVersion = 2;

// MODEL.gguf -> MODEL.gguf.skip; a folder -> FOLDER/skipserve.skip.
std::string SkipFilePath(const std::string& model_path);

// NOT_FOUND where there is no file; INVALID_ARGUMENT where it is damaged; FAILED_PRECONDITION where
// it is of another version or belongs to another model. Every message names the file and the
// command that makes a new one.
absl::StatusOr<SkipFile> ReadSkipFile(const std::string& path, const std::string& model_path,
                                      const ModelConfig& config, const std::string& fingerprint);

// Writes beside `path`, then renames: whatever happens, `path` is the old file or the new one,
// complete. INVALID_ARGUMENT where `file` contradicts itself, PERMISSION_DENIED, NOT_FOUND,
// RESOURCE_EXHAUSTED or INTERNAL where the disk says so.
absl::Status WriteSkipFile(const std::string& path, const SkipFile& file);

}  // namespace skipserve
