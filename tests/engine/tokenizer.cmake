# The tokenizer and the chat template.
foreach(test tokenizer tokenizer_parts tokenizer_property tokenizer_speed chat_template chat_template_safety)
  add_room_test(${test}_test
    SRCS ${CMAKE_CURRENT_LIST_DIR}/${test}_test.cc
    DEPS engine_text engine_model nlohmann_json::nlohmann_json)
endforeach()
# A generator expression would stumble over the comma in "address,undefined".
if(SKIPSERVE_SANITIZE)
  target_compile_definitions(tokenizer_speed_test PRIVATE SKIPSERVE_SANITIZED=true)
else()
  target_compile_definitions(tokenizer_speed_test PRIVATE SKIPSERVE_SANITIZED=false)
endif()
