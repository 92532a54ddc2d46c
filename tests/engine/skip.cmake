# Skip settings, the skip file, the proxy's maths, and the sampler.
foreach(test sampler skip_policy skip_policy_fingerprint skip_level_figures skip_file proxy)
  add_room_test(${test}_test SRCS ${CMAKE_CURRENT_LIST_DIR}/${test}_test.cc DEPS engine_skip)
endforeach()
