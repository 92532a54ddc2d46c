// Skip settings that need no tuning: levels for models somebody measured, cautious ones for the
// others. Pure functions of the model's shape and name; nothing is read from disk.
#pragma once

#include <cstdint>

#include "engine/model_config.h"
#include "engine/skip/plan.h"
#include "engine/skip/policy.h"
#include "engine/skip/skip_settings.h"

namespace skipserve {

// The paper's three models have its settings as the level "paper", SmolLM2-135M has our measured
// "gentle" (default), "balanced" and "fast". Chosen by architecture, shape, context length and
// name; a model whose file gives no name is told by the rest. Any other model gets
// CautiousSettings.
SkipSettings ReadySettings(const ModelConfig& config);

// Levels "cautious" and "moderate" derived from the number of layers alone. Nobody has measured
// what they cost on the model at hand, so the default level is "off": they act only when asked for
// by name. No levels below four layers.
SkipSettings CautiousSettings(int32_t layers);

// The published proxy sizes for the paper's models; for others a sixth of the FFN's width and of
// the model's width, as measured on SmolLM2-135M.
ProxyShape ReadyProxyShape(const ModelConfig& config);

// A cut in every layer from `start` on: budgets fall geometrically from `first` in layer `start` to
// `last` in the last layer, keeps equal budgets. 0 <= start < layers; everything else has its
// default.
SkipPolicy LayeredPolicy(int32_t start, int32_t layers, double first, double last);

}  // namespace skipserve
