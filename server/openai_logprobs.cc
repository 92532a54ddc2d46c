#include "server/openai_logprobs.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace skipserve {
namespace {

// JSON has no infinity; OpenAI writes this for a token that cannot come.
constexpr double kNoChance = -9999.0;

double Finite(float logprob) { return std::isfinite(logprob) ? logprob : kNoChance; }

bool IsUtf8(absl::string_view bytes) {
  // The library's own check, so that what passes here is written as it is.
  try {
    (void)nlohmann::json(std::string(bytes)).dump();
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

// The token's text; a part of a character is written as OpenAI does, "bytes:\xf0\x9f", so that two
// of them never look the same.
std::string TokenText(absl::string_view bytes) {
  if (IsUtf8(bytes)) return std::string(bytes);
  std::string text = "bytes:";
  for (const unsigned char c : bytes) absl::StrAppendFormat(&text, "\\x%02x", c);
  return text;
}

OrderedJson ByteList(absl::string_view bytes) {
  OrderedJson list = OrderedJson::array();
  for (const unsigned char c : bytes) list.push_back(static_cast<int>(c));
  return list;
}

OrderedJson ChatToken(int32_t id, float logprob, const Tokenizer& tokenizer) {
  const absl::string_view bytes = tokenizer.TokenBytes(id);
  return {{"token", TokenText(bytes)}, {"logprob", Finite(logprob)}, {"bytes", ByteList(bytes)}};
}

int64_t Characters(absl::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

}  // namespace

OrderedJson ChatLogprobs(absl::Span<const TokenEvent> tokens, const Tokenizer& tokenizer) {
  OrderedJson content = OrderedJson::array();
  for (const TokenEvent& event : tokens) {
    OrderedJson entry = ChatToken(event.id, event.logprob.value_or(-INFINITY), tokenizer);
    OrderedJson top = OrderedJson::array();
    for (const TokenLogprob& candidate : event.top) {
      top.push_back(ChatToken(candidate.id, candidate.logprob, tokenizer));
    }
    entry["top_logprobs"] = std::move(top);
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

OrderedJson CompletionLogprobs(absl::Span<const TokenEvent> tokens, const Tokenizer& tokenizer,
                               int64_t* offset) {
  OrderedJson texts = OrderedJson::array();
  OrderedJson logprobs = OrderedJson::array();
  OrderedJson tops = OrderedJson::array();
  OrderedJson offsets = OrderedJson::array();
  for (const TokenEvent& event : tokens) {
    const absl::string_view bytes = tokenizer.TokenBytes(event.id);
    texts.push_back(TokenText(bytes));
    logprobs.push_back(Finite(event.logprob.value_or(-INFINITY)));
    OrderedJson top = OrderedJson::object();
    for (const TokenLogprob& candidate : event.top) {
      top[TokenText(tokenizer.TokenBytes(candidate.id))] = Finite(candidate.logprob);
    }
    tops.push_back(std::move(top));
    offsets.push_back(*offset);
    *offset += Characters(bytes);
  }
  return {{"tokens", std::move(texts)},
          {"token_logprobs", std::move(logprobs)},
          {"top_logprobs", std::move(tops)},
          {"text_offset", std::move(offsets)}};
}

}  // namespace skipserve
