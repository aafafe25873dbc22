// Does the lines of batches beside live traffic: each is a request through the same route as if a client had sent it, at the lowest priority, a few at a
// time, and none is begun while others wait. Contract: an answer is on disk before its line counts as done, so a killed process goes on where it was and
// every line is answered once; what is refused for want of room is asked again later. One thread of its own. Next: batch_line.h, kept_batches.h.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "server/api.h"
#include "server/batch_line.h"
#include "server/kept.h"
#include "server/router.h"

namespace sluice::server {

class LineExchange;

// Where lines' exchanges report; outlives the runner, because the engine may be late.
struct LineInbox {
  std::mutex mutex;
  std::condition_variable came;
  std::vector<std::shared_ptr<LineExchange>> woken;
  bool stopping = false;
};

class BatchRunner {
 public:
  // Who a key is now (key 0: anyone, while no keys exist); nobody once it has been revoked.
  using IdentityOf = std::function<std::optional<Identity>(uint32_t tenant, uint32_t key)>;
  // All outlive it; `router` has every route.
  BatchRunner(const Api& api, Kept& kept, const Router& router, IdentityOf identity_of);
  ~BatchRunner();  // stop()
  void start();
  // Lines in flight are left without an answer.
  void stop();

 private:
  struct Waiting {
    BatchSpan span;
    uint64_t not_before_ms = 0;
  };
  struct Active {
    Batch batch;
    uint64_t fetched_to = 0;           // lines behind this one are still in the ledger only
    bool fetched_all = false;
    std::deque<Waiting> waiting;
    uint32_t running = 0;
  };
  struct Running {
    int64_t batch = 0;
    BatchSpan span;
    std::string custom_id;
    std::shared_ptr<LineExchange> exchange;
  };

  void run();
  void take_in();
  void finished(Running& line);
  bool save();
  void refresh();
  void advance(Active& active);
  Refused validate(Active& active);
  Refused end(Active& active, std::string_view status, std::string_view code, std::string_view sentence);
  void abandon(int64_t batch);
  bool begin_one();
  bool begin_line(Active& active, const BatchSpan& span, uint64_t now_ms);
  Refused read_span(const Batch& batch, const BatchSpan& span, std::string& out);
  void trouble(const ApiError& error);

  const Api& api_;
  Kept& kept_;
  const Router& router_;
  const IdentityOf identity_of_;
  const uint32_t lines_at_once_;
  const std::shared_ptr<LineInbox> inbox_ = std::make_shared<LineInbox>();
  std::vector<std::unique_ptr<Active>> active_;
  std::vector<Running> running_;
  std::vector<BatchAnswer> unsaved_;
  size_t turn_ = 0;                    // whose line comes next
  uint64_t hold_until_ms_ = 0, expire_at_ms_ = 0;
  std::string last_trouble_;
  std::thread thread_;
};

}  // namespace sluice::server
