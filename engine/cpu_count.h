// How many cores this process may use: its affinity mask and, in a container, its cgroup's CPU limit.
#pragma once

namespace skipserve {

int AvailableCpus();  // >= 1

}  // namespace skipserve
