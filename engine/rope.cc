#include "engine/rope.h"

#include <cmath>
#include <numbers>

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

absl::StatusOr<RopeMemory> MakeRopeTable(absl::Span<const float> frequencies, int64_t positions, Ops& ops) {
  const int64_t half = static_cast<int64_t>(frequencies.size());
  std::vector<float> cos(positions * half), sin(positions * half);
  for (int64_t p = 0; p < positions; ++p) {
    for (int64_t i = 0; i < half; ++i) {
      // The angle is rounded to float, as the models were trained with.
      const float angle = static_cast<float>(p) * frequencies[i];
      cos[p * half + i] = std::cos(angle);
      sin[p * half + i] = std::sin(angle);
    }
  }
  RopeMemory memory;
  const size_t bytes = cos.size() * sizeof(float);
  absl::StatusOr<Buffer> c = ops.Allocate(bytes), s = ops.Allocate(bytes);
  if (!c.ok()) return c.status();
  if (!s.ok()) return s.status();
  memory.cos = *std::move(c);
  memory.sin = *std::move(s);
  ops.Upload(cos.data(), memory.cos.data(), bytes);
  ops.Upload(sin.data(), memory.sin.data(), bytes);
  memory.table = {TensorView(memory.cos.f32(), positions, half), TensorView(memory.sin.f32(), positions, half)};
  return memory;
}

}  // namespace skipserve
