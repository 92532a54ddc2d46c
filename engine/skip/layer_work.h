// One layer of a prefill as the scheduler counts it: what its probes cost, and each of its rows.
#pragma once

#include "engine/model_config.h"
#include "engine/skip/plan.h"
#include "engine/skip/policy.h"
#include "scheduler/types.h"

namespace skipserve {

// The parts add up to PlanFlops of the same layer. `proxy` as there.
SkipLayer LayerWork(const SkipPlan& plan, int32_t layer, const SkipPolicy& policy,
                    const ModelConfig& config, ProxyShape proxy);

}  // namespace skipserve
