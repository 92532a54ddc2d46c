// Prompts that begin alike: an answer after a hit is the answer without the cache, and only what
// may be shared is shared.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "engine/prefix_keys.h"
#include "tests/support/engine_caller.h"

namespace skipserve::testing {
namespace {

// `shared` tokens of a document, then a question of its own.
GenerateRequest Question(int shared, int seed, bool skips, int question = 21) {
  GenerateRequest request = SomeRequest(shared + question, seed);
  const GenerateRequest document = SomeRequest(shared, 1000);
  std::copy(document.prompt.begin(), document.prompt.end(), request.prompt.begin());
  request.logprobs = 2;
  if (skips) request.skip = Layered();
  return request;
}

std::shared_ptr<CollectingSink> Ask(Engine& engine, GenerateRequest request) {
  auto sink = std::make_shared<CollectingSink>();
  const auto id = engine.Submit(std::move(request), sink);
  EXPECT_TRUE(id.ok()) << id.status();
  if (id.ok()) sink->Wait();
  return sink;
}

int64_t CachedTokens(Engine& engine, GenerateRequest request) {
  return Ask(engine, std::move(request))->finish_.report.cached_tokens;
}

void ExpectSameAnswer(const CollectingSink& a, const CollectingSink& b) {
  EXPECT_EQ(a.tokens_, b.tokens_);
  EXPECT_EQ(a.logprobs_, b.logprobs_);
}

class PrefixCacheTest : public LlmEngineTest {};

TEST_F(PrefixCacheTest, AHitChangesNoAnswer) {
  for (EngineOptions options : EveryKind()) {
    for (const char* states : {"f32", "bf16"}) {
      options.prefix_states = states;
      options.prefix_cache = false;
      Engine* const without = Open(options);
      options.prefix_cache = true;
      Engine* const with = Open(options);
      for (const bool skips : {false, true}) {
        SCOPED_TRACE(KindName(options) + " " + states);
        for (const int shared : {200, 96, 31, 0}) {
          for (int seed = 1; seed <= 3; ++seed) {
            const auto expected = Ask(*without, Question(shared, seed, skips));
            const auto actual = Ask(*with, Question(shared, seed, skips));
            ExpectSameAnswer(*actual, *expected);
            EXPECT_EQ(expected->finish_.report.cached_tokens, 0);
            if (seed == 1) continue;
            EXPECT_EQ(actual->finish_.report.cached_tokens, shared / 32 * 32);
          }
        }
      }
    }
  }
}

TEST_F(PrefixCacheTest, TheSameQuestionAgainFindsAllButWhatItsLogitsNeed) {
  Engine* const engine = Open();
  for (const bool skips : {false, true}) {
    const GenerateRequest request = Question(171, 1, skips);  // 192 tokens: 6 blocks
    const auto first = Ask(*engine, request), again = Ask(*engine, request);
    ExpectSameAnswer(*first, *again);
    EXPECT_EQ(first->finish_.report.cached_tokens, 0);
    EXPECT_EQ(again->finish_.report.cached_tokens, skips ? 192 : 160);
  }
}

TEST_F(PrefixCacheTest, TrunksOfOtherDepthsAndOtherSaltsShareNothing) {
  Engine* const engine = Open();
  EXPECT_EQ(CachedTokens(*engine, Question(200, 1, true)), 0);
  EXPECT_EQ(CachedTokens(*engine, Question(200, 2, false)), 0);
  GenerateRequest salted = Question(200, 3, true);
  salted.cache_salt = "tenant";
  EXPECT_EQ(CachedTokens(*engine, salted), 0);
  EXPECT_EQ(CachedTokens(*engine, Question(200, 4, true)), 192);
  salted.prompt.back() ^= 1;
  EXPECT_EQ(CachedTokens(*engine, salted), 192);
  salted.cache_salt = "other";
  EXPECT_EQ(CachedTokens(*engine, salted), 0);
  // Another policy with the same trunk shares it: what lies behind is its own.
  GenerateRequest other = Question(200, 5, true);
  for (double& size : other.skip.policy.budgets) size *= 0.8;
  EXPECT_EQ(CachedTokens(*engine, other), 192);
}

TEST_F(PrefixCacheTest, ASaltIsBounded) {
  Engine* const engine = Open();
  GenerateRequest request = Question(40, 1, false);
  request.cache_salt = std::string(kMaxCacheSalt, 's');
  EXPECT_EQ(CachedTokens(*engine, request), 0);
  request.cache_salt += 's';
  EXPECT_EQ(engine->Submit(request, std::make_shared<CollectingSink>()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(PrefixCacheTest, ASecondTurnReusesTheFirst) {
  Engine* const engine = Open();
  GenerateRequest turn = Question(150, 1, true);
  const auto first = Ask(*engine, turn);
  turn.prompt.insert(turn.prompt.end(), first->tokens_.begin(), first->tokens_.end());
  turn.prompt.insert(turn.prompt.end(), 40, 7);
  const int64_t first_turn = 150 + 21;
  const auto second = Ask(*engine, turn);
  EXPECT_EQ(second->finish_.report.cached_tokens, first_turn / 32 * 32);
  EngineOptions options = TinyOptions();
  options.prefix_cache = false;
  ExpectSameAnswer(*second, *Ask(*Open(options), turn));
}

TEST_F(PrefixCacheTest, GivesItsMemoryToWhoeverNeedsIt) {
  EngineOptions options = TinyOptions();
  options.kv_memory_mb = 1;
  options.max_context = 400;
  Engine* const engine = Open(options);
  EngineOptions none = options;
  none.prefix_cache = false;
  Engine* const without = Open(none);
  for (int seed = 1; seed <= 60; ++seed) {
    const GenerateRequest request = SomeRequest(150 + seed % 40, seed);
    ExpectSameAnswer(*Ask(*engine, request), *Ask(*without, request));
  }
  EXPECT_GT(engine->load().prefix_evictions, 0);
  EXPECT_GT(engine->load().kv_blocks_cached, 0);
  EXPECT_EQ(engine->load().kv_blocks_used, 0);
}

absl::Status Read(Engine& engine, PrefixRequest request) {
  auto sink = std::make_shared<CollectingSink>();
  const auto id = engine.ReadPrefix(std::move(request), sink);
  if (!id.ok()) return id.status();
  const absl::Status status = sink->Wait().status;
  EXPECT_TRUE(sink->tokens_.empty());
  return status;
}

PrefixRequest Document(int tokens, bool skips, std::string name = "doc") {
  PrefixRequest request;
  request.name = std::move(name);
  request.tokens = SomeRequest(tokens, 1000).prompt;
  if (skips) request.skip = Layered();
  if (!skips) request.skip.mode = SkipRequest::Mode::kOff;
  return request;
}

TEST_F(PrefixCacheTest, APrefixIsReadBeforeItsQuestions) {
  for (const EngineOptions& options : EveryKind()) {
    for (const bool skips : {false, true}) {
      SCOPED_TRACE(KindName(options) + (skips ? " skips" : ""));
      Engine* const engine = Open(options);
      ASSERT_TRUE(Read(*engine, Document(200, skips)).ok());
      const std::vector<PrefixInfo> prefixes = engine->Prefixes("");
      ASSERT_EQ(prefixes.size(), 1u);
      EXPECT_EQ(prefixes[0].name, "doc");
      EXPECT_EQ(prefixes[0].tokens, 192);
      EXPECT_EQ(prefixes[0].skip_level, skips ? "custom" : "off");
      EXPECT_EQ(prefixes[0].trunk_layers, skips ? 2 : 6);
      EXPECT_EQ(engine->load().kv_blocks_used, prefixes[0].kv_blocks);
      EngineOptions none = options;
      none.prefix_cache = false;
      const auto asked = Ask(*engine, Question(200, 3, skips));
      EXPECT_EQ(asked->finish_.report.cached_tokens, 192);
      ExpectSameAnswer(*asked, *Ask(*Open(none), Question(200, 3, skips)));
      EXPECT_TRUE(engine->DropPrefix("", "doc").ok());
      EXPECT_TRUE(engine->Prefixes("").empty());
      EXPECT_EQ(engine->load().kv_blocks_used, 0);
    }
  }
}

TEST_F(PrefixCacheTest, APinnedPrefixOutlivesOthers) {
  EngineOptions options = TinyOptions();
  options.kv_memory_mb = 1;
  options.max_context = 400;
  Engine* const engine = Open(options);
  ASSERT_TRUE(Read(*engine, Document(96, false)).ok());
  for (int seed = 1; seed <= 60; ++seed) Ask(*engine, SomeRequest(150 + seed % 40, seed));
  EXPECT_GT(engine->load().prefix_evictions, 0);
  EXPECT_EQ(CachedTokens(*engine, Question(96, 3, false)), 96);
  EXPECT_TRUE(engine->DropPrefix("", "doc").ok());
}

TEST_F(PrefixCacheTest, TenantsSeeNothingOfEachOther) {
  Engine* const engine = Open();
  PrefixRequest mine = Document(200, false);
  mine.tenant = "mine";
  ASSERT_TRUE(Read(*engine, mine).ok());
  EXPECT_TRUE(engine->Prefixes("").empty());
  EXPECT_TRUE(engine->Prefixes("yours").empty());
  EXPECT_EQ(engine->Prefixes("mine").size(), 1u);
  EXPECT_EQ(engine->DropPrefix("yours", "doc").code(), absl::StatusCode::kNotFound);
  GenerateRequest question = Question(200, 3, false);
  question.tenant = "yours";
  EXPECT_EQ(CachedTokens(*engine, question), 0);
  question.tenant = "mine";
  EXPECT_EQ(CachedTokens(*engine, question), 192);
  PrefixRequest yours = Document(200, false);
  yours.tenant = "yours";
  EXPECT_TRUE(Read(*engine, yours).ok());  // a name of its own
  EXPECT_TRUE(engine->DropPrefix("mine", "doc").ok());
  EXPECT_TRUE(engine->DropPrefix("yours", "doc").ok());
}

// More than half of the pool: its own blocks count once. Beyond what leaves room for a full context
// it is refused.
TEST_F(PrefixCacheTest, APrefixMayTakeAllButOneContext) {
  EngineOptions options = TinyOptions();
  options.kv_memory_mb = 1;
  options.max_context = 300;
  while (!OpenEngine(options).ok()) ++options.kv_memory_mb;
  Engine* const engine = Open(options);
  const int64_t total = engine->load().kv_blocks_total, context = 6 * 10;  // layers x blocks
  ASSERT_GT(total, context);
  int kept = 0;
  absl::Status status;
  for (; status.ok(); ++kept) {
    PrefixRequest prefix = Document(64, false, std::to_string(kept));
    prefix.tokens[0] += kept;
    status = Read(*engine, prefix);
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(kept - 1, (total - context) / (6 * 2));
  EXPECT_TRUE(Ask(*engine, SomeRequest(280, 1))->finish_.status.ok());
  for (int i = 0; i < kept - 1; ++i) EXPECT_TRUE(engine->DropPrefix("", std::to_string(i)).ok());
}

TEST_F(PrefixCacheTest, ACancelledReadingLeavesItsNameFree) {
  Engine* const engine = Open();
  for (int i = 0; i < 5; ++i) {
    auto sink = std::make_shared<CollectingSink>();
    const auto id = engine->ReadPrefix(Document(1500, false), sink);
    if (!id.ok()) {
      absl::SleepFor(absl::Milliseconds(20));  // the name goes with the step after
      continue;
    }
    engine->Cancel(*id);
    sink->Wait();
  }
  absl::SleepFor(absl::Milliseconds(100));
  EXPECT_TRUE(Read(*engine, Document(100, false)).ok());
  EXPECT_TRUE(engine->DropPrefix("", "doc").ok());
}

TEST_F(PrefixCacheTest, PrefixesThatCannotBeAreRefused) {
  using Code = absl::StatusCode;
  Engine* const engine = Open();
  EXPECT_EQ(Read(*engine, Document(31, false)).code(), Code::kInvalidArgument);
  EXPECT_EQ(Read(*engine, Document(100, false, "")).code(), Code::kInvalidArgument);
  EXPECT_EQ(Read(*engine, Document(100, false, std::string(129, 'n'))).code(),
            Code::kInvalidArgument);
  PrefixRequest salted = Document(100, false);
  salted.cache_salt = std::string(kMaxCacheSalt + 1, 's');
  EXPECT_EQ(Read(*engine, salted).code(), Code::kInvalidArgument);
  EXPECT_TRUE(Read(*engine, Document(100, false)).ok());
  EXPECT_EQ(Read(*engine, Document(100, false)).code(), Code::kAlreadyExists);
  EXPECT_EQ(engine->DropPrefix("", "other").code(), Code::kNotFound);
  EXPECT_TRUE(engine->DropPrefix("", "doc").ok());
  EXPECT_TRUE(Read(*engine, Document(100, false)).ok());
  EXPECT_TRUE(engine->DropPrefix("", "doc").ok());

  EngineOptions options = TinyOptions();
  options.prefix_cache = false;
  EXPECT_EQ(Read(*Open(options), Document(100, false)).code(), Code::kFailedPrecondition);
}

TEST(PrefixKeys, DifferWithEachTokenAndAllBefore) {
  const std::vector<int32_t> prompt = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const auto keys = *PrefixKeys(prompt, 3, {}, 4);
  ASSERT_EQ(keys.size(), 2u);
  EXPECT_EQ(*PrefixKeys(absl::MakeConstSpan(prompt).first(8), 3, {}, 4), keys);
  for (size_t i = 0; i < 8; ++i) {
    std::vector<int32_t> other = prompt;
    other[i] = 77;
    const auto changed = *PrefixKeys(other, 3, {}, 4);
    EXPECT_EQ(changed[0] == keys[0], i >= 4) << i;
    EXPECT_FALSE(changed[1] == keys[1]) << i;
  }
  EXPECT_FALSE((*PrefixKeys(prompt, 4, {}, 4))[0] == keys[0]);
  const auto salted = [&](std::vector<std::string> salts) {
    return (*PrefixKeys(prompt, 3, salts, 4))[0];
  };
  EXPECT_FALSE(salted({"salt"}) == keys[0]);
  EXPECT_FALSE(salted({"a", "b"}) == salted({"ab", ""}));
  EXPECT_TRUE(PrefixKeys({}, 3, {}, 4)->empty());
}

}  // namespace
}  // namespace skipserve::testing
