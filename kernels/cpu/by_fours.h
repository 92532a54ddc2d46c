// Rows of a decode step, as many together as there are registers for.
#pragma once

#include <cstdint>

namespace skipserve::cpu {

// Calls fn<n>(row) for rows [row, row + n): n is 4, and what is left at the end.
template <class Fn>
void ByFours(int64_t rows, Fn fn) {
  int64_t row = 0;
  for (; row + 4 <= rows; row += 4) fn.template operator()<4>(row);
  if (rows - row == 3) fn.template operator()<3>(row);
  if (rows - row == 2) fn.template operator()<2>(row);
  if (rows - row == 1) fn.template operator()<1>(row);
}

}  // namespace skipserve::cpu
