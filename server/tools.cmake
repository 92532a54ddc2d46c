# The command-line tools: generate, calibrate, inspect, bench and eval.
add_room(server_tools
  SRCS
    ${CMAKE_CURRENT_LIST_DIR}/bench.cc
    ${CMAKE_CURRENT_LIST_DIR}/bench_report.cc
    ${CMAKE_CURRENT_LIST_DIR}/calibrate.cc
    ${CMAKE_CURRENT_LIST_DIR}/eval.cc
    ${CMAKE_CURRENT_LIST_DIR}/eval_report.cc
    ${CMAKE_CURRENT_LIST_DIR}/generate.cc
    ${CMAKE_CURRENT_LIST_DIR}/inspect.cc
    ${CMAKE_CURRENT_LIST_DIR}/inspect_facts.cc
    ${CMAKE_CURRENT_LIST_DIR}/inspect_facts_text.cc
    ${CMAKE_CURRENT_LIST_DIR}/inspect_page.cc
    ${CMAKE_CURRENT_LIST_DIR}/interrupt.cc
    ${CMAKE_CURRENT_LIST_DIR}/levels_text.cc
    ${CMAKE_CURRENT_LIST_DIR}/report_text.cc
    ${CMAKE_CURRENT_LIST_DIR}/run_request.cc
    ${CMAKE_CURRENT_LIST_DIR}/terminal.cc
    ${CMAKE_CURRENT_LIST_DIR}/tool_input.cc
  DEPS server_http server_core server_pages engine engine_skip nlohmann_json::nlohmann_json absl::status
       absl::statusor absl::strings absl::str_format absl::synchronization absl::time
       Threads::Threads)
# g++ 12 sees overlaps in "a" + string that are not there (GCC bug 105329).
target_compile_options(server_tools PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
