# Text: the tokenizer and the chat template. Oniguruma because Hugging Face's tokenizers compile their patterns with it.
add_room(engine_text
  SRCS
    ${PROJECT_SOURCE_DIR}/engine/pretokenizer.cc
  DEPS absl::status absl::statusor absl::strings absl::span)
