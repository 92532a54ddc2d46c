// The skip file: round trip, refusal of everything that is not exactly right, interrupted writes.
#include "engine/skip/skip_file.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <string>
#include <tuple>

#include "engine/sha256.h"
#include "engine/skip/ready_settings.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace skipserve {
namespace {

using testing::AllOf;
using testing::HasSubstr;
namespace fs = std::filesystem;

const std::string kFingerprint(64, 'a');

ModelConfig Config() {
  ModelConfig c;
  c.layers = 3;
  c.width = 10;
  c.ffn_width = 16;
  return c;
}

SkipFile Example() {
  SkipFile file;
  file.fingerprint = kFingerprint;
  file.layers = 3;
  file.width = 10;
  file.ffn_width = 16;
  SkipPolicy p = LayeredPolicy(1, 3, 0.4, 0.1);
  SkipLevel measured = {"some", p};
  measured.figures = {{{2048, 24, 1.5, 0.0125, 0.96, 14, 15}, {8000, 12, 1.6, 0.1, 0.5, 4, 11}},
                      {"counting"},
                      "licences"};
  file.settings = {.default_level = "some",
                   .min_prompt = 100,
                   .levels = {measured, {"unmeasured", LayeredPolicy(0, 3, 0.3, 0.1)}}};
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  for (int i = 0; i < 3; ++i) {
    LayerProxy proxy;
    proxy.width = 10;
    proxy.d_low = 8;
    proxy.rank = 4;
    for (auto* m : {&proxy.gate_a, &proxy.up_a}) m->resize(4 * 10);
    for (auto* m : {&proxy.gate_b, &proxy.up_b}) m->resize(8 * 4);
    proxy.gram.resize(8 * 8);
    for (auto* m : {&proxy.gate_a, &proxy.gate_b, &proxy.up_a, &proxy.up_b, &proxy.gram}) {
      for (float& x : *m) x = normal(rng);
    }
    file.proxies.push_back(proxy);
  }
  return file;
}

class SkipFileTest : public testing::Test {
 protected:
  SkipFileTest()
      : folder_(fs::path(testing::TempDir()) /
                ("skip_file_test." + std::to_string(getpid()) + "." +
                 testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::create_directories(folder_);
    path_ = (folder_ / "m.gguf.skip").string();
  }
  ~SkipFileTest() override { fs::remove_all(folder_); }

  absl::StatusOr<SkipFile> Read() const {
    return ReadSkipFile(path_, "m.gguf", Config(), kFingerprint);
  }
  std::string Bytes() const {
    std::ifstream in(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void Put(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
  }
  // `bytes` without their checksum, under a right one: what a hostile writer can do.
  void PutSigned(const std::string& bytes) const {
    Sha256 sha;
    sha.Update(bytes);
    Put(bytes + *sha.HexDigest());
  }
  // The file with its header replaced, lengths and checksum made right.
  void PutHeader(const std::string& bytes, const std::string& header,
                 const std::string& body) const {
    const uint32_t size = static_cast<uint32_t>(header.size());
    std::string out = bytes.substr(0, 12);
    out.append(reinterpret_cast<const char*>(&size), 4);
    PutSigned(out + header + body);
  }

  fs::path folder_;
  std::string path_;
};

TEST_F(SkipFileTest, RoundTrip) {
  ASSERT_TRUE(WriteSkipFile(path_, Example()).ok());
  auto back = Read();
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, Example());
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1)
      << "no temporary file stays";
  struct stat info;
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644u) << "other users may serve the model";

