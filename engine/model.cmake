# Model files: GGUF, and Hugging Face folders. OpenSSL for SHA-256.
find_package(OpenSSL REQUIRED)
set(MODEL_DIR ${CMAKE_CURRENT_LIST_DIR})
add_room(engine_model
  SRCS
    ${MODEL_DIR}/dequant.cc
    ${MODEL_DIR}/gguf.cc
    ${MODEL_DIR}/gguf_config.cc
    ${MODEL_DIR}/gguf_metadata.cc
    ${MODEL_DIR}/gguf_model.cc
    ${MODEL_DIR}/gguf_tokenizer.cc
    ${MODEL_DIR}/hf_config.cc
    ${MODEL_DIR}/hf_folder.cc
    ${MODEL_DIR}/hf_json.cc
    ${MODEL_DIR}/hf_pretokenizer.cc
    ${MODEL_DIR}/hf_tokenizer.cc
    ${MODEL_DIR}/mapped_file.cc
    ${MODEL_DIR}/model_config.cc
    ${MODEL_DIR}/model_file.cc
    ${MODEL_DIR}/model_file_checks.cc
    ${MODEL_DIR}/model_file_tensor.cc
    ${MODEL_DIR}/safetensors.cc
    ${MODEL_DIR}/sha256.cc
  DEPS engine_text absl::flat_hash_map absl::span absl::status absl::statusor absl::strings
       nlohmann_json::nlohmann_json OpenSSL::Crypto)
# The block loops must become vector code whatever the build type, and must not fuse a product with
# a sum: files are read to the same bits on every machine. Nobody reads floating-point exceptions,
# and while they count g++ leaves the half-precision loop scalar (2.1 GB/s instead of 8).
set_source_files_properties(${MODEL_DIR}/dequant.cc PROPERTIES
  COMPILE_OPTIONS "-O3;-ffp-contract=off;-fno-trapping-math")
