# Skip settings, the skip file and the proxy's maths, and the sampler: host code without tensors of
# a backend. Eigen because it is header-only and its eigen-decompositions are the field's own.
find_package(Eigen3 3.4 REQUIRED NO_MODULE)

add_room(engine_skip
  SRCS
    ${CMAKE_CURRENT_LIST_DIR}/sampler.cc
    ${CMAKE_CURRENT_LIST_DIR}/skip/level_figures.cc
    ${CMAKE_CURRENT_LIST_DIR}/skip/policy.cc
    ${CMAKE_CURRENT_LIST_DIR}/skip/policy_fingerprint.cc
    ${CMAKE_CURRENT_LIST_DIR}/skip/proxy.cc
    ${CMAKE_CURRENT_LIST_DIR}/skip/ready_settings.cc
    ${CMAKE_CURRENT_LIST_DIR}/skip/skip_file.cc
    ${CMAKE_CURRENT_LIST_DIR}/skip/skip_settings.cc
  DEPS engine_model kernels absl::cleanup absl::flat_hash_map absl::span absl::status absl::statusor absl::strings
       nlohmann_json::nlohmann_json Eigen3::Eigen)
