// Prefixes that are read before their questions. One is a request without an answer: its sequence
// goes through the trunk alone, and what the cache then has of it is pinned.
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/check_request.h"
#include "engine/llm_engine.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

absl::Status CheckName(absl::string_view name) {
  if (!name.empty() && name.size() <= kMaxPrefixName) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a prefix's name has 1 to ", kMaxPrefixName, " bytes, this one ", name.size()));
}

}  // namespace

absl::StatusOr<RequestId> LlmEngine::ReadPrefix(PrefixRequest request,
                                                std::shared_ptr<ResponseSink> sink) {
  if (!parts_.prefix_cache) {
    return absl::FailedPreconditionError(
        "this server has no prefix cache; it was switched off with --no-prefix-cache");
  }
  const absl::Time now = parts_.now();
  RETURN_IF_ERROR(CheckName(request.name));
  const int64_t block = parts_.scheduler.block_tokens;
  GenerateRequest reading;
  reading.prompt = std::move(request.tokens);
  reading.skip = std::move(request.skip);
  reading.cache_salt = std::move(request.cache_salt);
  reading.tenant = request.tenant;
  reading.client = std::move(request.client);
  // In mode auto, questions take the shorter way, which is dense once all layers are cached.
  if (reading.skip.mode == SkipRequest::Mode::kAuto) reading.skip.mode = SkipRequest::Mode::kOff;
  reading.stop.max_tokens = 1;
  RETURN_IF_ERROR(CheckRequest(reading, parts_.info).status());
  if (static_cast<int64_t>(reading.prompt.size()) < block) {
    return absl::InvalidArgumentError(absl::StrCat("a prefix of ", reading.prompt.size(),
                                                   " tokens; the cache keeps blocks of ", block));
  }
  // Resolved for its own length. Where that is too short to skip, what is read is dense.
  ASSIGN_OR_RETURN(ResolvedSkip skip, Resolve(reading, now));
  reading.prompt.resize(reading.prompt.size() / block * block);
  skip.plan.prompt_tokens = static_cast<int64_t>(reading.prompt.size());
  ASSIGN_OR_RETURN(SequenceShape shape, Shape(reading, skip, 1));
  shape.prefix_only = true;
  shape.skip_layers.clear();
  for (int32_t l = 0; l < parts_.info.config.layers; ++l) {
    shape.kv_prompt_tokens[l] = l < shape.trunk_layers ? shape.prompt_tokens : 0;
  }
  Prefix prefix;
  prefix.keys = shape.prefix_keys;
  prefix.info.name = request.name;
  prefix.info.tokens = shape.prompt_tokens;
  prefix.info.trunk_layers = shape.trunk_layers;
  prefix.info.skip_level = skip.level;
  auto answer = std::make_shared<Answer>(std::move(reading), std::move(skip), std::move(shape), 1,
                                         *parts_.tokenizer, std::move(sink), now);
  absl::MutexLock lock(&mutex_);
  const PrefixName name(request.tenant, request.name);
  if (prefixes_.count(name)) {
    return absl::AlreadyExistsError(absl::StrCat("there is a prefix named \"", request.name,
                                                 "\"; drop it first, or choose another name"));
  }
  prefix.info.kv_blocks = scheduler_.BlocksNeeded(answer->shape());
  ASSIGN_OR_RETURN(const RequestId id, Queue(std::move(answer)));
  reading_.emplace(id, name);
  prefixes_.emplace(name, std::move(prefix));
  return id;
}

absl::Status LlmEngine::KeepPrefix(Prefix& prefix, absl::Time now) {
  ASSIGN_OR_RETURN(const int64_t blocks, scheduler_.Pin(prefix.keys));
  if (blocks < static_cast<int64_t>(prefix.keys.size())) {
    scheduler_.Unpin(prefix.keys, blocks);
    return absl::ResourceExhaustedError(
        "there was no memory to keep the prefix; try again later, or raise --kv-memory-mb");
  }
  prefix.read = true;
  prefix.info.read_at = now;
  return absl::OkStatus();
}

// Prefixes that are read now, and those whose reading ended otherwise.
void LlmEngine::TakeRead(absl::Time now, std::vector<Ended>& ended) {
  for (auto it = reading_.begin(); it != reading_.end();) {
    const auto [id, name] = *it;
    const auto answer = answers_.find(id);
    if (answer == answers_.end()) {
      prefixes_.erase(name);
      it = reading_.erase(it);
      continue;
    }
    if (scheduler_.phase(id) != SequencePhase::kDone) {
      ++it;
      continue;
    }
    // Before it is pinned, or its blocks would count twice; nothing evicts them in between.
    scheduler_.Remove(id);
    absl::Status status = KeepPrefix(prefixes_.at(name), now);
    if (!status.ok()) prefixes_.erase(name);
    ended.push_back({id, answer->second, std::move(status)});
    answers_.erase(answer);
    it = reading_.erase(it);
  }
}

std::vector<PrefixInfo> LlmEngine::Prefixes(absl::string_view tenant) const {
  absl::MutexLock lock(&mutex_);
  std::vector<PrefixInfo> infos;
  for (const auto& [name, prefix] : prefixes_) {
    if (prefix.read && name.first == tenant) infos.push_back(prefix.info);
  }
  return infos;
}

absl::Status LlmEngine::DropPrefix(absl::string_view tenant, absl::string_view name) {
  absl::MutexLock lock(&mutex_);
  const auto found = prefixes_.find(PrefixName(tenant, name));
  if (found == prefixes_.end() || !found->second.read) {
    return absl::NotFoundError(absl::StrCat("there is no prefix named \"", name, "\""));
  }
  scheduler_.Unpin(found->second.keys, static_cast<int64_t>(found->second.keys.size()));
  prefixes_.erase(found);
  return absl::OkStatus();
}

}  // namespace skipserve
