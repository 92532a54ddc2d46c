// libFuzzer target: any bytes as a skip file, under a right checksum (a hostile writer can make
// one, a fuzzer cannot). What opens is good enough to be written, and is then the same file.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "engine/sha256.h"
#include "engine/skip/skip_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace skipserve;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  Sha256 sha;
  sha.Update(bytes);
  const std::string file = std::string(bytes) + *sha.HexDigest();
  static const int fd = memfd_create("skip_file_fuzz", 0);
  if (ftruncate(fd, 0) != 0 || pwrite(fd, file.data(), file.size(), 0) != ssize_t(file.size()))
    std::abort();

  // The shape and the fingerprint of the seed that run.sh writes.
  ModelConfig config;
  config.layers = 2;
  config.width = 4;
  config.ffn_width = 6;
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  const auto read = ReadSkipFile(path, "model", config, "f");
  if (!read.ok()) return 0;
  static const std::string copy = "/dev/shm/skip_file_fuzz." + std::to_string(getpid());
  if (!WriteSkipFile(copy, *read).ok()) std::abort();
  const auto again = ReadSkipFile(copy, "model", config, "f");
  std::filesystem::remove(copy);
  if (!again.ok() || *again != *read) std::abort();
  return 0;
}
