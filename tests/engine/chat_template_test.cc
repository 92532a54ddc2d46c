// The chat template interpreter against Python's jinja2: whole templates, single constructs and
// random ones.
#include "engine/chat_template.h"

#include <cstdlib>

#include "engine/model_file.h"
#include "gmock/gmock.h"
#include "tests/engine/tokenizer_goldens.h"

namespace skipserve {
namespace {

using testing::HasSubstr;

std::vector<ChatMessage> MessagesOf(const nlohmann::json& messages) {
  std::vector<ChatMessage> result;
  for (const auto& message : messages) {
    result.push_back({message["role"].get<std::string>(), message["content"].get<std::string>()});
  }
  return result;
}

// What the template writes, or nothing where it is refused at Parse or at Render.
absl::StatusOr<std::string> Output(const std::string& source,
                                   const std::vector<ChatMessage>& messages, bool prompt = true) {
  const auto chat = ChatTemplate::Parse(source, "<|begin|>", "<|end|>");
  if (!chat.ok()) return chat.status();
  const auto pieces = (*chat)->Render(messages, prompt);
  if (!pieces.ok()) return pieces.status();
  std::string text;
  for (const TextPiece& piece : *pieces) text += piece.text;
  return text;
}

void ExpectOutput(const std::string& source, const std::vector<ChatMessage>& messages, bool prompt,
                  const nlohmann::json& expected) {
  const absl::StatusOr<std::string> output = Output(source, messages, prompt);
  if (expected.is_null()) {
    EXPECT_EQ(output.status().code(), absl::StatusCode::kInvalidArgument) << source;
  } else {
    ASSERT_TRUE(output.ok()) << output.status() << "\n" << source;
    EXPECT_EQ(*output, expected.get<std::string>()) << source;
  }
}

TEST(ChatTemplateTest, RendersWholeTemplatesAsJinja2Does) {
  for (const auto& golden : ReadGolden("chat/templates.json")) {
    for (const auto& rendering : golden["renderings"]) {
      SCOPED_TRACE(golden["name"].get<std::string>() + " " + rendering["messages"].dump());
      ExpectOutput(golden["template"], MessagesOf(rendering["messages"]), rendering["prompt"],
                   rendering["output"]);
    }
  }
}

TEST(ChatTemplateTest, RendersEachConstructAsJinja2Does) {
  const nlohmann::json golden = ReadGolden("chat/snippets.json");
  ASSERT_GT(golden["cases"].size(), 300u);
  for (const auto& snippet : golden["cases"]) {
    ExpectOutput(snippet["template"], MessagesOf(golden["messages"]), true, snippet["output"]);
  }
}

TEST(ChatTemplateTest, RendersSmolLm2sTemplateAsJinja2Does) {
  const char* path = std::getenv("SKIPSERVE_TEST_MODEL");
  if (path == nullptr) GTEST_SKIP() << "SKIPSERVE_TEST_MODEL does not name a SmolLM2 GGUF file";
  const auto model = ModelFile::Open(path);
  ASSERT_TRUE(model.ok()) << model.status();
  for (const auto& rendering : ReadGolden("chat/smollm2.json")) {
    ExpectOutput((*model)->tokenizer().chat_template, MessagesOf(rendering["messages"]),
                 rendering["prompt"], rendering["output"]);
  }
}

struct Refused {
  std::string source;
  std::string named;  // what the message must name
};

TEST(ChatTemplateTest, RefusesWhatItDoesNotKnowAtParseNamingItAndItsLine) {
  const Refused cases[] = {
      {"\n\n{{ 'a' | frobnicate }}", "line 3: the filter 'frobnicate'"},
      {"\n{{ 1 is frobbed }}", "line 2: the test 'frobbed'"},
      {"{{ 'a'.frob() }}", "line 1: the method 'frob'"},
      {"{{ frob(1) }}", "the function 'frob'"},
      {"\n{% if true %}\n{{ frob() }}{% endif %}", "line 3: the function 'frob'"},
      {"{% include 'x' %}", "the statement 'include'"},
      {"{% raw %}{% endraw %}", "the statement 'raw'"},
      {"{% call f() %}{% endcall %}", "the statement 'call'"},
      {"{% for x in [] recursive %}{% endfor %}", "recursive"},
      {"{% if true %}{% macro f() %}{% endmacro %}{% endif %}", "macro"},
      {"{% set x | upper %}{% endset %}", "filter"},
      {"{{ 2 ** 3 }}", "'**'"},
      {"{{ f(*a) }}", "unpacked"},
      {"{{ 'a' | map }}{{ 99999999999999999999 }}", "too large"},
      {"{{ '\\N{DASH}' }}", "escape"},
      {"{{ 1 ? 2 }}", "'?'"},
      {"{% break %}", "'break'"},
      {"\n\n{% if true %}\n", "endif"},
      {"{{ 1", "not closed"},
      {"{# x", "not closed"},
      {"{{ \"x }}", "not closed"},
      {"{{ (1 }}", "'}'"},
      {"{{ 1) }}", "')'"},
  };
  for (const Refused& refused : cases) {
    const auto chat = ChatTemplate::Parse(refused.source, "", "");
    EXPECT_EQ(chat.status().code(), absl::StatusCode::kInvalidArgument) << refused.source;
    EXPECT_THAT(std::string(chat.status().message()), HasSubstr(refused.named)) << refused.source;
    EXPECT_THAT(std::string(chat.status().message()), HasSubstr("line ")) << refused.source;
  }
}

TEST(ChatTemplateTest, NamesTheLineOfAnErrorInRendering) {
  const Refused cases[] = {
      {"\n\n{{ raise_exception('no ' ~ messages[0].role) }}", "line 3: no user"},
      {"\n{{ missing.x }}", "line 2: 'missing' is undefined"},
      {"{% if true %}\n{{ 'a' - 1 }}{% endif %}", "line 2: '-' does not work on string and int"},
      {"{{ messages | select('frob') | list }}", "'frob'"},
      {"{{ messages | map('frob') | list }}", "'frob'"},
      {"{{ 9223372036854775807 + 1 }}", "too large"},
      {"{% set ns = namespace() %}{% set ns.x = ns %}", "namespace"},
      {"{% set x = 1 %}{% set x.y = 1 %}", "not a namespace"},
      {"{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "too many"},
      {"{{ {1: 2} }}", "key"},
  };
  for (const Refused& refused : cases) {
    const auto output = Output(refused.source, {{"user", "x"}});
    EXPECT_EQ(output.status().code(), absl::StatusCode::kInvalidArgument) << refused.source;
    EXPECT_THAT(std::string(output.status().message()), HasSubstr(refused.named));
  }
}

TEST(ChatTemplateTest, TheDateIsToday) {
  const auto output = Output("{{ strftime_now('%Y-%m-%d') }}", {});
  ASSERT_TRUE(output.ok());
  EXPECT_THAT(*output, testing::MatchesRegex("20[0-9][0-9]-[01][0-9]-[0-3][0-9]"));
}

}  // namespace
}  // namespace skipserve
