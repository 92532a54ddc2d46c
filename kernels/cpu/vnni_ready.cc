#include "kernels/cpu/vnni_ready.h"

#include "kernels/cpu/amx.h"
#include "kernels/cpu/dnnl_isa.h"

namespace skipserve::cpu {

bool VnniReady() {
#if defined(__x86_64__)
  return MachineHas(dnnl::cpu_isa::avx512_core_vnni);
#else
  return false;
#endif
}

bool VnniIsBest() { return VnniReady() && !AmxReady(); }

}  // namespace skipserve::cpu
