// A model's facts, for people and as JSON.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "server/inspect_facts.h"
#include "server/levels_text.h"
#include "server/openai_models.h"
#include "server/terminal.h"

namespace skipserve {
namespace {

std::string ParametersText(int64_t count) {
  return count >= 1000000000 ? absl::StrFormat("%.2f billion", count * 1e-9)
                             : absl::StrFormat("%.1f million", count * 1e-6);
}

std::string RopeText(const ModelConfig& c) {
  const std::string theta = absl::StrFormat("RoPE theta %g", c.rope_theta);
  switch (c.rope_scaling.kind) {
    case RopeScaling::Kind::kNone:
      return theta;
    case RopeScaling::Kind::kLinear:
      return absl::StrFormat("%s, linear by %g", theta, c.rope_scaling.factor);
    case RopeScaling::Kind::kLlama3:
      return absl::StrFormat("%s, llama3 by %g from %d", theta, c.rope_scaling.factor,
                             c.rope_scaling.original_max_positions);
  }
  return theta;
}

}  // namespace

std::string FactsText(const ModelFacts& f) {
  const ModelConfig& c = f.config;
  std::string out;
  const auto line = [&](const char* label, const auto&... parts) {
    absl::StrAppendFormat(&out, "%-16s%s\n", label, Printable(absl::StrCat(parts...)));
  };
  line("model", c.name.empty() ? "(no name)" : c.name);
  line("file", f.path, ", ", FormatCount(f.file_bytes >> 20), " MB");
  line("architecture", c.architecture, c.tied_embeddings ? ", tied embeddings" : "",
       c.qkv_bias ? ", QKV bias" : "");
  line("shape", c.layers, " layers, width ", FormatCount(c.width), ", ", c.heads, " heads over ",
       c.kv_heads, " of KV, ", c.head_dim, " each; FFN ", FormatCount(c.ffn_width));
  line("parameters", ParametersText(f.parameters));
  line("context", FormatCount(c.max_positions), " tokens; ", RopeText(c));
  line("computed in", f.dtype, ", ", absl::StrFormat("%.1f", double(f.kv_bytes_per_token) / 1024),
       " KB of KV a token in ", f.kv_dtype);
  line("tokenizer", FormatCount(f.vocabulary), " tokens, ", f.special_tokens, " special; ",
       f.bos.empty() ? "no BOS"
                     : absl::StrCat("BOS ", f.bos, f.add_bos ? " is added" : " is not added"),
       "; ends at ", f.eos.empty() ? "nothing" : absl::StrJoin(f.eos, ", "));
  line("chat template", f.chat_template);
  line("fingerprint", f.fingerprint);
  line("skip file", f.skip_file, ": ", f.skip_file_state,
       f.skip_file_state == "none" ? " (skipserve calibrate makes it)" : "",
       f.proxy.rank > 0 ? absl::StrCat(", FFN proxies ", f.proxy.d_low, " x ", f.proxy.rank) : "");
  line("default skip", f.default_level,
       f.default_level == "off" ? ""
                                : absl::StrCat(" from ", FormatCount(f.min_prompt), " tokens on"));
  return absl::StrCat(out, "\n", LevelsText(f.levels, f.default_level));
}

OrderedJson FactsJson(const ModelFacts& f) {
  const ModelConfig& c = f.config;
  OrderedJson levels = OrderedJson::array();
  for (const SkipLevelInfo& level : f.levels) levels.push_back(LevelJson(level));
  return {{"path", f.path},
          {"name", c.name},
          {"architecture", c.architecture},
          {"layers", c.layers},
          {"width", c.width},
          {"ffn_width", c.ffn_width},
          {"heads", c.heads},
          {"kv_heads", c.kv_heads},
          {"head_dim", c.head_dim},
          {"tied_embeddings", c.tied_embeddings},
          {"qkv_bias", c.qkv_bias},
          {"rope_theta", c.rope_theta},
          {"parameters", f.parameters},
          {"file_bytes", f.file_bytes},
          {"context", c.max_positions},
          {"dtype", f.dtype},
          {"kv_dtype", f.kv_dtype},
          {"kv_bytes_per_token", f.kv_bytes_per_token},
          {"tokenizer",
           {{"vocabulary", f.vocabulary},
            {"special_tokens", f.special_tokens},
            {"add_bos", f.add_bos},
            {"bos", f.bos},
            {"eos", f.eos}}},
          {"chat_template", f.chat_template},
          {"fingerprint", f.fingerprint},
          {"skip",
           {{"file", f.skip_file},
            {"file_state", f.skip_file_state},
            {"proxy", {{"d_low", f.proxy.d_low}, {"rank", f.proxy.rank}}},
            {"default_level", f.default_level},
            {"min_prompt", f.min_prompt},
            {"levels", std::move(levels)}}}};
}

}  // namespace skipserve
