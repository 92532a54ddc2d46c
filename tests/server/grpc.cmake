# What both front ends share, and the gRPC one, by a real client over a real socket.
add_room_test(completion_test SRCS completion_test.cc DEPS server_core fake_engine)
add_room_test(api_keys_test SRCS api_keys_test.cc DEPS server_core)
add_room_test(prompt_test SRCS prompt_test.cc DEPS server_core fake_engine)
add_room_test(metrics_test SRCS metrics_test.cc recent_gaps_test.cc DEPS server_core)
add_room_test(grpc_test
  SRCS grpc_bad_input_test.cc grpc_generate_test.cc grpc_keys_test.cc grpc_prefix_test.cc grpc_server_test.cc
  DEPS server_grpc fake_engine)
add_room_test(flags_test SRCS flags_test.cc DEPS server_flags)
add_room_test(serve_test SRCS serve_test.cc DEPS server_serve fake_engine)
