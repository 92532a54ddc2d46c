// Reading texts from files and folders.
#include <filesystem>
#include <fstream>

#include "engine/quality/document_pool.h"
#include "engine/quality/documents.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace skipserve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class DocumentsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = ::testing::TempDir() + "quality_documents_" + test->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  std::string Write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(Path(name)).parent_path());
    std::ofstream(Path(name), std::ios::binary) << text;
    return Path(name);
  }
  static std::string Error(const std::string& path) {
    return std::string(ReadDocuments({path}).status().message());
  }

  std::string folder_;
};

TEST_F(DocumentsTest, ComeFromFilesAndFolders) {
  Write("texts/b.txt", "second");
  Write("texts/a.txt", "first");
  Write("texts/deep/c.txt", "third");
  Write("texts/.hidden/d.txt", "hidden");
  Write("texts/image", std::string("\x89PNG\0", 5));
  Write("texts/empty", "");
  Write("alone.txt", "alone");
  const auto documents = ReadDocuments({Path("texts"), Path("alone.txt")});
  ASSERT_TRUE(documents.ok()) << documents.status();
  std::vector<std::string> names, texts;
  for (const Document& document : *documents) {
    names.push_back(document.name.substr(folder_.size() + 1));
    texts.push_back(document.text);
  }
  EXPECT_THAT(texts, ElementsAre("first", "second", "third", "alone"));
  EXPECT_THAT(names, ElementsAre("texts/a.txt", "texts/b.txt", "texts/deep/c.txt", "alone.txt"));
}

TEST_F(DocumentsTest, BadOnesAreNamed) {
  std::filesystem::create_directories(Path("nothing"));
  EXPECT_THAT(Error(Path("missing")), HasSubstr("missing: No such file"));
  EXPECT_THAT(Error(Write("empty", "")), HasSubstr("is empty"));
  EXPECT_THAT(Error(Write("binary", std::string("\0\1", 2))), HasSubstr("is not a text"));
  EXPECT_THAT(Error(Path("nothing")), HasSubstr("no text in"));
}

// A text of 50 lines, all of them naming it.
Document Named(const std::string& name) {
  Document document{name, ""};
  for (int i = 0; i < 50; ++i) document.text += name + " line " + std::to_string(i) + "\n";
  return document;
}

using Kind = DocumentPool::Kind;

TEST(DocumentPoolTest, SplitsShareNoDocument) {
  const DocumentPool pool(
      {Named("a"), Named("b"), Named("a"), {"short", "too short"}, Named("c"), Named("d")});
  const std::string calibration = *pool.Text(Kind::kProse, false, 0, 1 << 20, Random(1));
  const std::string held_out = *pool.Text(Kind::kProse, true, 0, 1 << 20, Random(1));
  for (const char* name : {"a line", "c line"}) {
    EXPECT_THAT(calibration, HasSubstr(name));
    EXPECT_THAT(held_out, Not(HasSubstr(name)));
  }
  for (const char* name : {"b line", "d line"}) {
    EXPECT_THAT(held_out, HasSubstr(name));
    EXPECT_THAT(calibration, Not(HasSubstr(name)));
  }
  EXPECT_EQ(calibration.find("a line 0\n", 1), std::string::npos) << "the same text twice";
}

TEST(DocumentPoolTest, OneDocumentServesBothSplits) {
  const DocumentPool pool({Named("a")});
  EXPECT_EQ(*pool.Text(Kind::kProse, false, 0, 100, Random(1)),
            *pool.Text(Kind::kProse, true, 0, 100, Random(1)));
}

TEST(DocumentPoolTest, EveryIndexBeginsElsewhere) {
  const DocumentPool pool({Named("a"), Named("b"), Named("c"), Named("d")});
  EXPECT_EQ(pool.Text(Kind::kProse, false, 0, 1, Random(1))->substr(0, 9), "a line 0\n");
  EXPECT_EQ(pool.Text(Kind::kProse, false, 1, 1, Random(1))->substr(0, 9), "c line 0\n");
  const std::string later = *pool.Text(Kind::kProse, false, 2, 1 << 20, Random(1));
  EXPECT_EQ(later.substr(0, 7), "a line ");
  EXPECT_NE(later.substr(0, 9), "a line 0\n");
  // All of the split's text is there, what was passed over last.
  EXPECT_GE(later.size(), Named("a").text.size() + Named("c").text.size());
  EXPECT_THAT(later, HasSubstr("\n\na line 0\n"));
}

TEST(DocumentPoolTest, CodeIsToldByNameOrInterpreter) {
  Document script = Named("tool");
  script.text = "#!/usr/bin/env perl\n" + script.text;
  const DocumentPool pool({Named("a"), Named("b.py"), std::move(script)});
  EXPECT_THAT(*pool.Text(Kind::kCode, false, 0, 1, Random(1)), HasSubstr("b.py line"));
  EXPECT_THAT(*pool.Text(Kind::kCode, true, 0, 1, Random(1)), HasSubstr("tool line"));
  EXPECT_THAT(*pool.Text(Kind::kProse, false, 0, 1 << 20, Random(1)), Not(HasSubstr("b.py")));
}

TEST(DocumentPoolTest, SaysWhatToGive) {
  const DocumentPool prose({Named("a")}), code({Named("b.sh")});
  const absl::Status no_code = prose.Text(Kind::kCode, false, 0, 1, Random(1)).status();
  EXPECT_EQ(no_code.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(no_code.message()), HasSubstr(".py"));
  const absl::Status no_prose = code.Text(Kind::kProse, false, 0, 1, Random(1)).status();
  EXPECT_EQ(no_prose.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(no_prose.message()), HasSubstr("not source code"));
}

}  // namespace
}  // namespace skipserve
