// A model's shape for arithmetic that needs no model.
#pragma once

#include "engine/model_config.h"

namespace skipserve::testing {

inline ModelConfig SmallConfig() {
  ModelConfig c;
  c.layers = 10;
  c.width = 64;
  c.ffn_width = 128;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 16;
  return c;
}

}  // namespace skipserve::testing
