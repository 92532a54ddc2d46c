// What the machine has of instructions, as far as oneDNN may use them: ONEDNN_MAX_CPU_ISA caps
// both.
#pragma once

#include "oneapi/dnnl/dnnl.hpp"

namespace skipserve::cpu {

inline bool MachineHas(dnnl::cpu_isa isa) {
  const int all = static_cast<int>(isa);
  return (static_cast<int>(dnnl::get_effective_cpu_isa()) & all) == all;
}

}  // namespace skipserve::cpu
