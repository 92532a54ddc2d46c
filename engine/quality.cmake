# Quality: long prompts with known answers, for measuring what skipping costs. No model runs here.
add_room(engine_quality
  SRCS
    ${CMAKE_CURRENT_LIST_DIR}/quality/document_pool.cc
    ${CMAKE_CURRENT_LIST_DIR}/quality/document_tasks.cc
    ${CMAKE_CURRENT_LIST_DIR}/quality/documents.cc
    ${CMAKE_CURRENT_LIST_DIR}/quality/fact_tasks.cc
    ${CMAKE_CURRENT_LIST_DIR}/quality/fact_templates.cc
    ${CMAKE_CURRENT_LIST_DIR}/quality/fact_words.cc
    ${CMAKE_CURRENT_LIST_DIR}/quality/facts.cc
    ${CMAKE_CURRENT_LIST_DIR}/quality/needles.cc
    ${CMAKE_CURRENT_LIST_DIR}/quality/planted.cc
    ${CMAKE_CURRENT_LIST_DIR}/quality/prompt_fit.cc
    ${CMAKE_CURRENT_LIST_DIR}/quality/ruler_words.cc
    ${CMAKE_CURRENT_LIST_DIR}/quality/score.cc
    ${CMAKE_CURRENT_LIST_DIR}/quality/tasks.cc
    ${CMAKE_CURRENT_LIST_DIR}/quality/variables.cc
    ${CMAKE_CURRENT_LIST_DIR}/quality/word_counts.cc
  DEPS engine_text absl::flat_hash_map absl::flat_hash_set absl::span absl::status absl::statusor absl::strings)
