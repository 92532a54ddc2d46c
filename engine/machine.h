// What this process may use of the machine: its affinity mask, its memory and, in a container, its
// cgroup's limits.
#pragma once

#include <cstdint>

namespace skipserve {

int AvailableCpus();        // >= 1
int64_t AvailableMemory();  // bytes in all, used or not

}  // namespace skipserve
