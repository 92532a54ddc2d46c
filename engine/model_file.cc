// Chooses the loader by what lies at the path.
#include "engine/model_file.h"

#include <sys/stat.h>

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/gguf_model.h"
#include "engine/hf_folder.h"
#include "engine/mapped_file.h"
#include "engine/status_macros.h"

namespace skipserve {

absl::StatusOr<std::unique_ptr<ModelFile>> ModelFile::Open(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot open the model ", path));
  }
  if (S_ISDIR(info.st_mode)) return OpenHfFolder(path);
  if (absl::EndsWith(path, ".safetensors")) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": give the folder that holds it, with its config.json and tokenizer.json"));
  }
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  return OpenGguf(path, file->bytes(), file);
}

}  // namespace skipserve
