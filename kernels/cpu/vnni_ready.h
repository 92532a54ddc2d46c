// What the machine has for products of 8-bit codes.
#pragma once

namespace skipserve::cpu {

bool VnniReady();  // AVX512-VNNI

// Whether codes are multiplied on vectors: with VNNI and without AMX. What multiplies weights is
// unsigned then (ToUnsigned).
bool VnniIsBest();

}  // namespace skipserve::cpu
