#include "kernels/ops.h"
namespace skipserve {
std::unique_ptr<Ops> MakeCpuOps(int) { return MakeReferenceOps(); }
bool CpuHasFastBf16() { return false; }
}  // namespace skipserve
