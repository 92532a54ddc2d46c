// A machine with little memory, for one thread of a test program.
#pragma once

#include <cstddef>

namespace skipserve {

// While it lives, this thread's allocations of more than `bytes` throw std::bad_alloc.
class SmallMemory {
 public:
  explicit SmallMemory(size_t bytes);
  ~SmallMemory();
};

}  // namespace skipserve
