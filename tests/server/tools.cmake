# The command-line tools: their texts and the page, then all of them on the tiny model.
set(TOOLS_TESTS ${CMAKE_CURRENT_LIST_DIR})
add_room_test(tools_text_test SRCS ${TOOLS_TESTS}/tools_text_test.cc DEPS server_tools)
add_room_test(tools_page_test SRCS ${TOOLS_TESTS}/tools_page_test.cc DEPS server_tools fake_engine)
foreach(test tools_generate_test tools_calibrate_test tools_inspect_test tools_bench_test tools_eval_test)
  add_room_test(${test} SRCS ${TOOLS_TESTS}/${test}.cc DEPS server_tools)
endforeach()
add_room_test(trace_test SRCS ${TOOLS_TESTS}/trace_test.cc DEPS replay server_core engine)
