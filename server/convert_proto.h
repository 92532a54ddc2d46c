// Between the wire's messages and what the engine takes and gives. Pure functions; every error is
// INVALID_ARGUMENT and names the field as the proto file does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "skipserve/v1/skipserve.pb.h"

namespace skipserve {

// All of the request but its prompt, deadline and, where `sampling.seed` is not set, seed.
absl::StatusOr<GenerateRequest> RequestFromProto(const v1::GenerateRequest& proto,
                                                 const ModelInfo& model);

// 1 to 128.
absl::StatusOr<int> ChoicesFromProto(const v1::GenerateRequest& proto);

// Token ids of what is asked about.
absl::StatusOr<std::vector<int32_t>> PromptFromProto(const v1::GenerateRequest& proto,
                                                     const Engine& engine);
absl::StatusOr<std::vector<int32_t>> PromptFromProto(const v1::TokenizeRequest& proto,
                                                     const Engine& engine);
absl::StatusOr<PrefixRequest> PrefixFromProto(const v1::ReadPrefixRequest& proto,
                                              const Engine& engine);

// Parts of both requests.
absl::StatusOr<SkipRequest> SkipFromProto(const v1::Skip& proto, const ModelInfo& model);
absl::StatusOr<std::string> CacheSaltFromProto(const std::string& salt);

absl::StatusOr<SkipPolicy> PolicyFromProto(const v1::SkipPolicy& proto, int32_t layers);
void PolicyToProto(const SkipPolicy& policy, v1::SkipPolicy* proto);

// Adds the token to the chunk.
void AppendToken(TokenEvent event, v1::TokenChunk* chunk);
void FinishToProto(const FinishEvent& event, v1::Finish* proto);
void ModelInfoToProto(const ModelInfo& info, v1::GetModelInfoResponse* proto);
void PrefixToProto(const PrefixInfo& info, v1::Prefix* proto);
void LoadToProto(const EngineLoad& load, v1::GetLoadResponse* proto);

}  // namespace skipserve
