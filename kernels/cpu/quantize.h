// Rows in 8 bits, in a rotated basis. A row's result depends on nothing but its arguments; but for
// SwiGLU it is the same on every instruction set. Thread-safe.
#pragma once

#include <cstdint>

namespace skipserve::cpu {

// A rotation of the row, in place and its own inverse, that spreads single large values over many:
// a Walsh-Hadamard transform of each run of 64 elements, or of the largest power of two below it
// that divides n. Products of two rows that are rotated alike are those of the rows.
void RotateRow(float* x, int64_t n);

// The rotated row = scale * to, rounded to nearest, the largest magnitude at 127. Returns the
// scale; NaN where the row holds a NaN or an infinity.
float QuantizeRow(const float* from, int64_t n, int8_t* to);

// The same of rows that lie one after the other.
void QuantizeRows(const float* from, int64_t rows, int64_t n, int8_t* to, float* scales);

// Vectors multiply unsigned codes by signed ones: codes become kUnsigned more, in place.
constexpr int kUnsigned = 128;
void ToUnsigned(int8_t* codes, int64_t n);

// Each group of 32 of the row, not rotated, = its scale * to; sums are of a group's scale * to. A
// group's scale is NaN where it holds a NaN or an infinity. n is a multiple of 32.
void QuantizeGroups(const float* from, int64_t n, int8_t* to, float* scales, float* sums);

// What makes values of an output's sums of codes, which are float32, or, where there are offsets,
// int32 in the same room and too large by those.
struct OutputScales {
  const float* scales = nullptr;
  const int32_t* offsets = nullptr;

  OutputScales From(int64_t output) const {
    return {scales + output, offsets == nullptr ? nullptr : offsets + output};
  }
};

// x[j] = (x[j] - offsets[j]) * scales[j] * by.
void ScaleRow(float* x, OutputScales w, float by, int64_t n);

// SwiGluRow of two rows that are scaled so, bit for bit; n is a multiple of 64.
void ScaledSwiGluRow(const float* gate, OutputScales of_gate, const float* up, OutputScales of_up,
                     float by, int64_t n, float* out);

}  // namespace skipserve::cpu
