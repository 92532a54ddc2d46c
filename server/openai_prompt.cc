// What a call asks about: the messages of a chat, or the prompts of a completion in their four
// shapes.
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/openai_fields.h"
#include "server/openai_request.h"
#include "server/request_limits.h"

namespace skipserve {
namespace {

constexpr size_t kMaxMessages = 10000;

// A string, or a list of text parts, which are put on lines of their own. Null is an empty message.
std::string ReadContent(FieldReader& fields, const std::string& path, const nlohmann::json& value) {
  if (value.is_null()) return "";
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) {
    fields.Fail(path, "must be a string or a list of parts, got " + JsonKind(value));
    return "";
  }
  std::string text;
  for (size_t i = 0; i < value.size(); ++i) {
    const nlohmann::json& part = value[i];
    const std::string part_path = absl::StrCat(path, "[", i, "]");
    const auto type = part.find("type");
    if (!part.is_object() || type == part.end() || *type != "text") {
      fields.Fail(part_path, "must be a part of type 'text'; this model reads nothing else");
      return "";
    }
    const auto part_text = part.find("text");
    if (part_text == part.end() || !part_text->is_string()) {
      fields.Fail(part_path + ".text", "must be a string");
      return "";
    }
    if (i > 0) text += "\n";
    text += part_text->get_ref<const std::string&>();
  }
  return text;
}

void ReadIds(FieldReader& fields, const std::string& path, const nlohmann::json& list,
             int64_t vocab_size, OpenAiPrompt* out) {
  out->is_ids = true;
  if (list.empty()) return fields.Fail(path, "must not be empty");
  out->ids.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const std::optional<int64_t> id = AsInt(list[i]);
    if (!id || *id < 0 || *id >= vocab_size) {
      return fields.Fail(absl::StrCat(path, "[", i, "]"),
                         absl::StrCat("must be a token id below ", vocab_size));
    }
    out->ids.push_back(static_cast<int32_t>(*id));
  }
}

}  // namespace

void ReadMessages(FieldReader& fields, std::vector<ChatMessage>* out) {
  const nlohmann::json* messages = fields.Find("messages");
  if (messages == nullptr) return fields.Fail("messages", "is missing");
  if (!messages->is_array()) {
    return fields.Fail("messages", "must be a list, got " + JsonKind(*messages));
  }
  if (messages->empty()) return fields.Fail("messages", "must not be empty");
  if (messages->size() > kMaxMessages) {
    return fields.Fail("messages", absl::StrCat("holds more than ", kMaxMessages, " messages"));
  }
  for (size_t i = 0; i < messages->size() && fields.ok(); ++i) {
    const nlohmann::json& message = (*messages)[i];
    const std::string path = absl::StrCat("messages[", i, "]");
    if (!message.is_object()) {
      return fields.Fail(path, "must be an object, got " + JsonKind(message));
    }
    const auto role = message.find("role");
    if (role == message.end() || !role->is_string()) {
      return fields.Fail(path + ".role", "must be a string");
    }
    std::string name = *role;
    if (name == "developer") name = "system";  // the same under OpenAI's newer name
    if (name != "system" && name != "user" && name != "assistant" && name != "tool") {
      return fields.Fail(path + ".role", "must be system, developer, user, assistant or tool");
    }
    const auto content = message.find("content");
    const bool has_content = content != message.end() && !content->is_null();
    if (!has_content && name != "assistant") {
      return fields.Fail(path + ".content", "is missing");
    }
    std::string text = has_content ? ReadContent(fields, path + ".content", *content) : "";
    out->push_back({std::move(name), std::move(text)});
  }
}

void ReadPrompts(FieldReader& fields, const ModelInfo& model, std::vector<OpenAiPrompt>* out) {
  const nlohmann::json* prompt = fields.Find("prompt");
  if (prompt == nullptr) return fields.Fail("prompt", "is missing");
  const int64_t vocab_size = model.config.vocab_size;
  if (prompt->is_string()) {
    out->push_back({prompt->get<std::string>(), {}, false});
    return;
  }
  if (!prompt->is_array()) {
    return fields.Fail("prompt",
                       "must be a string, a list of strings, a list of token ids, or a "
                       "list of those, got " +
                           JsonKind(*prompt));
  }
  if (prompt->empty()) return fields.Fail("prompt", "must not be empty");
  if (prompt->front().is_number()) {
    ReadIds(fields, "prompt", *prompt, vocab_size, &out->emplace_back());
    return;
  }
  if (prompt->size() > kMaxChoices) {
    return fields.Fail("prompt", absl::StrCat("holds more than ", kMaxChoices, " prompts"));
  }
  for (size_t i = 0; i < prompt->size() && fields.ok(); ++i) {
    const nlohmann::json& item = (*prompt)[i];
    const std::string path = absl::StrCat("prompt[", i, "]");
    if (item.type() != prompt->front().type()) {
      return fields.Fail(path, "is of another kind than the prompts before it");
    }
    if (item.is_string()) {
      out->push_back({item.get<std::string>(), {}, false});
    } else if (item.is_array()) {
      ReadIds(fields, path, item, vocab_size, &out->emplace_back());
    } else {
      return fields.Fail(path, "must be a string or a list of token ids, got " + JsonKind(item));
    }
  }
}

}  // namespace skipserve
