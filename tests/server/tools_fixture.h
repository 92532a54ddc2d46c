// What the tests of the command-line tools share: the tiny model, files of their own, and what a
// tool printed.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "engine/open.h"
#include "nlohmann/json.hpp"
#include "server/tool_io.h"

namespace skipserve::testing {

inline EngineOptions TinyOptions() {
  EngineOptions options;
  options.model_path = std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/tiny/tiny.gguf";
  options.backend = "reference";
  options.dtype = "f32";
  options.kv_memory_mb = 64;
  return options;
}

// A policy for the tiny model's six layers.
inline constexpr char kTinyPolicy[] =
    R"({"start": 2, "stage_ends": [3], "budgets": [0.5], "keeps": [0.25], "ffn_score": "attention"})";

inline std::string Words(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += "word" + std::to_string(i * 7919 % 1000) + " ";
  return text;
}

inline std::string ReadAll(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

// Files that are gone after the test.
class ToolsTest : public ::testing::Test {
 protected:
  ToolsTest() : out_(std::tmpfile()), err_(std::tmpfile()) {
    std::string path = ::testing::TempDir() + "/skipserve-tools-XXXXXX";
    folder_ = mkdtemp(path.data());
  }
  ~ToolsTest() override {
    std::fclose(out_);
    std::fclose(err_);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  std::string Write(const std::string& name, const std::string& content) const {
    std::ofstream(Path(name), std::ios::binary) << content;
    return Path(name);
  }
  // A copy of the tiny model, for tests that put a skip file beside it.
  std::string TinyCopy() const {
    std::filesystem::copy_file(TinyOptions().model_path, Path("tiny.gguf"),
                               std::filesystem::copy_options::overwrite_existing);
    return Path("tiny.gguf");
  }

  ToolIo io() const { return {out_, err_}; }
  // What was printed since the last call.
  std::string Out() { return Take(out_); }
  std::string Err() { return Take(err_); }
  nlohmann::json OutJson() { return nlohmann::json::parse(Out(), nullptr, false); }

 private:
  static std::string Take(std::FILE* file) {
    std::rewind(file);
    std::string text;
    for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) text += static_cast<char>(c);
    std::rewind(file);
    EXPECT_EQ(ftruncate(fileno(file), 0), 0);
    return text;
  }

  std::FILE* out_;
  std::FILE* err_;
  std::string folder_;
};

}  // namespace skipserve::testing
