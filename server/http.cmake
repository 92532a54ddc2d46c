# The HTTP front end. Boost.Asio and Beast because they are kept up, header-only, and have coroutines with time limits on
# every operation; cpp-httplib takes a thread a connection, and a stream holds its connection for minutes.
find_package(Boost 1.81 REQUIRED)
add_room(server_http
  SRCS
    ${CMAKE_CURRENT_LIST_DIR}/http_completions.cc
    ${CMAKE_CURRENT_LIST_DIR}/http_connection.cc
    ${CMAKE_CURRENT_LIST_DIR}/http_context.cc
    ${CMAKE_CURRENT_LIST_DIR}/http_events.cc
    ${CMAKE_CURRENT_LIST_DIR}/http_exchange.cc
    ${CMAKE_CURRENT_LIST_DIR}/http_info.cc
    ${CMAKE_CURRENT_LIST_DIR}/http_message.cc
    ${CMAKE_CURRENT_LIST_DIR}/http_page.cc
    ${CMAKE_CURRENT_LIST_DIR}/http_prefixes.cc
    ${CMAKE_CURRENT_LIST_DIR}/http_reader.cc
    ${CMAKE_CURRENT_LIST_DIR}/http_router.cc
    ${CMAKE_CURRENT_LIST_DIR}/http_server.cc
    ${CMAKE_CURRENT_LIST_DIR}/http_tokenize.cc
    ${CMAKE_CURRENT_LIST_DIR}/http_transport.cc
    ${CMAKE_CURRENT_LIST_DIR}/openai_error.cc
    ${CMAKE_CURRENT_LIST_DIR}/openai_fields.cc
    ${CMAKE_CURRENT_LIST_DIR}/openai_json.cc
    ${CMAKE_CURRENT_LIST_DIR}/openai_logprobs.cc
    ${CMAKE_CURRENT_LIST_DIR}/openai_models.cc
    ${CMAKE_CURRENT_LIST_DIR}/openai_prefix.cc
    ${CMAKE_CURRENT_LIST_DIR}/openai_prompt.cc
    ${CMAKE_CURRENT_LIST_DIR}/openai_report.cc
    ${CMAKE_CURRENT_LIST_DIR}/openai_request.cc
    ${CMAKE_CURRENT_LIST_DIR}/openai_response.cc
    ${CMAKE_CURRENT_LIST_DIR}/openai_sampling.cc
    ${CMAKE_CURRENT_LIST_DIR}/openai_skip.cc
    ${CMAKE_CURRENT_LIST_DIR}/sse.cc
  DEPS server_core server_pages engine_model Boost::headers nlohmann_json::nlohmann_json absl::cleanup absl::status absl::statusor
       absl::strings absl::synchronization absl::time Threads::Threads)
if(SKIPSERVE_SANITIZE MATCHES thread)
  # g++ cannot check fences; Asio's are beside its locks, which it can.
  target_compile_definitions(server_http PRIVATE BOOST_ASIO_DISABLE_FENCED_BLOCK)
endif()
# False alarms of g++ 12 in Boost's headers. With the sanitizers Asio's allocation of coroutine frames looks like a
# mismatch where one half of it is inlined, and Beast's empty optionals look uninitialized; Boost.URL's strings seem to
# overlap (GCC bug 105329).
target_compile_options(server_http PRIVATE
  $<$<CXX_COMPILER_ID:GNU>:-Wno-mismatched-new-delete -Wno-maybe-uninitialized -Wno-restrict>)
