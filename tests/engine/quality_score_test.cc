// What counts as an answer found.
#include "engine/quality/tasks.h"
#include "gtest/gtest.h"

namespace skipserve {
namespace {

double Score(const std::vector<std::string>& answers, const std::string& text) {
  Task task;
  task.answers = answers;
  return ScoreAnswer(task, text);
}

TEST(ScoreAnswerTest, CaseDoesNotMatter) {
  EXPECT_EQ(Score({"Oldenburg"}, "She was born in OLDENBURG."), 1);
  EXPECT_EQ(Score({"half past six"}, "Half past six"), 1);
}

TEST(ScoreAnswerTest, NumbersAreWhole) {
  EXPECT_EQ(Score({"123"}, "41237"), 0);
  EXPECT_EQ(Score({"123"}, "1234"), 0);
  EXPECT_EQ(Score({"123"}, "4123"), 0);
  EXPECT_EQ(Score({"123"}, "It is 123."), 1);
  EXPECT_EQ(Score({"123"}, "41237, no: 123"), 1);
  EXPECT_EQ(Score({"123"}, "123kg"), 1);
}

TEST(ScoreAnswerTest, CommasMayGroupDigits) {
  EXPECT_EQ(Score({"1240"}, "1,240 loaves"), 1);
  EXPECT_EQ(Score({"1234567"}, "the number 1,234,567"), 1);
  EXPECT_EQ(Score({"240"}, "1,240 loaves"), 0);
  EXPECT_EQ(Score({"7431", "8002"}, "7431,8002"), 1);
}

TEST(ScoreAnswerTest, WordsBeginWhereWordsBegin) {
  EXPECT_EQ(Score({"pear"}, "It appears so."), 0);
  EXPECT_EQ(Score({"pear"}, "Two pears"), 1);
  EXPECT_EQ(Score({"VAR1"}, "VAR12"), 0);
  EXPECT_EQ(Score({"VAR1"}, "(var1)"), 1);
}

TEST(ScoreAnswerTest, IsTheShareFound) {
  EXPECT_EQ(Score({"12", "pear", "Ghent", "lynx"}, "12 and a lynx"), 0.5);
  EXPECT_EQ(Score({"12"}, ""), 0);
  EXPECT_EQ(Score({}, "whatever"), 1);
}

}  // namespace
}  // namespace skipserve
