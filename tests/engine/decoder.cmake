# The decoder, the skipping phase and the engine, on the tiny models and (goldens) on the real one.
add_library(run_model STATIC ${PROJECT_SOURCE_DIR}/tests/support/run_model.cc)
target_link_libraries(run_model PUBLIC engine)
foreach(test canary decoder evaluator measurer prompt_reader search skip_golden skip_layers skip_probes smollm2)
  add_room_test(${test}_test SRCS ${CMAKE_CURRENT_LIST_DIR}/${test}_test.cc DEPS run_model)
endforeach()
foreach(test divergence engine engine_failure equal_flops guard preemption prefix_cache skip_levels skip_plan summary)
  add_room_test(${test}_test SRCS ${CMAKE_CURRENT_LIST_DIR}/${test}_test.cc DEPS engine)
endforeach()
