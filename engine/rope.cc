#include "engine/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/status_macros.h"

namespace skipserve {
namespace {

// Llama 3.1: long wavelengths are divided by `factor`, short ones stay, those between are blended.
double ScaleLlama3(double frequency, const RopeScaling& s) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double original = static_cast<double>(s.original_max_positions);
  if (wavelength < original / s.high_freq_factor) return frequency;
  if (wavelength > original / s.low_freq_factor) return frequency / s.factor;
  const double blend =
      (original / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1 - blend) * frequency / s.factor + blend * frequency;
}

}  // namespace

std::vector<float> RopeFrequencies(const ModelConfig& config, absl::Span<const float> divisors) {
  std::vector<float> frequencies(config.head_dim / 2);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    double f = 1.0 / std::pow(config.rope_theta, 2.0 * i / config.head_dim);
    if (i < divisors.size()) {
      f /= divisors[i];
    } else if (config.rope_scaling.kind == RopeScaling::Kind::kLinear) {
      f /= config.rope_scaling.factor;
    } else if (config.rope_scaling.kind == RopeScaling::Kind::kLlama3) {
      f = ScaleLlama3(f, config.rope_scaling);
    }
    frequencies[i] = static_cast<float>(f);
  }
  return frequencies;
}

absl::StatusOr<RopeMemory> MakeRopeTable(absl::Span<const float> frequencies, int64_t positions,
                                         Ops& ops) {
  const int64_t half = static_cast<int64_t>(frequencies.size());
  RopeMemory memory;
  ASSIGN_OR_RETURN(memory.cos, ops.Allocate(positions * half * sizeof(float)));
  ASSIGN_OR_RETURN(memory.sin, ops.Allocate(positions * half * sizeof(float)));
  memory.table = {TensorView(memory.cos.f32(), positions, half),
                  TensorView(memory.sin.f32(), positions, half)};
  // Some rows at a time: a file may claim any context length, and one copy of its tables is enough.
  constexpr int64_t kRows = 256;
  std::vector<float> cos(kRows * half), sin(kRows * half);
  for (int64_t begin = 0; begin < positions; begin += kRows) {
    const int64_t rows = std::min(kRows, positions - begin);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < half; ++i) {
        // The angle is rounded to float, as the models were trained with.
        const float angle = static_cast<float>(begin + r) * frequencies[i];
        cos[r * half + i] = std::cos(angle);
        sin[r * half + i] = std::sin(angle);
      }
    }
    const size_t bytes = rows * half * sizeof(float);
    ops.Upload(cos.data(), memory.cos.f32() + begin * half, bytes);
    ops.Upload(sin.data(), memory.sin.f32() + begin * half, bytes);
  }
  return memory;
}

}  // namespace skipserve
