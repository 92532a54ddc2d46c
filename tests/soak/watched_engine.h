// An engine that keeps a ledger of what another does: every request it took ends exactly once, and
// nothing is said after that. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/engine.h"

namespace skipserve::soak {

struct Ledger {
  int64_t taken = 0;
  std::map<std::string, int64_t> ended;  // by status
  int64_t ended_twice = 0;
  int64_t said_after_end = 0;
  int64_t never_ended = 0;
  int64_t miscounted = 0;      // reports with other tokens than were given out
  int64_t cancelled_late = 0;  // went on for more than a step after they were cancelled
};

class WatchedEngine : public Engine {
 public:
  explicit WatchedEngine(Engine& engine) : engine_(engine) {}

  absl::StatusOr<RequestId> Submit(GenerateRequest request,
                                   std::shared_ptr<ResponseSink> sink) override {
    return Taken(sink, [&](std::shared_ptr<ResponseSink> watched) {
      return engine_.Submit(std::move(request), std::move(watched));
    });
  }
  absl::StatusOr<RequestId> ReadPrefix(PrefixRequest request,
                                       std::shared_ptr<ResponseSink> sink) override {
    return Taken(sink, [&](std::shared_ptr<ResponseSink> watched) {
      return engine_.ReadPrefix(std::move(request), std::move(watched));
    });
  }
  void Cancel(RequestId id) override {
    engine_.Cancel(id);
    absl::MutexLock lock(&book_->mutex);
    if (const auto sink = book_->sinks.find(id); sink != book_->sinks.end()) {
      sink->second->tokens_after_cancel_ = 0;
    }
  }
  void Drain(absl::Duration grace) override { engine_.Drain(grace); }
  std::vector<PrefixInfo> Prefixes(absl::string_view tenant) const override {
    return engine_.Prefixes(tenant);
  }
  absl::Status DropPrefix(absl::string_view tenant, absl::string_view name) override {
    return engine_.DropPrefix(tenant, name);
  }
  absl::Duration RetryAfter() const override { return engine_.RetryAfter(); }
  EngineLoad load() const override { return engine_.load(); }
  const ModelInfo& info() const override { return engine_.info(); }
  const Tokenizer& tokenizer() const override { return engine_.tokenizer(); }
  const ChatTemplate* chat_template() const override { return engine_.chat_template(); }

  Ledger ledger() const {
    absl::MutexLock lock(&book_->mutex);
    return book_->ledger;
  }

 private:
  class Sink;
  // Sinks outlive the engine where a front end still holds them.
  struct Book {
    absl::Mutex mutex;
    Ledger ledger ABSL_GUARDED_BY(mutex);
    std::map<RequestId, Sink*> sinks ABSL_GUARDED_BY(mutex);  // of those that have not ended
  };

  class Sink : public ResponseSink {
   public:
    Sink(std::shared_ptr<Book> book, std::shared_ptr<ResponseSink> inner)
        : book_(std::move(book)), inner_(std::move(inner)) {}
    ~Sink() override {
      absl::MutexLock lock(&book_->mutex);
      book_->ledger.never_ended += taken_ && !ended_;
    }
    void Take(RequestId id) {
      absl::MutexLock lock(&book_->mutex);
      taken_ = true;
      ++book_->ledger.taken;
      id_ = id;
      if (!ended_) book_->sinks.emplace(id, this);
    }
    void OnToken(TokenEvent event) override {
      {
        absl::MutexLock lock(&book_->mutex);
        book_->ledger.said_after_end += ended_;
        ++tokens_;
        // The step that was under way gives one; what follows a second one was not stopped.
        if (tokens_after_cancel_ >= 0) ++tokens_after_cancel_;
      }
      inner_->OnToken(std::move(event));
    }
    void OnFinish(FinishEvent event) override {
      {
        absl::MutexLock lock(&book_->mutex);
        Ledger& ledger = book_->ledger;
        ledger.ended_twice += ended_;
        ended_ = true;
        book_->sinks.erase(id_);
        ledger.cancelled_late += tokens_after_cancel_ > 1;
        ++ledger.ended[absl::StatusCodeToString(event.status.code())];
        // The token that ends an answer is drawn, and not given out.
        const int64_t kept = event.report.completion_tokens - tokens_;
        ledger.miscounted += kept != 0 && kept != 1;
      }
      inner_->OnFinish(std::move(event));
    }

    int64_t tokens_after_cancel_ = -1;  // -1: not cancelled; guarded by the book's mutex

   private:
    const std::shared_ptr<Book> book_;
    const std::shared_ptr<ResponseSink> inner_;
    RequestId id_ = 0;
    bool taken_ = false;
    bool ended_ = false;
    int64_t tokens_ = 0;
  };

  template <typename Call>
  absl::StatusOr<RequestId> Taken(std::shared_ptr<ResponseSink> sink, Call call) {
    auto watched = std::make_shared<Sink>(book_, std::move(sink));
    absl::StatusOr<RequestId> id = call(watched);
    if (id.ok()) watched->Take(*id);
    return id;
  }

  Engine& engine_;
  const std::shared_ptr<Book> book_ = std::make_shared<Book>();
};

}  // namespace skipserve::soak
