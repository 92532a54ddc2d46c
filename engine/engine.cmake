add_room(engine
  SRCS answer.cc check_request.cc decoder.cc decoder_weights.cc describe_levels.cc executor.cc llm_engine.cc llm_engine_canary.cc
       llm_engine_prefix.cc machine.cc open.cc open_model.cc prefix_keys.cc rope.cc stop_matcher.cc
       quality/canary.cc quality/divergence.cc quality/equal_flops.cc quality/evaluator.cc quality/find_levels.cc
       quality/lab.cc quality/measure_levels.cc quality/measurer.cc quality/search.cc
       quality/prompt_reader.cc quality/summary.cc
       skip/calibrate.cc skip/guard.cc skip/layer_work.cc skip/levels.cc skip/ltp.cc skip/msdp.cc skip/pap.cc skip/plan.cc skip/skipping_layers.cc
  DEPS engine_text engine_model engine_quality engine_skip scheduler kernels spdlog::spdlog absl::status absl::statusor
       absl::str_format absl::strings absl::synchronization absl::time Threads::Threads)
