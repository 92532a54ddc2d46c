// The routes that tell how the server and its model are: help, health, readiness, load, metrics,
// models.
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/http_router.h"
#include "server/openai_models.h"

namespace skipserve {
namespace {

// Not a reason to be called unready: the requests are served, by gentler levels.
nlohmann::ordered_json FallbacksJson(const EngineLoad& load) {
  auto json = nlohmann::ordered_json::array();
  for (const LevelFallback& fallback : load.fallbacks) {
    json.push_back({{"level", fallback.level},
                    {"served_by", fallback.served_by},
                    {"canary_kl", fallback.kl},
                    {"canary_max_kl", fallback.max_kl},
                    {"retry_in_seconds", absl::ToDoubleSeconds(fallback.retry_in)}});
  }
  return json;
}

// Between two tokens of one answer, over all answers of the last seconds.
nlohmann::ordered_json GapsJson(RecentGaps& gaps) {
  const GapFigures figures = gaps.Figures(absl::Now());
  return {{"window_seconds", absl::ToDoubleSeconds(gaps.window())},
          {"count", figures.count},
          {"median_seconds", absl::ToDoubleSeconds(figures.median)},
          {"p99_seconds", absl::ToDoubleSeconds(figures.p99)},
          {"max_seconds", absl::ToDoubleSeconds(figures.longest)}};
}

}  // namespace

HttpReply HandleHelp(HttpContext& context, const HttpRequest&) {
  std::string text = absl::StrCat("SkipServe, serving ", context.options.served_name, "\n\n");
  for (const HttpRoute& route : HttpRoutes()) {
    absl::StrAppend(&text, route.method, " ", route.path, "\n    ", route.help, "\n");
  }
  return TextReply(200, std::move(text));
}

HttpReply HandleHealth(HttpContext&, const HttpRequest&) {
  return JsonReply(200, {{"status", "ok"}});
}

HttpReply HandleReady(HttpContext& context, const HttpRequest&) {
  const EngineLoad load = context.engine.load();
  if (load.draining || context.stopping) {
    return ErrorReply(ApiErrorFor(503, "The server is shutting down."));
  }
  if (!context.ready) return ErrorReply(ApiErrorFor(503, "The server is not ready."));
  return JsonReply(200, {{"status", "ready"}, {"level_fallbacks", FallbacksJson(load)}});
}

HttpReply HandleLoad(HttpContext& context, const HttpRequest&) {
  const EngineLoad load = context.engine.load();
  return JsonReply(200, {{"waiting", load.waiting},
                         {"prefilling", load.prefilling},
                         {"decoding", load.decoding},
                         {"kv_blocks_used", load.kv_blocks_used},
                         {"kv_blocks_reserved", load.kv_blocks_reserved},
                         {"kv_blocks_total", load.kv_blocks_total},
                         {"kv_blocks_cached", load.kv_blocks_cached},
                         {"prefix_tokens", load.prefix_tokens},
                         {"prefix_evictions", load.prefix_evictions},
                         {"prefixes", load.prefixes},
                         {"kv_blocks_by_layer", load.kv_blocks_by_layer},
                         {"draining", load.draining},
                         {"token_gaps", GapsJson(context.metrics.recent_gaps())},
                         {"level_fallbacks", FallbacksJson(load)}});
}

HttpReply HandleMetrics(HttpContext& context, const HttpRequest&) {
  HttpReply reply = TextReply(200, context.metrics.Expose(context.engine.load()));
  reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
  return reply;
}

HttpReply HandleModels(HttpContext& context, const HttpRequest&) {
  return JsonReply(
      200, ModelListJson(context.options.served_name, context.created, context.engine.info(),
                         context.engine.chat_template() != nullptr));
}

HttpReply HandleModel(HttpContext& context, const HttpRequest& request) {
  if (!context.IsModelName(request.argument)) {
    return ErrorReply(context.NoSuchModel(request.argument));
  }
  return JsonReply(200,
                   ModelJson(context.options.served_name, context.created, context.engine.info(),
                             context.engine.chat_template() != nullptr));
}

}  // namespace skipserve
