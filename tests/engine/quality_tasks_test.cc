// The tasks' promises, on tiny tokenizers and generated documents: lengths, where answers stand,
// the two splits. And all families on the real tokenizer where there is one.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <tuple>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/model_file.h"
#include "engine/quality/tasks.h"
#include "gmock/gmock.h"
#include "tests/engine/tokenizer_goldens.h"

namespace skipserve {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kChat[] =
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content']|trim }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

// Lines that name their document. Some have letters in two forms, and what looks like a special
// token.
Document Generated(const std::string& name, int lines) {
  Document document{name, ""};
  for (int i = 0; i < lines; ++i) {
    absl::StrAppend(&document.text, i % 7 == 0 ? "\n" : "", "  Line ", i, " of ", name,
                    i % 5 == 0 ? ", caf\u00e9 or cafe\u0301" : "",
                    i % 11 == 0 ? " <|im_end|> and" : "", " says nothing of any use.\n");
  }
  return document;
}

std::vector<Document> SomeDocuments() {
  std::vector<Document> documents;
  for (const char* name : {"alpha", "beta", "gamma", "delta", "epsilon", "zeta"}) {
    documents.push_back(Generated(name, 400));
    documents.push_back(Generated(absl::StrCat(name, ".py"), 400));
  }
  return documents;
}

bool IsRaw(const Task& task) { return task.family == "code" || task.family == "continuation"; }

class TasksTest : public ::testing::Test {
 protected:
  explicit TasksTest(const std::string& tokenizer = "smollm", bool chat = true)
      : tokenizer_(FamilyTokenizer(tokenizer)),
        chat_(chat ? *ChatTemplate::Parse(kChat, "", "") : nullptr),
        maker_(*tokenizer_, chat_.get(), SomeDocuments()) {}

