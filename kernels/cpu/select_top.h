// The choice of the best rows, linear in the number of candidates. One thread; thread-safe where
// `keys` is not shared.
#pragma once

#include <cstdint>
#include <vector>

namespace skipserve::cpu {

// As Ops::SelectTop. `keys` is working memory that the caller keeps.
void SelectTop(const float* scores, int64_t n, int64_t count, int64_t always_head,
               int64_t always_tail, std::vector<uint32_t>& keys, int32_t* rows_out);

}  // namespace skipserve::cpu
