#include "tests/server/small_memory.h"

#include <cstdlib>
#include <limits>
#include <new>

namespace {

constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();
thread_local size_t limit = kNoLimit;

}  // namespace

void* operator new(size_t size) {
  void* memory = size > limit ? nullptr : std::malloc(size);
  return memory != nullptr ? memory : throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t /*size*/) noexcept { std::free(memory); }

namespace skipserve {

SmallMemory::SmallMemory(size_t bytes) { limit = bytes; }
SmallMemory::~SmallMemory() { limit = kNoLimit; }

}  // namespace skipserve