  Task Make(absl::string_view family, int64_t tokens, int64_t index, TaskOptions options = {}) {
    absl::StatusOr<Task> task = maker_.Make(family, tokens, index, options);
    EXPECT_TRUE(task.ok()) << family << " " << index << ": " << task.status();
    return task.ok() ? *std::move(task) : Task{};
  }
  std::string Text(const std::vector<int32_t>& ids) const { return tokenizer_->Decode(ids, false); }
  std::string Document(const Task& task) const {
    return Text(
        {task.prompt.begin() + task.document_begin, task.prompt.begin() + task.document_end});
  }
  // What stands before and after the document.
  std::string Around(const Task& task) const {
    return Text({task.prompt.begin(), task.prompt.begin() + task.document_begin}) +
           Text({task.prompt.begin() + task.document_end, task.prompt.end()});
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> chat_;
  TaskMaker maker_;
};

// By tokenizer, and whether there is a chat template.
class EveryTokenizerTest : public TasksTest,
                           public ::testing::WithParamInterface<std::tuple<std::string, bool>> {
 protected:
  EveryTokenizerTest() : TasksTest(std::get<0>(GetParam()), std::get<1>(GetParam())) {}
};

INSTANTIATE_TEST_SUITE_P(, EveryTokenizerTest,
                         ::testing::Combine(::testing::ValuesIn(Families()), ::testing::Bool()),
                         [](const auto& info) {
                           std::string name = std::get<0>(info.param);
                           std::erase(name, '-');
                           return name + (std::get<1>(info.param) ? "Chat" : "Plain");
                         });

TEST_P(EveryTokenizerTest, PromptsHaveTheLengthAndTheAnswersInTheirDocument) {
  for (const absl::string_view family : TaskFamilies()) {
    for (const int64_t tokens : {1500, 5000}) {
      for (const bool held_out : {false, true}) {
        SCOPED_TRACE(absl::StrCat(family, " ", tokens, " ", held_out));
        const Task task = Make(family, tokens, 3, {7, held_out});
        const auto size = static_cast<int64_t>(task.prompt.size());
        EXPECT_EQ(task.family, family);
        EXPECT_EQ(task.tokens, tokens);
        EXPECT_LE(size, tokens);
        EXPECT_GE(size, tokens - std::max<int64_t>(16, tokens / 100));
        EXPECT_GT(task.max_new_tokens, 0);

        ASSERT_LE(0, task.document_begin);
        ASSERT_LE(task.document_end, size);
        EXPECT_GT(task.document_end - task.document_begin, tokens / 2);
        Task only = task;
        for (const std::string& answer : task.answers) {
          only.answers = {answer};
          EXPECT_EQ(ScoreAnswer(only, Document(task)), 1) << answer;
          EXPECT_EQ(ScoreAnswer(only, Around(task)), 0) << answer;
        }
        EXPECT_THAT(task.continuation, SizeIs(IsRaw(task) ? 128 : 0));
      }
    }
  }
}

TEST_F(TasksTest, AreTheSameForTheSameArguments) {
  const TaskMaker again(*tokenizer_, chat_.get(), SomeDocuments());
  for (const absl::string_view family : TaskFamilies()) {
    SCOPED_TRACE(family);
    const Task task = Make(family, 2000, 5, {1, false});
    const absl::StatusOr<Task> same = again.Make(family, 2000, 5, {1, false});
    ASSERT_TRUE(same.ok());
    EXPECT_EQ(task.prompt, same->prompt);
    EXPECT_EQ(task.answers, same->answers);
    EXPECT_EQ(task.document_begin, same->document_begin);
    EXPECT_EQ(task.document_end, same->document_end);
    EXPECT_EQ(task.continuation, same->continuation);
    EXPECT_NE(task.prompt, Make(family, 2000, 6, {1, false}).prompt);
  }
  EXPECT_NE(Make("fact", 2000, 5, {1, false}).answers, Make("fact", 2000, 5, {2, false}).answers);
}

TEST_F(TasksTest, LengthDoesNotChangeWhatIsPlanted) {
  for (const char* family : {"fact", "two_questions", "needle_values", "variable_tracking"}) {
    SCOPED_TRACE(family);
    const Task task = Make(family, 1500, 4), longer = Make(family, 6000, 4);
    EXPECT_EQ(task.answers, longer.answers);
    const std::string text = Document(task), longer_text = Document(longer);
    for (const std::string& answer : task.answers) {
      EXPECT_NEAR(double(text.find(answer)) / double(text.size()),
                  double(longer_text.find(answer)) / double(longer_text.size()), 0.1);
    }
  }
}

// Lines that the generated documents do not have.
std::vector<std::string> PlantedLines(const std::string& document) {
  std::vector<std::string> planted;
  const std::vector<std::string> lines = absl::StrSplit(document, '\n', absl::SkipEmpty());
  // The last one may be the beginning of a line.
  for (size_t i = 0; i + 1 < lines.size(); ++i) {
    if (!absl::StrContains(lines[i], "Line ")) planted.push_back(lines[i]);
  }
  return planted;
}

TEST_F(TasksTest, AHundredFactsAreDifferent) {
  for (const bool held_out : {false, true}) {
    std::set<std::string> sentences, questions;
    std::vector<int> tenths(10, 0);
    for (int index = 0; index < 100; ++index) {
      const Task task = Make("fact", 1500, index, {0, held_out});
      const std::string document = Document(task);
      const std::vector<std::string> planted = PlantedLines(document);
      ASSERT_THAT(planted, SizeIs(1)) << index;
      EXPECT_THAT(planted[0], HasSubstr(task.answers[0]));
      EXPECT_EQ(planted[0].find('{'), std::string::npos) << planted[0];
      sentences.insert(planted[0]);
      questions.insert(Around(task));
      ++tenths[document.find(planted[0]) * 10 / document.size()];
    }
    EXPECT_THAT(sentences, SizeIs(100));
    EXPECT_GE(questions.size(), 80u);
    // At all depths: the outer tenths have half as many, less those that move to a line's
    // beginning.
    EXPECT_GE(*std::min_element(tenths.begin(), tenths.end()), 1);
    EXPECT_LE(*std::max_element(tenths.begin(), tenths.end()), 16);
  }
}

TEST_F(TasksTest, SplitsShareNeitherWordingNorAnswerNorDocument) {
  for (const absl::string_view family : TaskFamilies()) {
    SCOPED_TRACE(family);
    std::set<std::string> answers[2], wordings[2], documents[2];
    for (const bool held_out : {false, true}) {
      for (int index = 0; index < 30; ++index) {
        const Task task = Make(family, 1500, index, {0, held_out});
        answers[held_out].insert(task.answers.begin(), task.answers.end());
        if (!IsRaw(task)) wordings[held_out].insert(Around(task));
        const std::string document = Document(task);
        for (const char* name : {"alpha", "beta", "gamma", "delta", "epsilon", "zeta"}) {
          if (absl::StrContains(document, absl::StrCat("of ", name))) {
            documents[held_out].insert(name);
          }
        }
      }
    }
    for (const auto* sets : {answers, wordings, documents}) {
      std::vector<std::string> both;
      std::set_intersection(sets[0].begin(), sets[0].end(), sets[1].begin(), sets[1].end(),
                            std::back_inserter(both));
      EXPECT_THAT(both, IsEmpty());
    }
  }
}

TEST_F(TasksTest, QuestionsStandWhereTheFamilySays) {
  const Task first = Make("question_first", 1500, 0);
  const std::string before(
      Text({first.prompt.begin(), first.prompt.begin() + first.document_begin}));
  EXPECT_THAT(before, HasSubstr("What is the access code of"));
  EXPECT_THAT(Text({first.prompt.begin() + first.document_end, first.prompt.end()}),
              HasSubstr("Answer the question.<|im_end|>\n<|im_start|>assistant\n"));

  const Task turns = Make("second_turn", 1500, 0);
  const std::vector<std::string> parts = absl::StrSplit(Text(turns.prompt), "<|im_start|>");
  ASSERT_THAT(parts, SizeIs(5));  // what is before the first, three messages, the answer's place
  EXPECT_THAT(parts[1], HasSubstr("What is the access code of"));
  EXPECT_THAT(parts[2], HasSubstr("assistant\nThe access code of"));
  EXPECT_THAT(parts[3], HasSubstr("How many loaves"));

  EXPECT_THAT(Make("two_questions", 1500, 0).answers, SizeIs(2));
}

TEST_F(TasksTest, ADocumentMakesNoSpecialTokens) {
  const Task task = Make("summary", 1500, 0);
  EXPECT_THAT(Document(task), HasSubstr("<|im_end|>"));
  EXPECT_TRUE(std::none_of(task.prompt.begin() + task.document_begin,
                           task.prompt.begin() + task.document_end,
                           [&](int32_t id) { return tokenizer_->IsSpecial(id); }));
}

TEST_F(TasksTest, AContinuationIsWhatFollows) {
  for (const char* family : {"continuation", "code"}) {
    const Task task = Make(family, 1500, 0);
    const std::string name = task.family == "code" ? "alpha.py" : "alpha";
    std::string all = Text(task.prompt) + Text(task.continuation);
    EXPECT_EQ(all, Generated(name, 400).text.substr(3, all.size()));
    std::vector<int32_t> ids = task.prompt;
    ids.insert(ids.end(), task.continuation.begin(), task.continuation.end());
    std::vector<int32_t> whole =
        tokenizer_->Encode(Generated(name, 400).text.substr(3), /*allow_special=*/false);
    whole.resize(ids.size());
    EXPECT_EQ(ids, whole);
  }
}

TEST_F(TasksTest, CodeBreaksOffInsideALine) {
  for (int index = 0; index < 20; ++index) {
    const Task task = Make("code", 1000 + index, index);
    EXPECT_TRUE(absl::ascii_isalnum(tokenizer_->TokenBytes(task.prompt.back()).back()));
    EXPECT_EQ(tokenizer_->TokenBytes(task.continuation[0]).find('\n'), absl::string_view::npos);
  }
}

TEST_F(TasksTest, TheWordsAskedForAreTheMostFrequent) {
  for (const char* family : {"common_words", "frequent_words"}) {
    for (const int64_t tokens : {1500, 6000}) {
      const Task task = Make(family, tokens, 1);
      std::map<std::string, int> counts;
      for (const auto& word : absl::StrSplit(Document(task), ' ')) {
        if (!absl::EndsWith(word, ".")) ++counts[std::string(word)];
      }
      int least = counts[task.answers[0]], most_other = 0;
      for (const auto& [word, count] : counts) {
        const bool asked = std::count(task.answers.begin(), task.answers.end(), word) > 0;
        if (!asked) most_other = std::max(most_other, count);
      }
      for (const std::string& answer : task.answers) least = std::min(least, counts[answer]);
      EXPECT_GT(least, most_other) << family;
    }
  }
}

TEST_F(TasksTest, ErrorsSayWhatIsWrong) {
  const auto expect = [&](const TaskMaker& maker, absl::string_view family, int64_t tokens,
                          int64_t index, absl::StatusCode code, const std::string& words) {
    const absl::Status status = maker.Make(family, tokens, index).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
  };
  const auto invalid = absl::StatusCode::kInvalidArgument, missing = absl::StatusCode::kNotFound;
  expect(maker_, "poem", 1500, 0, invalid, "no family of tasks is called poem; there are fact,");
  expect(maker_, "fact", 0, 0, invalid, "tokens must be 1 to");
  expect(maker_, "fact", 1500, -1, invalid, "the index not negative");
  expect(maker_, "fact", 20, 0, invalid, "20 tokens are too few");
  expect(maker_, "fact", 1 << 20, 0, missing, "the documents are too short");
  expect(maker_, "continuation", 1 << 20, 0, missing, "the documents are too short");
  const TaskMaker no_code(*tokenizer_, chat_.get(), {Generated("alpha", 400)});
  expect(no_code, "code", 1500, 0, missing, "give some .py");
  const TaskMaker nothing(*tokenizer_, chat_.get(), {});
  expect(nothing, "fact", 1500, 0, missing, "no text");
}

TEST_F(TasksTest, AListOfAFewWordsIsRefused) {
  for (const char* family : {"common_words", "frequent_words"}) {
    int64_t tokens = 50, refused = 0;
    for (absl::Status status = absl::UnknownError(""); !status.ok(); tokens += 5) {
      ASSERT_LT(tokens, 800);
      status = maker_.Make(family, tokens, 0).status();
      refused += absl::StrContains(status.message(), "so few tokens make no list");
    }
    EXPECT_GT(refused, 0) << family;
  }
}

// On the real tokenizer and the machine's licences, where both are there.
TEST(RealTasksTest, AllFamilies) {
  const char* path = std::getenv("SKIPSERVE_TEST_MODEL");
  if (path == nullptr) GTEST_SKIP() << "SKIPSERVE_TEST_MODEL names no model";
  const auto file = ModelFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  const auto tokenizer = MakeTokenizer((*file)->tokenizer());
  const auto chat = ChatTemplate::Parse((*file)->tokenizer().chat_template, "", "");
  ASSERT_TRUE(chat.ok()) << chat.status();
  const auto documents = ReadDocuments({"/usr/share/common-licenses"});
  ASSERT_TRUE(documents.ok()) << documents.status();
  const TaskMaker maker(*tokenizer, chat->get(), *documents);
  for (const absl::string_view family : TaskFamilies()) {
    if (family == "code") continue;
    for (const int64_t tokens : {512, 2048, 8000}) {
      for (int index = 0; index < 6; ++index) {
        const auto task = maker.Make(family, tokens, index, {0, index % 2 == 1});
        ASSERT_TRUE(task.ok()) << family << ": " << task.status();
        const auto size = static_cast<int64_t>(task->prompt.size());
        EXPECT_LE(size, tokens);
        EXPECT_GE(size, tokens - std::max<int64_t>(16, tokens / 100));
        const std::vector<int32_t> document(task->prompt.begin() + task->document_begin,
                                            task->prompt.begin() + task->document_end);
        EXPECT_EQ(ScoreAnswer(*task, tokenizer->Decode(document, false)), 1) << family;
      }
    }
  }
}

}  // namespace
}  // namespace skipserve
