// See the header.
#include "server/grpc_prefix.h"

#include <boost/asio/post.hpp>
#include <utility>

#include "engine/status_macros.h"
#include "server/convert_proto.h"
#include "server/grpc_messages.h"
#include "server/prefix.h"
#include "server/status.h"

namespace skipserve {

PrefixCall::PrefixCall(Engine& engine, boost::asio::thread_pool& workers,
                       grpc::ByteBuffer* response, std::function<void()> on_done)
    : engine_(engine), workers_(workers), response_(response), on_done_(std::move(on_done)) {}

std::shared_ptr<PrefixCall> PrefixCall::Create(Engine& engine, boost::asio::thread_pool& workers,
                                               grpc::ByteBuffer* response,
                                               std::function<void()> on_done) {
  std::shared_ptr<PrefixCall> call(new PrefixCall(engine, workers, response, std::move(on_done)));
  call->self_ = call;
  return call;
}

void PrefixCall::Read(Metrics& metrics, CompletionContext about, PrefixRequest request) {
  name_ = request.name;
  tenant_ = request.tenant;
  const absl::StatusOr<RequestId> id =
      StartPrefix(engine_, metrics, std::move(request), std::move(about), self_);
  if (!id.ok()) return Refuse(id.status());
  bool cancelled = false;
  {
    absl::MutexLock lock(&mutex_);
    id_ = *id;
    cancelled = cancelled_;
  }
  if (cancelled) engine_.Cancel(*id);
}

void PrefixCall::Refuse(const absl::Status& status) { Finish(ToGrpcStatus(status)); }

void PrefixCall::OnFinish(int /*choice*/, FinishEvent event) {
  // The engine's thread must not call back into the engine.
  boost::asio::post(workers_, [this, self = self_, status = std::move(event.status)] {
    Finish(ToGrpcStatus(status.ok() ? Answer() : status));
  });
}

absl::Status PrefixCall::Answer() {
  ASSIGN_OR_RETURN(const PrefixInfo info, FindPrefix(engine_, tenant_, name_));
  v1::ReadPrefixResponse response;
  PrefixToProto(info, response.mutable_prefix());
  *response_ = ToBytes(response);
  return absl::OkStatus();
}

void PrefixCall::OnCancel() {
  std::optional<RequestId> id;
  {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    id = id_;
  }
  if (id.has_value()) engine_.Cancel(*id);
}

void PrefixCall::OnDone() {
  on_done_();
  self_.reset();
}

}  // namespace skipserve
