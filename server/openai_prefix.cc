#include "server/openai_prefix.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/openai_fields.h"
#include "server/openai_json.h"
#include "server/openai_request.h"
#include "server/request_limits.h"

namespace skipserve {
namespace {

void ReadName(FieldReader& fields, std::string* out) {
  if (fields.Find("name") == nullptr) return fields.Fail("name", "is missing");
  fields.String("name", out);
  if (out->empty() || out->size() > kMaxPrefixName) {
    fields.Fail("name", absl::StrCat("must have 1 to ", kMaxPrefixName, " bytes"));
  }
}

void ReadWhatToRead(FieldReader& fields, const ModelInfo& model, OpenAiPrefix* out) {
  int given = 0;
  for (const char* name : {"prompt", "prompt_token_ids", "messages"}) {
    if (fields.Find(name) == nullptr) continue;
    out->field = name;
    ++given;
  }
  if (given != 1) {
    return fields.Fail(BadParam(
        "prompt", "One of 'prompt', 'prompt_token_ids' and 'messages' is needed, and only one."));
  }
  fields.String("prompt", &out->text);
  fields.Ints("prompt_token_ids", 0, model.config.vocab_size - 1, JsonLimits().max_values,
              &out->request.tokens);
  if (out->field == "messages") ReadMessages(fields, &out->messages);
}

}  // namespace

std::optional<ApiError> ParsePrefix(const nlohmann::json& body, const ModelInfo& model,
                                    OpenAiPrefix* out) {
  FieldReader fields(body);
  fields.String("model", &out->model);
  ReadName(fields, &out->request.name);
  ReadWhatToRead(fields, model, out);
  ReadCacheSalt(fields, &out->request.cache_salt);
  GenerateRequest questions;
  ReadSkip(fields, model, &questions);
  out->request.skip = std::move(questions.skip);
  return fields.error();
}

OrderedJson PrefixJson(const PrefixInfo& info) {
  return {{"object", "prefix"},
          {"name", info.name},
          {"tokens", info.tokens},
          {"kv_blocks", info.kv_blocks},
          {"trunk_layers", info.trunk_layers},
          {"skip_level", info.skip_level},
          {"created", absl::ToUnixSeconds(info.read_at)}};
}

OrderedJson PrefixListJson(const std::vector<PrefixInfo>& infos) {
  OrderedJson data = OrderedJson::array();
  for (const PrefixInfo& info : infos) data.push_back(PrefixJson(info));
  return {{"object", "list"}, {"data", std::move(data)}};
}

}  // namespace skipserve
