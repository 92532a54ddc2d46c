#include "engine/chat_template.h"

#include <utility>

#include "absl/time/clock.h"
#include "engine/jinja_interp.h"
#include "engine/jinja_parser.h"

namespace skipserve {
namespace {

using jinja::Text;
using jinja::Value;

class JinjaChatTemplate final : public ChatTemplate {
 public:
  JinjaChatTemplate(jinja::Block program, size_t source_size, std::string bos_token,
                    std::string eos_token)
      : program_(std::move(program)),
        source_size_(source_size),
        bos_token_(std::move(bos_token)),
        eos_token_(std::move(eos_token)) {}

  absl::StatusOr<std::vector<TextPiece>> Render(absl::Span<const ChatMessage> messages,
                                                bool add_generation_prompt) const override {
    size_t input = source_size_ * (messages.size() + 1) + bos_token_.size() + eos_token_.size();
    std::vector<Value> list;
    for (const ChatMessage& message : messages) {
      jinja::Dict dict;
      dict.Set(Value::Trusted("role"), Value(Text(message.role, false)));
      dict.Set(Value::Trusted("content"), Value(Text(message.content, false)));
      list.push_back(Value(std::move(dict)));
      input += message.role.size() + message.content.size();
    }
    // What transformers gives a template that is asked for neither tools nor documents is none, not
    // undefined.
    std::vector<std::pair<std::string, Value>> variables;
    variables.emplace_back("messages", Value::FromList(std::move(list)));
    variables.emplace_back("add_generation_prompt", Value(add_generation_prompt));
    variables.emplace_back("bos_token", Value::Trusted(bos_token_));
    variables.emplace_back("eos_token", Value::Trusted(eos_token_));
    variables.emplace_back("tools", Value(jinja::None{}));
    variables.emplace_back("documents", Value(jinja::None{}));

    // Real templates stay a hundred times below both: they copy a message a few times and write it
    // once.
    const jinja::Limits limits{(size_t{16} << 20) + 64 * input, (size_t{64} << 10) + 8 * input};
    absl::StatusOr<Text> text =
        jinja::Interpret(program_, std::move(variables), limits, absl::Now());
    if (!text.ok()) return text.status();
    return text->Pieces();
  }

 private:
  const jinja::Block program_;
  const size_t source_size_;
  const std::string bos_token_;
  const std::string eos_token_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Parse(const std::string& source,
                                                                  const std::string& bos_token,
                                                                  const std::string& eos_token) {
  absl::StatusOr<jinja::Block> program = jinja::ParseTemplate(source);
  if (!program.ok()) return program.status();
  return std::make_unique<JinjaChatTemplate>(*std::move(program), source.size(), bos_token,
                                             eos_token);
}

}  // namespace skipserve
