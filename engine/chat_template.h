// Runs a model's chat template: the subset of Jinja that real templates use. Immutable and
// thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/tokenizer.h"

namespace skipserve {

struct ChatMessage {
  std::string role;
  std::string content;
};

class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;

  // INVALID_ARGUMENT naming the line and the construct that is not known.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Parse(const std::string& source,
                                                             const std::string& bos_token,
                                                             const std::string& eos_token);

  // Text from the template itself is trusted; whatever came from a message is not, through every
  // filter and concatenation. INVALID_ARGUMENT where the template raises an exception or meets a
  // wrong type. The work and the output are bounded, so no template and no message can hang it.
  virtual absl::StatusOr<std::vector<TextPiece>> Render(absl::Span<const ChatMessage> messages,
                                                        bool add_generation_prompt) const = 0;
};

}  // namespace skipserve
