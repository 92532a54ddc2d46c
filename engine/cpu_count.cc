#include "engine/cpu_count.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <cstdlib>
#include <limits>
#include <string>

namespace skipserve {
namespace {

// cgroup v2: "QUOTA PERIOD" in microseconds, or "max PERIOD". v1 has the two in files of their own.
double CgroupLimit() {
  std::string quota;
  double period = 0;
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  if (!(v2 >> quota >> period)) {
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota;
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
  }
  char* end = nullptr;
  const double value = std::strtod(quota.c_str(), &end);
  if (end == quota.c_str() || !(value > 0) || !(period > 0)) return std::numeric_limits<double>::infinity();
  return value / period;
}

}  // namespace

int AvailableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cpus = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  const double limit = CgroupLimit();
  if (limit < cpus) cpus = static_cast<int>(std::ceil(limit));
  return std::max(1, cpus);
}

}  // namespace skipserve
