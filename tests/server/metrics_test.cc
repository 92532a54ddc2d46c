// What Prometheus reads, and the one mapping of errors.
#include "server/metrics.h"

#include <new>
#include <stdexcept>

#include "gmock/gmock.h"
#include "grpcpp/support/status.h"
#include "gtest/gtest.h"
#include "server/engine_log.h"
#include "server/log.h"
#include "server/observers.h"
#include "server/status.h"

namespace skipserve {
namespace {

using testing::HasSubstr;

TEST(MetricsTest, EveryFamilyHasItsHelpAndType) {
  Metrics metrics;
  metrics.CallEnded("grpc", absl::OkStatus(), absl::Seconds(1));
  metrics.OnCanary({CanaryEvent::Outcome::kMeasured, "fast", 2000, 32, 29, 0.2, ""});
  metrics.OnLevelChange({LevelChange::Kind::kFellBack, {"fast", "off"}});
  const std::string text = metrics.Expose({});
  for (const char* family : {"skipserve_requests_total counter",
                             "skipserve_requests_queued gauge",
                             "skipserve_requests_running gauge",
                             "skipserve_prompt_tokens_total counter",
                             "skipserve_prompt_cached_tokens_total counter",
                             "skipserve_generated_tokens_total counter",
                             "skipserve_prompt_token_layers_total counter",
                             "skipserve_skipped_token_layers_total counter",
                             "skipserve_ttft_seconds histogram",
                             "skipserve_inter_token_seconds histogram",
                             "skipserve_queue_seconds histogram",
                             "skipserve_e2e_seconds histogram",
                             "skipserve_kv_blocks_used gauge",
                             "skipserve_kv_blocks_reserved gauge",
                             "skipserve_kv_blocks_total gauge",
                             "skipserve_kv_blocks_cached gauge",
                             "skipserve_prefix_cache_tokens gauge",
                             "skipserve_prefix_cache_evicted_blocks_total counter",
                             "skipserve_prefixes gauge",
                             "skipserve_step_duration_seconds histogram",
                             "skipserve_skip_ratio histogram",
                             "skipserve_canary_total counter",
                             "skipserve_canary_kl histogram",
                             "skipserve_canary_tokens_total counter",
                             "skipserve_canary_agreeing_tokens_total counter",
                             "skipserve_level_fallbacks_total counter",
                             "skipserve_level_fallback gauge"}) {
    EXPECT_THAT(text, HasSubstr("# TYPE " + std::string(family) + "\n"));
    const std::string name = std::string(family).substr(0, std::string(family).find(' '));
    EXPECT_THAT(text, HasSubstr("# HELP " + name + " "));
  }
}

TEST(MetricsTest, AnAnswerIsCountedByItsReport) {
  Metrics metrics;
  Report report;
  report.completion_tokens = 7;
  report.token_layers = 100;
  report.kv_token_layers = 40;
  report.skip_ratio = 0.55;
  report.ttft = absl::Seconds(2);
  report.queue = absl::Seconds(0.3);
  metrics.AnswerEnded(report);
  const std::string text = metrics.Expose({});
  EXPECT_THAT(text, HasSubstr("skipserve_generated_tokens_total 7\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_prompt_token_layers_total 100\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_skipped_token_layers_total 60\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_skip_ratio_bucket{le=\"0.5\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_skip_ratio_bucket{le=\"0.6\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_ttft_seconds_sum 2\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_queue_seconds_sum 0.3\n"));
}

TEST(MetricsTest, AnAnswerWithoutATokenHasNoFirstOne) {
  Metrics metrics;
  metrics.AnswerEnded(Report());
  EXPECT_THAT(metrics.Expose({}), HasSubstr("skipserve_ttft_seconds_count 0\n"));
}

TEST(MetricsTest, GaugesAreTheLoad) {
  Metrics metrics;
  EngineLoad load;
  load.waiting = 3;
  load.prefilling = 1;
  load.decoding = 4;
  load.kv_blocks_used = 10;
  load.kv_blocks_total = 20;
  const std::string text = metrics.Expose(load);
  EXPECT_THAT(text, HasSubstr("skipserve_requests_queued 3\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_requests_running 5\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_kv_blocks_used 10\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_kv_blocks_total 20\n"));
  metrics.OnStep(absl::Milliseconds(4), 2, 300);
  EXPECT_THAT(metrics.Expose({}), HasSubstr("skipserve_step_duration_seconds_sum 0.004\n"));
}

TEST(MetricsTest, ThePrefixCacheIsTheLoads) {
  Metrics metrics;
  EngineLoad load;
  load.kv_blocks_cached = 30;
  load.prefix_tokens = 640;
  load.prefixes = 2;
  load.prefix_evictions = 5;
  metrics.Expose(load);
  load.prefix_evictions = 9;
  metrics.Expose(load);
  load.prefix_evictions = 8;  // a load taken before the last one, told after it
  const std::string text = metrics.Expose(load);
  EXPECT_THAT(text, HasSubstr("skipserve_kv_blocks_cached 30\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_prefix_cache_tokens 640\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_prefixes 2\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_prefix_cache_evicted_blocks_total 9\n"));
}

TEST(MetricsTest, ACallWithoutAnswersHasNoTimeToTheLast) {
  Metrics metrics;
  metrics.CallEnded("/v1/prefixes", absl::OkStatus());
  const std::string text = metrics.Expose({});
  EXPECT_THAT(text, HasSubstr("{endpoint=\"/v1/prefixes\",outcome=\"ok\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_e2e_seconds_count 0\n"));
}

TEST(MetricsTest, CanariesAreCountedByLevelAndOutcome) {
  Metrics metrics;
  CanaryEvent event{CanaryEvent::Outcome::kMeasured, "fast", 2000, 32, 29, 0.2, ""};
  metrics.OnCanary(event);
  event = {CanaryEvent::Outcome::kMeasured, "fast", 3000, 8, 8, 0.01, ""};
  metrics.OnCanary(event);
  event = {CanaryEvent::Outcome::kDropped, "fast", 3000, 0, 0, 0, "why"};
  metrics.OnCanary(event);
  event = {CanaryEvent::Outcome::kFailed, "custom", 3000, 0, 0, 0, "why"};
  metrics.OnCanary(event);
  EngineLoad load;
  const std::string text = metrics.Expose(load);
  for (const char* line : {"skipserve_canary_total{level=\"fast\",outcome=\"measured\"} 2\n",
                           "skipserve_canary_total{level=\"fast\",outcome=\"dropped\"} 1\n",
                           "skipserve_canary_total{level=\"custom\",outcome=\"failed\"} 1\n",
                           "skipserve_canary_kl_count{level=\"fast\"} 2\n",
                           "skipserve_canary_kl_bucket{level=\"fast\",le=\"0.125\"} 1\n",
                           "skipserve_canary_kl_bucket{level=\"fast\",le=\"0.25\"} 2\n",
                           "skipserve_canary_tokens_total{level=\"fast\"} 40\n",
                           "skipserve_canary_agreeing_tokens_total{level=\"fast\"} 37\n",
                           "skipserve_level_fallback{level=\"fast\"} 0\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_THAT(text, testing::Not(HasSubstr("skipserve_canary_kl_count{level=\"custom\"}")));
  EXPECT_THAT(text, testing::Not(HasSubstr("skipserve_level_fallback{level=\"custom\"}")));

  const LevelFallback fallback = {"fast", "balanced", 0.31, 0.25, absl::Minutes(5)};
  metrics.OnLevelChange({LevelChange::Kind::kFellBack, fallback});
  metrics.OnLevelChange({LevelChange::Kind::kRetried, fallback});
  load.fallbacks = {fallback};
  EXPECT_THAT(metrics.Expose(load),
              HasSubstr("skipserve_level_fallbacks_total{level=\"fast\"} 1\n"));
  EXPECT_THAT(metrics.Expose(load), HasSubstr("skipserve_level_fallback{level=\"fast\"} 1\n"));
}

TEST(ObserversTest, AllAreToldOfCanariesAndLevelsAndTheLogSaysThem) {
  ASSERT_TRUE(SetUpLogging("info", "text").ok());
  Metrics metrics;
  EngineLog engine_log;
  Observers log({&engine_log, &metrics});
  testing::internal::CaptureStderr();
  log.OnStep(absl::Milliseconds(4), 1, 2);
  log.OnCanary({CanaryEvent::Outcome::kMeasured, "fast", 2000, 32, 29, 0.25, ""});
  log.OnCanary({CanaryEvent::Outcome::kDropped, "fast", 2000, 0, 0, 0, "queue full"});
  log.OnCanary({CanaryEvent::Outcome::kFailed, "fast", 2000, 0, 0, 0, "a step failed"});
  const LevelFallback fallback = {"fast", "balanced", 0.5, 0.25, absl::Minutes(5)};
  log.OnLevelChange({LevelChange::Kind::kFellBack, fallback});
  log.OnLevelChange({LevelChange::Kind::kRetried, fallback});
  log.OnLevelChange({LevelChange::Kind::kRecovered, fallback});
  const std::string text = testing::internal::GetCapturedStderr();
  for (const char* line :
       {" info canary level=\"fast\" prompt_tokens=2000 tokens=32 agreeing=29 kl=0.25\n",
        " info canary level=\"fast\" prompt_tokens=2000 dropped=\"queue full\"\n",
        " warning canary level=\"fast\" prompt_tokens=2000 failed=\"a step failed\"\n",
        " warning level_fell_back level=\"fast\" served_by=\"balanced\" canary_kl=0.5 "
        "canary_max_kl=0.25 retry_in_seconds=300.0\n",
        " info level_retried level=\"fast\"\n",
        " info level_recovered level=\"fast\" canary_kl=0.5 canary_max_kl=0.25\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  const std::string exposed = metrics.Expose({});
  EXPECT_THAT(exposed, HasSubstr("skipserve_step_duration_seconds_count 1\n"));
  EXPECT_THAT(exposed, HasSubstr("skipserve_canary_kl_count{level=\"fast\"} 1\n"));
  EXPECT_THAT(exposed, HasSubstr("skipserve_level_fallbacks_total{level=\"fast\"} 1\n"));
}

struct Expected {
  absl::Status status;
  grpc::StatusCode grpc_code;
  int http_code;
  const char* type;
  const char* outcome;
};

TEST(StatusTest, OneTableForAllFrontEnds) {
  const std::vector<Expected> table = {
      {absl::InvalidArgumentError("m"), grpc::StatusCode::INVALID_ARGUMENT, 400,
       "invalid_request_error", "invalid"},
      {absl::NotFoundError("m"), grpc::StatusCode::NOT_FOUND, 404, "not_found_error", "invalid"},
      {absl::ResourceExhaustedError("m"), grpc::StatusCode::RESOURCE_EXHAUSTED, 429,
       "rate_limit_error", "rejected"},
      {absl::UnavailableError("m"), grpc::StatusCode::UNAVAILABLE, 503, "server_error",
       "unavailable"},
      {absl::DeadlineExceededError("m"), grpc::StatusCode::DEADLINE_EXCEEDED, 504, "server_error",
       "deadline_exceeded"},
      {absl::CancelledError("m"), grpc::StatusCode::CANCELLED, 499, "invalid_request_error",
       "cancelled"},
      {absl::InternalError("m"), grpc::StatusCode::INTERNAL, 500, "server_error", "error"},
      {absl::UnknownError("m"), grpc::StatusCode::UNKNOWN, 500, "server_error", "error"},
      {absl::UnimplementedError("m"), grpc::StatusCode::UNIMPLEMENTED, 501, "server_error",
       "invalid"},
      {absl::UnauthenticatedError("m"), grpc::StatusCode::UNAUTHENTICATED, 401,
       "authentication_error", "invalid"},
      {absl::PermissionDeniedError("m"), grpc::StatusCode::PERMISSION_DENIED, 403,
       "permission_error", "invalid"},
  };
  for (const Expected& row : table) {
    EXPECT_EQ(ToGrpcStatus(row.status).error_code(), row.grpc_code) << row.status;
    EXPECT_EQ(ToGrpcStatus(row.status).error_message(), "m");
    EXPECT_EQ(HttpStatusCode(row.status), row.http_code) << row.status;
    EXPECT_EQ(OpenAiErrorType(row.http_code), row.type) << row.status;
    EXPECT_EQ(OutcomeLabel(row.status), row.outcome) << row.status;
  }
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_EQ(HttpStatusCode(absl::OkStatus()), 200);
  EXPECT_EQ(OutcomeLabel(absl::OkStatus()), "ok");
  EXPECT_EQ(ToGrpcStatus(absl::InternalError("caf\xc3\xa9")).error_message(), "caf??");
}

TEST(StatusTest, HttpErrorsFindTheirWayBack) {
  EXPECT_EQ(StatusFromHttp(400, "m").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StatusFromHttp(404, "m").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(StatusFromHttp(429, "m").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(StatusFromHttp(503, "m").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(OutcomeLabel(StatusFromHttp(415, "m")), "invalid");
  EXPECT_EQ(OutcomeLabel(StatusFromHttp(500, "m")), "error");
  EXPECT_EQ(OutcomeLabel(StatusFromHttp(507, "m")), "error");
}

TEST(StatusTest, WhatIsThrownGoesToTheLogAndNotToTheClient) {
  ASSERT_TRUE(SetUpLogging("info", "text").ok());
  testing::internal::CaptureStderr();
  const absl::Status memory = StatusFromException(std::bad_alloc(), "test");
  const absl::Status fault = StatusFromException(std::runtime_error("secret"), "test");
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("secret"));
  EXPECT_EQ(memory.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(fault.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(std::string(fault.message()).find("secret"), std::string::npos);
}

}  // namespace
}  // namespace skipserve
