#include "server/openai_models.h"

#include <utility>

#include "engine/skip/policy.h"

namespace skipserve {

OrderedJson LevelJson(const SkipLevelInfo& level) {
  OrderedJson bounds = OrderedJson::array();
  for (const LevelBound& bound : level.bounds) {
    bounds.push_back({{"prompt_tokens", bound.prompt_tokens},
                      {"flop_bound", bound.flop_bound},
                      {"kv_share", bound.kv_share}});
  }
  OrderedJson json = {{"name", level.name},
                      {"policy", PolicyToJson(level.policy)},
                      {"policy_fingerprint", level.policy_fingerprint},
                      {"bounds", std::move(bounds)}};
  if (level.figures.measured()) json["figures"] = FiguresToJson(level.figures);
  return json;
}

OrderedJson ModelJson(const std::string& name, int64_t created, const ModelInfo& info,
                      bool has_chat_template) {
  OrderedJson levels = OrderedJson::array();
  for (const SkipLevelInfo& level : info.skip_levels) levels.push_back(LevelJson(level));
  return {{"id", name},
          {"object", "model"},
          {"created", created},
          {"owned_by", "skipserve"},
          {"max_model_len", info.max_context},
          {"default_max_tokens", info.default_max_tokens},
          {"architecture", info.config.architecture},
          {"layers", info.config.layers},
          {"vocab_size", info.config.vocab_size},
          {"has_chat_template", has_chat_template},
          {"dtype", info.dtype},
          {"kv_dtype", info.kv_dtype},
          {"backend", info.backend},
          {"fingerprint", info.fingerprint},
          {"skip",
           {{"default_level", info.default_skip_level},
            {"min_prompt_tokens", info.skip_min_prompt},
            {"levels", std::move(levels)}}}};
}

OrderedJson ModelListJson(const std::string& name, int64_t created, const ModelInfo& info,
                          bool has_chat_template) {
  return {{"object", "list"},
          {"data", OrderedJson::array({ModelJson(name, created, info, has_chat_template)})}};
}

}  // namespace skipserve
