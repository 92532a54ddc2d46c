#include "server/http_server.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/host_port.h"
#include "server/http_connection.h"
#include "server/http_context.h"
#include "server/log.h"

namespace skipserve {

using asio::ip::tcp;

namespace {

constexpr Clock::duration kAcceptRetry = std::chrono::milliseconds(50);
// Clients too many that are told so at once; those beyond are closed without a word.
constexpr int kMaxRefusals = 64;

}  // namespace

class HttpServer::Impl {
 public:
  Impl(Engine& engine, Metrics& metrics, HttpOptions options)
      : context_(engine, metrics, std::move(options)),
        work_(io_.get_executor()),
        accept_strand_(asio::make_strand(io_)),
        acceptor_(accept_strand_) {}

  absl::Status Listen();
  void Run();
  void Stop(absl::Duration grace);
  uint16_t port() const { return port_; }
  void set_ready(bool ready) { context_.ready = ready; }

 private:
  asio::awaitable<void> Accept();
  void Admit(tcp::socket socket);
  void Forget(const std::shared_ptr<HttpConnection>& connection, bool served);
  // True once no connection is left.
  bool AwaitNone(absl::Duration timeout);
  template <typename F>
  void ForEach(F f);

  HttpContext context_;
  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  asio::strand<asio::io_context::executor_type> accept_strand_;
  tcp::acceptor acceptor_;
  uint16_t port_ = 0;
  std::vector<std::thread> threads_;
  absl::Mutex mutex_;
  std::set<std::shared_ptr<HttpConnection>> connections_ ABSL_GUARDED_BY(mutex_);
  int served_ ABSL_GUARDED_BY(mutex_) = 0;  // of connections_, those that are not being refused
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

absl::Status HttpServer::Impl::Listen() {
  const HttpOptions& options = context_.options;
  ErrorCode ec;
  const auto failed = [&](const char* what) {
    return absl::UnavailableError(absl::StrCat(
        "cannot ", what, " ", HostPort(options.host, options.port), ": ", ec.message()));
  };
  tcp::resolver resolver(io_);
  const auto found =
      resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, ec);
  if (ec || found.empty()) return failed("resolve");
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor_.open(endpoint.protocol(), ec);
  if (ec) return failed("open");
  acceptor_.set_option(tcp::acceptor::reuse_address(true), ec);
  acceptor_.bind(endpoint, ec);
  if (ec) return failed("bind");
  acceptor_.listen(asio::socket_base::max_listen_connections, ec);
  if (ec) return failed("listen on");
  port_ = acceptor_.local_endpoint(ec).port();
  return absl::OkStatus();
}

void HttpServer::Impl::Run() {
  asio::co_spawn(accept_strand_, Accept(), [](const std::exception_ptr&) {});
  for (int i = 0; i < context_.options.io_threads; ++i) {
    threads_.emplace_back([this] { io_.run(); });
  }
}

asio::awaitable<void> HttpServer::Impl::Accept() {
  asio::steady_timer pause(accept_strand_);
  while (!context_.stopping) {
    ErrorCode ec;
    tcp::socket socket = co_await acceptor_.async_accept(
        asio::make_strand(io_), asio::redirect_error(asio::use_awaitable, ec));
    if (!ec) {
      Admit(std::move(socket));
    } else if (!context_.stopping) {
      // Out of file descriptors, most likely: connections that end will free some.
      LogEvent(spdlog::level::warn, {{"event", "http_accept_failed"}, {"error", ec.message()}});
      pause.expires_after(kAcceptRetry);
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ec));
    }
  }
}

void HttpServer::Impl::Admit(tcp::socket socket) {
  const auto connection = std::make_shared<HttpConnection>(context_, std::move(socket));
  bool room = false;
  {
    absl::MutexLock lock(&mutex_);
    room = served_ < context_.options.max_connections;
    const int refused = static_cast<int>(connections_.size()) - served_;
    if (closed_ || (!room && refused >= kMaxRefusals)) return;  // its destructor closes it
    if (room) ++served_;
    connections_.insert(connection);
  }
  asio::co_spawn(connection->executor(), connection->Run(room),
                 [this, connection, room](const std::exception_ptr& failure) {
                   if (failure) {
                     LogEvent(spdlog::level::err, {{"event", "http_connection_failed"}});
                     connection->Abort();
                   }
                   Forget(connection, room);
                 });
}

void HttpServer::Impl::Forget(const std::shared_ptr<HttpConnection>& connection, bool served) {
  absl::MutexLock lock(&mutex_);
  if (served) --served_;
  connections_.erase(connection);
}

bool HttpServer::Impl::AwaitNone(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  const auto none = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return connections_.empty(); };
  return mutex_.AwaitWithTimeout(absl::Condition(&none), timeout);
}

template <typename F>
void HttpServer::Impl::ForEach(F f) {
  absl::MutexLock lock(&mutex_);
  for (const auto& connection : connections_) f(*connection);
}

void HttpServer::Impl::Stop(absl::Duration grace) {
  if (threads_.empty()) return;
  context_.stopping = true;
  asio::post(accept_strand_, [this] {
    ErrorCode ignored;
    acceptor_.close(ignored);
  });
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }
  ForEach([](HttpConnection& connection) { connection.RequestStop(); });
  if (!AwaitNone(grace)) {
    ForEach([](HttpConnection& connection) { connection.Abort(); });
    AwaitNone(absl::InfiniteDuration());
  }
  // Not io_.stop(): what is still posted holds objects, and runs to its end.
  work_.reset();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  context_.workers.join();
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() { Stop(absl::ZeroDuration()); }

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(Engine& engine, Metrics& metrics,
                                                              HttpOptions options) {
  auto impl = std::make_unique<Impl>(engine, metrics, std::move(options));
  const absl::Status listening = impl->Listen();
  if (!listening.ok()) return listening;
  impl->Run();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

uint16_t HttpServer::port() const { return impl_->port(); }
void HttpServer::SetReady(bool ready) { impl_->set_ready(ready); }
void HttpServer::Stop(absl::Duration grace) { impl_->Stop(grace); }

}  // namespace skipserve
