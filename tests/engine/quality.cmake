# The quality tasks: what they read, the prompts they make, the answers they score.
foreach(test quality_documents quality_score quality_tasks)
  add_room_test(${test}_test
    SRCS ${CMAKE_CURRENT_LIST_DIR}/${test}_test.cc
    DEPS engine_quality engine_model nlohmann_json::nlohmann_json)
endforeach()
