// Keys of a file: who has one is somebody, and who has none is nobody.
#include "server/api_keys.h"

#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace skipserve {
namespace {

using testing::HasSubstr;

std::string FileOf(absl::string_view text) {
  const std::string path = absl::StrCat(
      testing::TempDir(), "/keys_", testing::UnitTest::GetInstance()->current_test_info()->name());
  std::ofstream(path) << text;
  return path;
}

TEST(ApiKeys, WithoutAFileEverybodyMayAsk) {
  const ApiKeys keys;
  EXPECT_FALSE(keys.required());
  EXPECT_EQ(*keys.Client(""), "");
  EXPECT_EQ(*keys.Client("Bearer whatever"), "");
}

TEST(ApiKeys, AKeyIsItsClients) {
  const auto keys =
      ApiKeys::Read(FileOf("# ours\nalpha team-a\nbeta\tteam-b\r\n\ngamma team-a\ndelta"));
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_TRUE(keys->required());
  EXPECT_EQ(*keys->Client("Bearer alpha"), "team-a");
  EXPECT_EQ(*keys->Client("Bearer beta"), "team-b");
  EXPECT_EQ(*keys->Client("bearer gamma"), "team-a");
  EXPECT_THAT(*keys->Client("Bearer delta"), HasSubstr("key-"));
}

TEST(ApiKeys, OthersAreRefused) {
  const auto keys = ApiKeys::Read(FileOf("alpha team-a\n"));
  ASSERT_TRUE(keys.ok());
  for (const char* header :
       {"", "Bearer ", "Bearer Alpha", "alpha", "Bearer alpha ", "Basic alpha", "Bearer team-a"}) {
    EXPECT_EQ(keys->Client(header).status().code(), absl::StatusCode::kUnauthenticated) << header;
  }
}

TEST(ApiKeys, AFileThatCannotBeMeantIsNamed) {
  EXPECT_EQ(ApiKeys::Read("/nowhere/keys").status().code(), absl::StatusCode::kNotFound);
  const auto message = [](absl::string_view text) {
    const auto keys = ApiKeys::Read(FileOf(text));
    EXPECT_EQ(keys.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(keys.status().message());
  };
  EXPECT_THAT(message("# nothing\n\n"), HasSubstr("no API key"));
  EXPECT_THAT(message("a b\nc d 5 e\n"), HasSubstr("line 2"));
  EXPECT_THAT(message("a b\na c\n"), HasSubstr("line 2"));
  EXPECT_THAT(message("a " + std::string(257, 'n')), HasSubstr("at most 256 bytes"));
  EXPECT_THAT(message("a b\nc d e\n"), HasSubstr("line 2: the highest priority"));
  EXPECT_THAT(message("a b 101\n"), HasSubstr("the highest priority"));
  EXPECT_THAT(message("a b -2147483648\n"), HasSubstr("the highest priority"));
}

}  // namespace
}  // namespace skipserve