  SkipFile bare = Example();
  bare.proxies.clear();
  ASSERT_TRUE(WriteSkipFile(path_, bare).ok()) << "over the old one";
  EXPECT_EQ(*Read(), bare);
}

TEST_F(SkipFileTest, PathIsBesideTheModel) {
  EXPECT_EQ(SkipFilePath("/a/m.gguf"), "/a/m.gguf.skip");
  EXPECT_EQ(SkipFilePath(folder_.string()), (folder_ / "skipserve.skip").string());
}

TEST_F(SkipFileTest, AbsentFile) {
  const auto read = Read();
  EXPECT_EQ(read.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(read.status().message()),
              AllOf(HasSubstr(path_), HasSubstr("skipserve calibrate m.gguf")));
}

TEST_F(SkipFileTest, AnotherModelsFileIsRefusedByBothFingerprints) {
  ASSERT_TRUE(WriteSkipFile(path_, Example()).ok());
  const std::string mine(64, 'b');
  const auto read = ReadSkipFile(path_, "m.gguf", Config(), mine);
  EXPECT_EQ(read.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(read.status().message()),
              AllOf(HasSubstr(path_), HasSubstr(mine), HasSubstr(kFingerprint),
                    HasSubstr("skipserve calibrate m.gguf")));
  for (const auto field : {&ModelConfig::layers, &ModelConfig::width, &ModelConfig::ffn_width}) {
    ModelConfig other = Config();
    other.*field += 1;
    EXPECT_EQ(ReadSkipFile(path_, "m.gguf", other, kFingerprint).status().code(),
              absl::StatusCode::kFailedPrecondition);
  }
}

TEST_F(SkipFileTest, AnotherVersionIsRefused) {
  ASSERT_TRUE(WriteSkipFile(path_, Example()).ok());
  std::string bytes = Bytes();
  for (const char version : {1, 3}) {  // 1 had no figures
    bytes[8] = version;
    Put(bytes);
    const auto read = Read();
    EXPECT_EQ(read.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(read.status().message()),
                AllOf(HasSubstr("it has version " + std::to_string(version) +
                                " and this program reads version 2"),
                      HasSubstr("skipserve calibrate m.gguf")));
  }
}

TEST_F(SkipFileTest, EveryTruncationIsRefused) {
  ASSERT_TRUE(WriteSkipFile(path_, Example()).ok());
  const std::string bytes = Bytes();
  for (size_t n = 0; n < bytes.size(); n += n < 200 || n + 200 > bytes.size() ? 1 : 17) {
    Put(bytes.substr(0, n));
    const auto read = Read();
    ASSERT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument) << n;
    ASSERT_THAT(std::string(read.status().message()), HasSubstr("skipserve calibrate"));
  }
  Put(bytes + "x");
  EXPECT_FALSE(Read().ok());
}

TEST_F(SkipFileTest, EveryBitFlipIsRefused) {
  ASSERT_TRUE(WriteSkipFile(path_, Example()).ok());
  const std::string bytes = Bytes();
  std::mt19937 rng(2);
  for (size_t i = 0; i < bytes.size(); i += i < 32 ? 1 : 5) {
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ (1 << (rng() % 8)));
    Put(flipped);
    ASSERT_FALSE(Read().ok()) << "byte " << i;
  }
}

TEST_F(SkipFileTest, AWrongHeaderUnderARightChecksumIsRefused) {
  ASSERT_TRUE(WriteSkipFile(path_, Example()).ok());
  const std::string bytes = Bytes();
  uint32_t size;
  std::memcpy(&size, &bytes[12], 4);
  const std::string header = bytes.substr(16, size);
  const std::string body = bytes.substr(16 + size, bytes.size() - 16 - size - 64);
  PutHeader(bytes, header, body);
  ASSERT_TRUE(Read().ok()) << "the helper makes a good file of good parts: " << Read().status();

  const std::pair<const char*, const char*> edits[] = {
      {"\"d_low\": 8", "\"d_low\": 9"},
      {"\"d_low\": 8", "\"d_low\": 65536"},
      {"\"d_low\": 8", "\"d_low\": 18446744073709551615"},
      {"\"d_low\": 8", "\"d_low\": -8"},
      {"\"d_low\": 8", "\"d_low\": 0"},
      {"\"d_low\": 8", "\"d_low\": \"8\""},
      {"\"rank\": 4", "\"rank\": 0"},
      {"\"rank\": 4", "\"rank\": 5"},
      {"\"rank\": 4", "\"rank\": 1e300"},
      {"\"layers\": 3", "\"layers\": 4"},
      {"\"layers\": 3", "\"layers\": -1"},
      {"\"proxy\"", "\"oxy\""},
      {"\"levels\"", "\"evels\""},
      {"\"min_prompt\": 100", "\"min_prompt\": -1"},
      {"\"default_level\": \"some\"", "\"default_level\": \"none\""},
      {"\"name\": \"some\"", "\"name\": \"off\""},
      {"\"pool\": 1", "\"pool\": 2"},
      {"\"policy\"", "\"olicy\""},
      {"{", "["},
      {"\"fingerprint\"", "\"ingerprint\""},
  };
  for (const auto& [from, to] : edits) {
    std::string edited = header;
    const size_t at = edited.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    edited.replace(at, std::strlen(from), to);
    PutHeader(bytes, edited, body);
    const auto read = Read();
    EXPECT_FALSE(read.ok()) << to;
    EXPECT_THAT(std::string(read.status().message()), HasSubstr(path_));
  }
  // Wrong figures are named by level and field.
  const std::tuple<const char*, const char*, const char*> figures[] = {
      {"\"cases\": 24", "\"cases\": -24", "lengths[0].cases"},
      {"\"cases\": 24", "\"cases\": 2.4", "lengths[0].cases"},
      {"\"cases\": 24", "\"caess\": 24", "lengths[0].cases"},
      {"\"kl\": 0.0125", "\"kl\": null", "lengths[0].kl"},
      {"\"kl\": 0.0125", "\"kl\": -1", "lengths[0].kl"},
      {"\"kl\": 0.0125", "\"lk\": 1, \"kl\": 1", "lengths[0].lk"},
      {"\"agreement\": 0.96", "\"agreement\": 1.5", "lengths[0].agreement"},
      {"\"facts_found\": 14", "\"facts_found\": 16", "lengths[0].facts_found"},
      {"\"prompt_tokens\": 8000", "\"prompt_tokens\": 2048", "lengths[1].prompt_tokens"},
      {"\"counting\"", "[]", "weak_tasks[0]"},
      {"\"measured_on\"", "\"measured_in\"", "measured_on"},
      {"\"lengths\"", "\"engths\"", "lengths"},
  };
  for (const auto& [from, to, field] : figures) {
    std::string edited = header;
    const size_t at = edited.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    edited.replace(at, std::strlen(from), to);
    PutHeader(bytes, edited, body);
    const auto read = Read();
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument) << to;
    EXPECT_THAT(std::string(read.status().message()),
                AllOf(HasSubstr("level \"some\""), HasSubstr(field)));
  }
  const float nan = std::nanf("");
  std::string not_finite = body;
  std::memcpy(&not_finite[40], &nan, sizeof(nan));
  PutHeader(bytes, header, not_finite);
  EXPECT_THAT(std::string(Read().status().message()), HasSubstr("not finite"));
  PutHeader(bytes, header, body.substr(4));
  EXPECT_FALSE(Read().ok());
  PutHeader(bytes, header, "");
  EXPECT_FALSE(Read().ok());
  PutHeader(bytes, std::string(100000, '['), body);
  EXPECT_FALSE(Read().ok());
  PutHeader(bytes, "\xff\xfe", body);
  EXPECT_FALSE(Read().ok());
}

