// Builds a model's skip file: runs the dense model over calibration texts, ranks every FFN's
// channels, and factors the proxies of LTP. Batch work for a command line; uses every thread of the
// Ops.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model_file.h"
#include "engine/progress.h"
#include "engine/skip/skip_file.h"
#include "kernels/ops.h"

namespace skipserve {

struct CalibrateOptions {
  std::string model_path;
  ProxyShape proxy;                // zeros: the model's ready size
  int64_t tokens_per_text = 1024;  // each text is cut into pieces of so many tokens
  int64_t max_pieces = 16;         // pieces used in all, spread over the texts
  int64_t rows_per_piece = 256;    // tokens of a piece whose saliencies count, evenly spread
  int threads = 0;                 // 0: the cores this process may use
};

// The proxies of all layers from dense prefills of `pieces` (token ids, none longer than the
// context). Of each piece, up to `rows_per_piece` tokens count.
absl::StatusOr<std::vector<LayerProxy>> BuildProxies(
    const ModelFile& model, const std::vector<std::vector<int32_t>>& pieces, ProxyShape shape,
    int64_t rows_per_piece, Ops& ops, const Progress& progress);

// `texts` are plain texts. `progress` is told of every piece and layer.
// INVALID_ARGUMENT with too little text (under two pieces' worth of tokens) or a proxy larger than
// the FFN.
absl::StatusOr<SkipFile> Calibrate(const CalibrateOptions& options,
                                   const std::vector<std::string>& texts, const Progress& progress);

}  // namespace skipserve
