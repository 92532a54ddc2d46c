#include "kernels/cpu/buffer_cache.h"

#include <new>
#include <utility>

namespace skipserve::cpu {

// The smallest that is large enough, but not far too large.
std::shared_ptr<Buffer> BufferCache::Kept::Take(size_t bytes) {
  std::lock_guard<std::mutex> lock(mutex);
  auto best = buffers.end();
  for (auto it = buffers.begin(); it != buffers.end(); ++it) {
    const size_t size = (*it)->bytes();
    if (size < bytes || size > 2 * bytes) continue;
    if (best == buffers.end() || size < (*best)->bytes()) best = it;
  }
  if (best == buffers.end()) return nullptr;
  std::shared_ptr<Buffer> found = std::move(*best);
  buffers.erase(best);
  return found;
}

// The longest unused go first.
void BufferCache::Kept::Return(std::shared_ptr<Buffer> buffer) {
  if (buffer->bytes() > kMost) return;
  std::lock_guard<std::mutex> lock(mutex);
  try {
    buffers.push_back(std::move(buffer));
  } catch (const std::bad_alloc&) {
    return;  // it is freed instead
  }
  size_t sum = 0;
  for (const auto& b : buffers) sum += b->bytes();
  while (sum > kMost) {
    sum -= buffers.front()->bytes();
    buffers.erase(buffers.begin());
  }
}

void BufferCache::Kept::Clear() {
  std::lock_guard<std::mutex> lock(mutex);
  buffers.clear();
}

absl::StatusOr<Buffer> BufferCache::Allocate(size_t bytes) {
  if (bytes < kSmallest) return AllocateHost(bytes);
  std::shared_ptr<Buffer> whole = kept_->Take(bytes);
  if (whole == nullptr) {
    absl::StatusOr<Buffer> fresh = AllocateHost(bytes);
    if (!fresh.ok()) {
      kept_->Clear();
      fresh = AllocateHost(bytes);
    }
    if (!fresh.ok()) return fresh.status();
    whole = std::make_shared<Buffer>(*std::move(fresh));
  }
  void* const data = whole->data();
  return Buffer(data, bytes, [kept = kept_, whole](void*) { kept->Return(whole); });
}

}  // namespace skipserve::cpu