TEST_F(SkipFileTest, WhatContradictsItselfIsNotWritten) {
  const auto expect_refused = [&](auto&& change) {
    SkipFile file = Example();
    change(file);
    EXPECT_EQ(WriteSkipFile(path_, file).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(fs::is_empty(folder_));
  };
  expect_refused([](SkipFile& f) { f.layers = 0; });
  expect_refused([](SkipFile& f) { f.proxies.pop_back(); });
  expect_refused([](SkipFile& f) { f.proxies[1].gram.pop_back(); });
  expect_refused([](SkipFile& f) { f.proxies[2].rank = 3; });
  expect_refused([](SkipFile& f) { f.proxies[2].up_b[5] = std::nanf(""); });
  expect_refused([](SkipFile& f) { f.settings.default_level = "other"; });
  expect_refused([](SkipFile& f) { f.settings.levels[0].name = ""; });
  expect_refused([](SkipFile& f) { f.settings.levels.push_back(f.settings.levels[0]); });
  expect_refused([](SkipFile& f) { f.settings.levels[0].policy.pool = 2; });
  expect_refused([](SkipFile& f) { f.settings.levels[0].name = std::string(65, 'x'); });
  expect_refused([](SkipFile& f) { f.settings.levels[0].figures.lengths[0].kl = std::nanf(""); });
  expect_refused([](SkipFile& f) { f.settings.levels[0].figures.lengths.clear(); });
  expect_refused([](SkipFile& f) { f.settings.levels[1].figures.weak_tasks = {"summaries"}; });
}

TEST_F(SkipFileTest, AFailedWriteLeavesTheOldFile) {
  ASSERT_TRUE(WriteSkipFile(path_, Example()).ok());
  SkipFile other = Example();
  other.settings.min_prompt = 7;
  // A path that cannot be renamed to: a folder with something in it.
  const std::string occupied = (folder_ / "occupied").string();
  fs::create_directories(occupied + "/x");
  EXPECT_FALSE(WriteSkipFile(occupied, other).ok());
  EXPECT_FALSE(WriteSkipFile((folder_ / "absent" / "f.skip").string(), other).ok());
  // A disk that takes only the first part.
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small{1500, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = WriteSkipFile(path_, other);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  signal(SIGXFSZ, old_handler);
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(*Read(), Example());
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 2)
      << "no temporary file stays";
}

}  // namespace
}  // namespace skipserve
