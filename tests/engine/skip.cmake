# Skip settings, the skip file, the proxy's maths, and the sampler.
foreach(test sampler skip_policy skip_file proxy)
  add_room_test(${test}_test SRCS ${CMAKE_CURRENT_LIST_DIR}/${test}_test.cc DEPS engine_skip)
endforeach()
