// A few threads and a bounded queue for handlers that take longer than microseconds.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace sluice::server {

class WorkerPool {
 public:
  WorkerPool(uint32_t threads, uint32_t queued_max);
  ~WorkerPool();  // what is queued is dropped, what runs is waited for
  // False, and nothing happens, when the queue is full.
  bool post(std::function<void()> work);

 private:
  void run();
  const uint32_t queued_max_;
  std::mutex mutex_;
  std::condition_variable came_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace sluice::server
