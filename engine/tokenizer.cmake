# Text: the tokenizer and the chat template. Oniguruma runs the pre-tokenizer patterns because Hugging Face's tokenizers
# run them with it, so the patterns mean the same; PCRE2 is faster but its \s, \h and character classes differ.
pkg_check_modules(ONIGURUMA REQUIRED IMPORTED_TARGET oniguruma)
pkg_check_modules(ICU_UC REQUIRED IMPORTED_TARGET icu-uc)
add_room(engine_text
  SRCS
    ${PROJECT_SOURCE_DIR}/engine/bpe.cc
    ${PROJECT_SOURCE_DIR}/engine/bpe_alphabet.cc
    ${PROJECT_SOURCE_DIR}/engine/chat_template.cc
    ${PROJECT_SOURCE_DIR}/engine/jinja_filters.cc
    ${PROJECT_SOURCE_DIR}/engine/jinja_functions.cc
    ${PROJECT_SOURCE_DIR}/engine/jinja_interp.cc
    ${PROJECT_SOURCE_DIR}/engine/jinja_json.cc
    ${PROJECT_SOURCE_DIR}/engine/jinja_lexer.cc
    ${PROJECT_SOURCE_DIR}/engine/jinja_ops.cc
    ${PROJECT_SOURCE_DIR}/engine/jinja_parser.cc
    ${PROJECT_SOURCE_DIR}/engine/jinja_parser_expr.cc
    ${PROJECT_SOURCE_DIR}/engine/jinja_parser_postfix.cc
    ${PROJECT_SOURCE_DIR}/engine/jinja_strings.cc
    ${PROJECT_SOURCE_DIR}/engine/jinja_tests.cc
    ${PROJECT_SOURCE_DIR}/engine/jinja_text.cc
    ${PROJECT_SOURCE_DIR}/engine/jinja_value.cc
    ${PROJECT_SOURCE_DIR}/engine/pretokenizer.cc
    ${PROJECT_SOURCE_DIR}/engine/pretokenizer_split.cc
    ${PROJECT_SOURCE_DIR}/engine/tokenizer.cc
    ${PROJECT_SOURCE_DIR}/engine/tokenizer_added.cc
    ${PROJECT_SOURCE_DIR}/engine/utf8.cc
    ${PROJECT_SOURCE_DIR}/engine/utf8_unicode.cc
  DEPS
    absl::flat_hash_map absl::span absl::status absl::statusor absl::strings absl::time
    PkgConfig::ONIGURUMA PkgConfig::ICU_UC)
# Debian's libonig also exports regcomp() and its kin and would take them over for the whole process. libc named before
# every other library keeps them its own; tokenizer_test checks that.
target_link_options(engine_text INTERFACE "LINKER:--push-state,--no-as-needed,-lc,--pop-state")
