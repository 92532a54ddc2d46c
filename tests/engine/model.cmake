# Tests of the model file loaders.
set(MODEL_TESTS ${CMAKE_CURRENT_LIST_DIR})
foreach(TEST dequant_test gguf_test hf_folder_test model_config_test model_fingerprint_test
             model_formats_test model_tokenizer_test)
  add_room_test(${TEST} SRCS ${MODEL_TESTS}/${TEST}.cc DEPS engine_model)
endforeach()
