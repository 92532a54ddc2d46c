// Runs a function on another executor's threads and comes back to the caller's strand with its
// result.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <type_traits>
#include <utility>

namespace skipserve {

template <typename F>
boost::asio::awaitable<std::invoke_result_t<F>> CallAsCoroutine(F f) {
  co_return f();
}

// What `f` refers to must live until this has been awaited. Its exceptions come out here.
template <typename F>
boost::asio::awaitable<std::invoke_result_t<F>> RunOn(boost::asio::thread_pool& pool, F f) {
  co_return co_await boost::asio::co_spawn(pool.get_executor(), CallAsCoroutine<F>(std::move(f)),
                                           boost::asio::use_awaitable);
}

}  // namespace skipserve
