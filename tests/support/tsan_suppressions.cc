// What the thread sanitizer cannot judge: the distribution's libraries hand work from thread to
// thread by means that it was not built to see. Our own code, and the callbacks that gRPC makes
// into it, stay under watch. Tsan build only.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  // The first part: memory that those libraries touch by functions such as memmove and free. Then
  // the count of a Status's owners, which its library keeps. Then gRPC's headers, compiled into our
  // files, which hold a call's operations while the library works on them. Last, the making of
  // spdlog's registry, which its library guards.
  return R"(
called_from_lib:libgrpc.so
called_from_lib:libgpr.so
called_from_lib:libgrpc++.so
called_from_lib:libgrpc++_reflection.so
called_from_lib:libupb.so
called_from_lib:libprotobuf.so
called_from_lib:libabsl_status.so
called_from_lib:libabsl_statusor.so
called_from_lib:libabsl_cord.so
called_from_lib:libabsl_strings.so
called_from_lib:libabsl_time.so
called_from_lib:libabsl_graphcycles_internal.so
called_from_lib:libabsl_malloc_internal.so
called_from_lib:libabsl_synchronization.so
called_from_lib:libabsl_time_zone.so
called_from_lib:libabsl_random_internal_pool_urbg.so
called_from_lib:libaddress_sorting.so
called_from_lib:libcares.so
race:absl::*::Status::Unref
race:grpc::internal::CallOp
race:grpc::internal::InterceptorBatchMethodsImpl
race:grpc::internal::CallbackWithSuccessTag::Set
race:grpc::internal::CallbackWithSuccessTag::Clear
race:ServerCallbackWriterImpl::CallOnDone
race:grpc::internal::ServerCallbackCall
race_top:grpc::internal::
race:spdlog::details::registry::registry
race_top:grpc::ByteBuffer
)";
}
