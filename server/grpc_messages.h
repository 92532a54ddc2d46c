// Messages as the bytes that gRPC carries. We read them ourselves, since gRPC's generated code
// answers bytes that are no message with UNIMPLEMENTED and not a word.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "grpcpp/support/byte_buffer.h"

namespace skipserve {

// INVALID_ARGUMENT where they are not of this kind.
template <typename Message>
absl::StatusOr<Message> FromBytes(grpc::ByteBuffer bytes) {
  Message message;
  if (grpc::SerializationTraits<Message>::Deserialize(&bytes, &message).ok()) return message;
  return absl::InvalidArgumentError(
      absl::StrCat("the request's bytes are not a ", message.GetTypeName(),
                   ": they are damaged, or a string among them is not UTF-8"));
}

template <typename Message>
grpc::ByteBuffer ToBytes(const Message& message) {
  grpc::ByteBuffer bytes;
  bool own = false;
  grpc::SerializationTraits<Message>::Serialize(message, &bytes, &own);
  return bytes;
}

}  // namespace skipserve
