add_room_test(tokenizer_test
  SRCS ${PROJECT_SOURCE_DIR}/tests/engine/tokenizer_test.cc
  DEPS engine_text engine_model nlohmann_json::nlohmann_json)
add_room_test(tokenizer_parts_test
  SRCS ${PROJECT_SOURCE_DIR}/tests/engine/tokenizer_parts_test.cc
  DEPS engine_text)
add_room_test(tokenizer_property_test
  SRCS ${PROJECT_SOURCE_DIR}/tests/engine/tokenizer_property_test.cc
  DEPS engine_text nlohmann_json::nlohmann_json)
add_room_test(chat_template_test
  SRCS ${PROJECT_SOURCE_DIR}/tests/engine/chat_template_test.cc
  DEPS engine_text engine_model nlohmann_json::nlohmann_json)
add_room_test(chat_template_safety_test
  SRCS ${PROJECT_SOURCE_DIR}/tests/engine/chat_template_safety_test.cc
  DEPS engine_text engine_model nlohmann_json::nlohmann_json)
