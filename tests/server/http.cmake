# The HTTP front end: conversion by itself, and the server over real sockets.
find_package(OpenSSL REQUIRED)
add_room(http_test_client SRCS ${CMAKE_CURRENT_LIST_DIR}/http_client.cc
  DEPS absl::strings nlohmann_json::nlohmann_json)
add_room_test(openai_test
  SRCS ${CMAKE_CURRENT_LIST_DIR}/openai_json_test.cc
       ${CMAKE_CURRENT_LIST_DIR}/openai_request_test.cc
       ${CMAKE_CURRENT_LIST_DIR}/openai_response_test.cc
       ${CMAKE_CURRENT_LIST_DIR}/small_memory.cc
  DEPS server_http fake_engine)
add_room_test(canary_http_test SRCS ${CMAKE_CURRENT_LIST_DIR}/canary_http_test.cc
  DEPS server_http engine http_test_client)
add_room_test(http_test
  SRCS ${CMAKE_CURRENT_LIST_DIR}/http_clients_test.cc
       ${CMAKE_CURRENT_LIST_DIR}/http_completions_test.cc
       ${CMAKE_CURRENT_LIST_DIR}/http_keys_test.cc
       ${CMAKE_CURRENT_LIST_DIR}/http_limits_test.cc
       ${CMAKE_CURRENT_LIST_DIR}/http_page_test.cc
       ${CMAKE_CURRENT_LIST_DIR}/http_prefixes_test.cc
       ${CMAKE_CURRENT_LIST_DIR}/http_routes_test.cc
       ${CMAKE_CURRENT_LIST_DIR}/http_stop_test.cc
  DEPS server_http fake_engine http_test_client OpenSSL::Crypto)
