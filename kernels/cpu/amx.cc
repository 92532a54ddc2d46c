#include "kernels/cpu/amx.h"

#ifdef SKIPSERVE_HAS_AMX
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/cpu/dnnl_isa.h"
#endif

namespace skipserve::cpu {

bool AmxReady() {
#ifdef SKIPSERVE_HAS_AMX
  static const bool ready = [] {
    // Linux hands out the registers' memory on request only (its Documentation/x86/xstate.rst).
    constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
    constexpr long kTileData = 18;
    // oneDNN does not ask for VBMI, which every CPU with AMX has but a virtual one may hide.
    return MachineHas(dnnl::cpu_isa::avx512_core_amx) && __builtin_cpu_supports("avx512vbmi") &&
           syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return ready;
#else
  return false;
#endif
}

}  // namespace skipserve::cpu
