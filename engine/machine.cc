#include "engine/machine.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>

namespace skipserve {
namespace {

// cgroup v2: "QUOTA PERIOD" in microseconds, or "max PERIOD". v1 has the two in files of their own.
double CgroupCpus() {
  std::string quota;
  double period = 0;
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  if (!(v2 >> quota >> period)) {
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota;
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
  }
  char* end = nullptr;
  const double value = std::strtod(quota.c_str(), &end);
  if (end == quota.c_str() || !(value > 0) || !(period > 0))
    return std::numeric_limits<double>::infinity();
  return value / period;
}

// "max", or bytes; v1 writes a number near 2^63 where there is no limit.
double CgroupMemory() {
  std::string limit;
  std::ifstream v2("/sys/fs/cgroup/memory.max");
  if (!(v2 >> limit)) {
    std::ifstream("/sys/fs/cgroup/memory/memory.limit_in_bytes") >> limit;
  }
  const double value = std::strtod(limit.c_str(), nullptr);
  return value > 0 ? value : std::numeric_limits<double>::infinity();
}

}  // namespace

int AvailableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cpus = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  const double limit = CgroupCpus();
  if (limit < cpus) cpus = static_cast<int>(std::ceil(limit));
  return std::max(1, cpus);
}

int64_t AvailableMemory() {
  const double memory = double(sysconf(_SC_PHYS_PAGES)) * double(sysconf(_SC_PAGESIZE));
  return static_cast<int64_t>(std::min(memory, CgroupMemory()));
}

}  // namespace skipserve
