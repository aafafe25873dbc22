// The gate of a server with keys: who is asking (key_ring.h), what the key may still use (quota.h), and whether there is room for it at all.
// Contract: as admission.h says: any thread, from memory, at once. Room is bounded in requests, priced tokens and bytes; what was let in is all that the
// server holds. A key may hold at most `key_share` times the room that is left, so one that floods always leaves some to the others. Every refusal that
// waiting can cure says for how long: from the key's buckets, or from how fast room has become free lately and how many were sent away before.
// Next: tick() is the one member that touches the disk; the thread of start() calls it.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "server/admission.h"
#include "server/key_ring.h"
#include "server/quota.h"

namespace sluice::server {

struct GateOptions {
  uint64_t requests_max = 264;           // let in and not finished, whether they run or wait
  uint64_t tokens_max = 1u << 20;        // of their prices
  uint64_t bytes_max = 256ull << 20;     // of their bodies
  double flex_share = 0.5;               // of the room that flex requests may fill; the rest is kept for the others
  double on_demand_share = 0.9;
  double batch_share = 0.25;
  double key_share = 4;                  // see above; only when keys exist
  uint64_t queue_deadline_ms = 0;        // 0: none
  uint64_t flex_queue_deadline_ms = 10'000;
  uint64_t retry_after_s_max = 300;
  std::function<uint64_t()> now_us;      // monotonic; empty: the machine's
  std::function<int64_t()> unix_s;       // for dates in the key file; empty: the machine's
  std::function<void(const std::string&)> say;  // a sentence for the log when something about the key file changes; may be empty
};

inline constexpr std::array<std::string_view, 6> kRefusalReasons = {"unauthorized", "forbidden", "key_quota", "too_large", "flex_full", "capacity"};

// A snapshot for metrics and the admin routes.
struct GateStatistics {
  uint64_t requests = 0, tokens = 0, bytes = 0;  // let in and not finished
  std::array<uint64_t, kRefusalReasons.size()> refused{};
  uint64_t keys_valid = 0;
  std::string trouble;
};

struct KeyStanding {
  Key key;
  KeyUse use;
  uint64_t running = 0;
  std::array<QuotaStanding, kLimitKinds> limits;
};

class KeyGate final : public Gate {
 public:
  KeyGate(std::filesystem::path key_file, GateOptions options);
  ~KeyGate() override;  // writes down what was used

  bool closed() const override;
  Authenticated authenticate(const Credentials& credentials, bool admin_route) override;
  // Who a key is now, for work that goes on without a request; nobody once it is revoked. key 0: anyone, while no keys exist.
  std::optional<Identity> identity_of(uint32_t key);
  Admission admit(const Identity& identity, const Price& price) override;
  void finished(const Identity& identity, uint64_t ticket, const Usage& usage) override;
  std::vector<Header> headers(const Identity& identity) override;

  void set_tokens_max(uint64_t tokens);  // when the model's context is known
  void start();   // a thread that ticks four times a second
  void tick();    // keys that changed on disk take effect; once a minute the use of keys is written down
  KeyRing& ring() { return ring_; }
  GateStatistics statistics() const;
  std::vector<KeyStanding> standings();

 private:
  struct KeyState {
    KeyState(const KeyLimits& limits, uint64_t now_us) : quota(limits, now_us) {}
    Key key;
    Quota quota;
    KeyUse use;
    uint64_t requests = 0, tokens = 0, bytes = 0;  // let in and not finished
    bool use_changed = false;
  };
  struct Ticket {
    std::shared_ptr<KeyState> state;
    uint64_t tokens = 0, bytes = 0, since_us = 0;
    bool quota = false;
  };
  // How fast something has been freed lately: an average that forgets over half a minute.
  struct Rate {
    double per_s = 0;
    uint64_t at_us = 0, since_us = 0;
    void add(double amount, uint64_t now_us);
    double now(uint64_t now_us) const;
  };
  enum class Reason : uint8_t { kUnauthorized, kForbidden, kKeyQuota, kTooLarge, kFlexFull, kCapacity };

  Refusal refuse(Reason reason, int status, std::string code, std::string message, uint64_t retry_after_s);
  Refusal refuse_quota(const KeyState& state, const QuotaVerdict& verdict, uint64_t price);
  Refusal room_for(const KeyState& state, const Price& price, engine::Tier tier, uint64_t now_us);
  double share_of_tier(engine::Tier tier) const;
  uint64_t room_wait_s(double requests, double tokens, double bytes, uint64_t now_us);
  void apply(const KeyTable& table, const std::vector<KeyUse>* uses);
  std::shared_ptr<KeyState> state_of(const Identity& identity);
  void save_uses();

  GateOptions options_;
  KeyRing ring_;
  mutable std::mutex lock_;                                        // around everything below
  std::shared_ptr<const KeyTable> table_;
  std::unordered_map<uint32_t, std::shared_ptr<KeyState>> states_;  // by key number
  std::shared_ptr<KeyState> anyone_;                               // while there are no keys
  std::unordered_map<uint64_t, Ticket> tickets_;
  uint64_t tickets_given_ = 0;
  uint64_t requests_ = 0, tokens_ = 0, bytes_ = 0;
  Rate freed_requests_, freed_tokens_, freed_bytes_;
  double sent_away_ = 0;                                           // told to come back and not yet made room for
  uint64_t request_us_mean_ = 0;
  std::array<uint64_t, kRefusalReasons.size()> refused_{};

  std::mutex tick_lock_;  // around tick() and the two below; taken before lock_
  std::string trouble_said_;
  uint64_t saved_us_ = 0;

  std::mutex thread_lock_;
  std::condition_variable thread_wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace sluice::server
