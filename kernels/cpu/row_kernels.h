// Vectorised operations on one row of floats: norms, rotary embedding, activations, sums, bf16
// conversion. A row's result depends on nothing but its arguments. Thread-safe: no state.
#pragma once

#include <cstdint>

namespace skipserve::cpu {

void RmsNormRow(const float* x, const float* gain, int64_t n, float eps, float* out);

// Rotates num_heads heads of 2 * half elements in place by the angles of one position.
void RopeRow(float* x, int64_t num_heads, int64_t half, const float* cos, const float* sin);

void SwiGluRow(const float* gate, const float* up, int64_t n, float* out);

void AddRow(float* x, const float* delta, int64_t n);

float DotRow(const float* a, const float* b, int64_t n);

void MultiplyRow(const float* a, const float* b, int64_t n, float* out);

void RoundToBf16(const float* from, int64_t n, uint16_t* to);  // to nearest even

void ExpandBf16(const uint16_t* from, int64_t n, float* to);

}  // namespace skipserve::cpu
