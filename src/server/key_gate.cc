#include "server/key_gate.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>

#include "platform/clock.h"

namespace sluice::server {
namespace {

using engine::Tier;

constexpr double kRateMemoryS = 30;
constexpr uint64_t kTickMs = 250;
constexpr uint64_t kSaveEveryUs = 60'000'000;

uint64_t saturated(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

uint64_t seconds_up(uint64_t us) { return us / 1'000'000 + (us % 1'000'000 != 0); }

// "7.66s", "2m59.56s", "23h5m0s": as the field's clients read it.
std::string reset_text(uint64_t us) {
  const uint64_t hours = us / 3'600'000'000;
  const uint64_t minutes = us / 60'000'000 % 60;
  const double seconds = static_cast<double>(us % 60'000'000 / 10'000) / 100;
  if (hours > 0) return fmt::format("{}h{}m{}s", hours, minutes, seconds);
  return minutes > 0 ? fmt::format("{}m{}s", minutes, seconds) : fmt::format("{}s", seconds);
}

Tier best_tier(KeyTier tier) {
  switch (tier) {
    case KeyTier::kFlex: return Tier::kFlex;
    case KeyTier::kOnDemand: return Tier::kOnDemand;
    case KeyTier::kPerformance: return Tier::kPerformance;
  }
  return Tier::kOnDemand;
}

std::string_view tier_name(Tier tier) {
  switch (tier) {
    case Tier::kPerformance: return "performance";
    case Tier::kOnDemand: return "on_demand";
    case Tier::kFlex: return "flex";
    case Tier::kBatch: return "batch";
  }
  return "on_demand";
}

uint64_t share_of(uint64_t whole, double share) { return std::max<uint64_t>(1, static_cast<uint64_t>(static_cast<double>(whole) * share)); }

}  // namespace

void KeyGate::Rate::add(double amount, uint64_t now_us) {
  if (at_us == 0) since_us = at_us = now_us;
  if (now_us > at_us) {
    per_s *= std::exp(-static_cast<double>(now_us - at_us) / 1e6 / kRateMemoryS);
    at_us = now_us;
  }
  per_s += amount / kRateMemoryS;
}

// The sum over a memory that is not full yet stands for the time that it has seen.
double KeyGate::Rate::now(uint64_t now_us) const {
  if (at_us == 0) return 0;
  const double silent = now_us > at_us ? std::exp(-static_cast<double>(now_us - at_us) / 1e6 / kRateMemoryS) : 1;
  const double seen_s = std::max(1.0, static_cast<double>(std::max(now_us, at_us) - since_us) / 1e6);
  return per_s * silent / (1 - std::exp(-seen_s / kRateMemoryS));
}

KeyGate::KeyGate(std::filesystem::path key_file, GateOptions options) : options_(std::move(options)), ring_(std::move(key_file)) {
  if (!options_.now_us) options_.now_us = [] { return platform::now_ns() / 1000; };
  if (!options_.unix_s) options_.unix_s = [] { return static_cast<int64_t>(std::time(nullptr)); };
  if (!options_.say) options_.say = [](const std::string&) {};
  anyone_ = std::make_shared<KeyState>(KeyLimits{}, options_.now_us());
  anyone_->key.tier = KeyTier::kPerformance;
  saved_us_ = options_.now_us();
  const std::shared_ptr<const KeyTable> table = ring_.table();
  Result<std::vector<KeyUse>> uses = std::vector<KeyUse>{};
  if (!table->keys.empty()) uses = ring_.uses();
  if (!uses.ok()) options_.say(uses.error().message);
  table_ = table;
  apply(*table, uses.ok() ? &*uses : nullptr);
  trouble_said_ = ring_.trouble();
  if (!trouble_said_.empty()) options_.say(trouble_said_);
}

KeyGate::~KeyGate() {
  if (thread_.joinable()) {
    {
      const std::lock_guard lock(thread_lock_);
      stopping_ = true;
    }
    thread_wake_.notify_all();
    thread_.join();
  }
  save_uses();
}

void KeyGate::set_tokens_max(uint64_t tokens) {
  const std::lock_guard lock(lock_);
  options_.tokens_max = tokens;
}

void KeyGate::start() {
  thread_ = std::thread([this] {
    std::unique_lock lock(thread_lock_);
    while (!thread_wake_.wait_for(lock, std::chrono::milliseconds(kTickMs), [this] { return stopping_; })) {
      lock.unlock();
      tick();
      lock.lock();
    }
  });
}

void KeyGate::tick() {
  const std::lock_guard tick_lock(tick_lock_);
  ring_.poll();
  const std::shared_ptr<const KeyTable> table = ring_.table();
  bool is_new = false;
  {
    const std::lock_guard lock(lock_);
    is_new = table_ != table;
    table_ = table;
    if (is_new) apply(*table, nullptr);
  }
  std::string trouble = ring_.trouble();
  if (trouble != trouble_said_) options_.say(trouble.empty() ? "the key database can be read again" : trouble);
  else if (is_new) options_.say(fmt::format("keys read again: {} valid", table->valid_by_id.size()));
  trouble_said_ = std::move(trouble);
  const uint64_t now_us = options_.now_us();
  if (now_us - std::min(now_us, saved_us_) < kSaveEveryUs) return;
  saved_us_ = now_us;
  save_uses();
}

void KeyGate::apply(const KeyTable& table, const std::vector<KeyUse>* uses) {
  const uint64_t now_us = options_.now_us();
  std::unordered_map<uint32_t, std::shared_ptr<KeyState>> states;
  for (const auto& [id, index] : table.valid_by_id) {
    const Key& key = table.keys[index];
    const auto known = states_.find(key.number);
    std::shared_ptr<KeyState> state = known == states_.end() ? std::make_shared<KeyState>(key.limits, now_us) : known->second;
    if (known != states_.end() && !(state->quota.limits() == key.limits)) state->quota.set_limits(key.limits, now_us);
    state->key = key;
    state->use.number = key.number;
    states.emplace(key.number, std::move(state));
  }
  states_ = std::move(states);
  if (uses == nullptr) return;
  for (const KeyUse& use : *uses) {
    const auto at = states_.find(use.number);
    if (at == states_.end()) continue;
    at->second->use = use;
    const int64_t away_s = std::max<int64_t>(0, options_.unix_s() - use.at_s);
    at->second->quota.restore(use.day, static_cast<uint64_t>(std::min<int64_t>(away_s, 86'400)) * 1'000'000);
  }
}

void KeyGate::save_uses() {
  std::vector<KeyUse> uses;
  {
    const std::lock_guard lock(lock_);
    const uint64_t now_us = options_.now_us();
    for (const auto& [number, state] : states_) {
      if (!state->use_changed) continue;
      state->use_changed = false;
      state->use.day = state->quota.day_use(now_us);
      state->use.at_s = options_.unix_s();
      uses.push_back(state->use);
    }
  }
  if (uses.empty()) return;
  const Status saved = ring_.save_uses(uses);
  if (!saved.ok()) options_.say(saved.error().message + "; a restart will not know what keys have used today");
}

bool KeyGate::closed() const {
  const std::lock_guard lock(lock_);
  return table_->closed();
}

Authenticated KeyGate::authenticate(const Credentials& credentials, bool admin_route) {
  Authenticated out;
  std::shared_ptr<const KeyTable> table;
  {
    const std::lock_guard lock(lock_);
    table = table_;
  }
  if (!table->closed()) {
    if (admin_route && !credentials.loopback) {
      out.refusal = refuse(Reason::kUnauthorized, 401, "missing_api_key",
                           "admin routes need a key with the admin flag (`sluice keys create --name N --admin`)", 0);
      return out;
    }
    out.identity.key_id = "open";
    out.identity.name = "anyone";
    out.identity.admin = admin_route;
    out.identity.limits = anyone_;
    return out;
  }
  if (table->unreadable) {
    out.refusal = refuse(Reason::kUnauthorized, 503, "keys_unavailable", "the server cannot read its key database and refuses every request until it can", 5);
    return out;
  }
  const StoredKey* key = table->find(credentials.secret);
  if (key == nullptr) {
    const bool missing = credentials.secret.empty();
    out.refusal = refuse(Reason::kUnauthorized, 401, missing ? "missing_api_key" : "invalid_api_key",
                         missing ? "no API key: send it as 'Authorization: Bearer KEY'" : "the API key is unknown or revoked", 0);
    return out;
  }
  if (admin_route && !key->admin) {
    out.refusal = refuse(Reason::kForbidden, 403, "not_admin", fmt::format("key '{}' has no admin flag", key->name), 0);
    return out;
  }
  out.identity = {.tenant = key->number, .key = key->number, .key_id = key->id, .name = key->name, .admin = key->admin, .limits = nullptr};
  const std::lock_guard lock(lock_);
  const auto state = states_.find(key->number);
  if (state != states_.end()) {
    out.identity.limits = state->second;
    return out;
  }
  out.identity = {};  // revoked between the two locks
  ++refused_[static_cast<size_t>(Reason::kUnauthorized)];
  out.refusal = {401, "invalid_api_key", "the API key is unknown or revoked", 0};
  return out;
}

std::optional<Identity> KeyGate::identity_of(uint32_t key) {
  const std::lock_guard lock(lock_);
  Identity out;
  out.tenant = out.key = key;
  if (key == 0) {
    if (table_->closed()) return std::nullopt;
    out.key_id = "open";
    out.name = "anyone";
    out.limits = anyone_;
    return out;
  }
  const auto state = states_.find(key);  // valid ones only
  if (state == states_.end()) return std::nullopt;
  out.key_id = state->second->key.id;
  out.name = state->second->key.name;
  out.limits = state->second;
  return out;
}

std::shared_ptr<KeyGate::KeyState> KeyGate::state_of(const Identity& identity) {
  std::shared_ptr<const KeyState> state = std::static_pointer_cast<const KeyState>(identity.limits);
  return state ? std::const_pointer_cast<KeyState>(state) : anyone_;
}

Refusal KeyGate::refuse(Reason reason, int status, std::string code, std::string message, uint64_t retry_after_s) {
  const std::lock_guard lock(lock_);
  ++refused_[static_cast<size_t>(reason)];
  return {status, std::move(code), std::move(message), retry_after_s};
}

// Called under the lock, as are the two below.
Refusal KeyGate::refuse_quota(const KeyState& state, const QuotaVerdict& verdict, uint64_t price) {
  const LimitFacts& facts = kLimitFacts[static_cast<size_t>(verdict.kind)];
  const uint64_t limit = state.quota.limits()[verdict.kind];
  if (verdict.never) {
    ++refused_[static_cast<size_t>(Reason::kTooLarge)];
    return {413, "request_too_large",
            fmt::format("the request may take {} tokens (prompt and max_tokens of all choices); key '{}' is limited to {} {}: shorten the prompt or lower "
                        "max_tokens", price, state.key.name, limit, facts.words),
            0};
  }
  uint64_t wait_us = verdict.retry_after_us;
  if (verdict.kind == LimitKind::kConcurrent) wait_us = request_us_mean_ / std::max<uint64_t>(1, state.quota.running());
  const uint64_t wait_s = std::max<uint64_t>(1, seconds_up(wait_us));
  ++refused_[static_cast<size_t>(Reason::kKeyQuota)];
  return {429, "rate_limit_exceeded",
          fmt::format("key '{}' is limited to {} {}; this request asks for {} more; try again in {} s", state.key.name, limit, facts.words,
                      facts.tokens ? fmt::format("{} tokens", price) : std::string("1 request"), wait_s),
          wait_s};
}

uint64_t KeyGate::room_wait_s(double requests, double tokens, double bytes, uint64_t now_us) {
  const auto time_for = [&](double amount, const Rate& rate) {
    const double per_s = rate.now(now_us);
    return amount <= 0 || per_s <= 0 ? 0.0 : amount / per_s;
  };
  const double wait_s = std::max({time_for(std::max(1.0, requests) + sent_away_, freed_requests_), time_for(tokens, freed_tokens_),
                                  time_for(bytes, freed_bytes_), static_cast<double>(request_us_mean_) / 1e6 / static_cast<double>(options_.requests_max)});
  // Each one sent away stands before the next, until room for it has become free: they do not all come back in the same second.
  const double longest = static_cast<double>(options_.retry_after_s_max) * std::max(1.0, freed_requests_.now(now_us));
  sent_away_ = std::min(longest, sent_away_ + 1);
  return std::clamp<uint64_t>(static_cast<uint64_t>(std::ceil(std::min(wait_s, 1e9))), 1, options_.retry_after_s_max);
}

double KeyGate::share_of_tier(Tier tier) const {
  switch (tier) {
    case Tier::kPerformance: return 1;
    case Tier::kOnDemand: return options_.on_demand_share;
    case Tier::kFlex: return options_.flex_share;
    case Tier::kBatch: return options_.batch_share;
  }
  return 1;
}

Refusal KeyGate::room_for(const KeyState& state, const Price& price, Tier tier, uint64_t now_us) {
  const double share = share_of_tier(tier);
  const uint64_t tokens = saturated(price.prompt_tokens, price.completion_tokens_max);
  const uint64_t requests_max = share_of(options_.requests_max, share);
  const uint64_t tokens_max = share_of(options_.tokens_max, share);
  const uint64_t bytes_max = share_of(options_.bytes_max, share);
  if (tokens > tokens_max || price.bytes > bytes_max) {
    ++refused_[static_cast<size_t>(Reason::kTooLarge)];
    return {413, "request_too_large",
            fmt::format("the request needs {} tokens and {} bytes; tier {} of this server holds at most {} tokens and {} bytes", tokens, price.bytes,
                        tier_name(tier), tokens_max, bytes_max),
            0};
  }
  const auto over = [](uint64_t used, uint64_t more, double max) { return static_cast<double>(used) + static_cast<double>(more) - max; };
  double requests_over = over(requests_, 1, static_cast<double>(requests_max));
  double tokens_over = over(tokens_, tokens, static_cast<double>(tokens_max));
  double bytes_over = over(bytes_, price.bytes, static_cast<double>(bytes_max));
  if (table_->closed() && state.requests > 0) {
    const auto left = [&](uint64_t max, uint64_t used) { return options_.key_share * static_cast<double>(max - std::min(max, used)); };
    requests_over = std::max(requests_over, over(state.requests, 1, left(options_.requests_max, requests_)));
    tokens_over = std::max(tokens_over, over(state.tokens, tokens, left(options_.tokens_max, tokens_)));
    bytes_over = std::max(bytes_over, over(state.bytes, price.bytes, left(options_.bytes_max, bytes_)));
  }
  if (requests_over <= 0 && tokens_over <= 0 && bytes_over <= 0) return {};
  const uint64_t wait_s = room_wait_s(requests_over, tokens_over, bytes_over, now_us);
  const bool flex = tier == Tier::kFlex;
  ++refused_[static_cast<size_t>(flex ? Reason::kFlexFull : Reason::kCapacity)];
  return {flex ? 498 : 503, "capacity_exceeded",
          fmt::format("no room for tier {} now: {} requests with {} tokens and {} bytes are being served; try again in {} s", tier_name(tier), requests_,
                      tokens_, bytes_, wait_s),
          wait_s};
}

Admission KeyGate::admit(const Identity& identity, const Price& price) {
  const uint64_t now_us = options_.now_us();
  const std::shared_ptr<KeyState> state = state_of(identity);
  const uint64_t tokens = saturated(price.prompt_tokens, price.completion_tokens_max);
  Admission out;
  const std::lock_guard lock(lock_);
  const Tier best = best_tier(state->key.tier);
  out.tier = price.batch ? Tier::kBatch : price.tier_auto ? best : price.tier;
  if (out.tier == Tier::kOnDemand && best == Tier::kFlex) out.tier = Tier::kFlex;  // the default is lowered; asking for more is refused
  if (out.tier < best) {
    ++refused_[static_cast<size_t>(Reason::kForbidden)];
    const std::string message = fmt::format("service_tier {}: key '{}' may ask for {} at most", tier_name(out.tier), state->key.name, tier_name(best));
    out.refusal = {403, "tier_not_allowed", message, 0};
    return out;
  }
  if (!price.batch) {
    const QuotaVerdict verdict = state->quota.admit(tokens, now_us);
    if (!verdict.admitted) {
      out.refusal = refuse_quota(*state, verdict, tokens);
      return out;
    }
  }
  out.refusal = room_for(*state, price, out.tier, now_us);
  if (out.refusal.refused()) {
    if (!price.batch) state->quota.undo(tokens, now_us);
    return out;
  }
  requests_ += 1;
  tokens_ += tokens;
  bytes_ += price.bytes;
  state->requests += 1;
  state->tokens += tokens;
  state->bytes += price.bytes;
  out.ticket = ++tickets_given_;
  out.queue_deadline_ms = out.tier == Tier::kFlex ? options_.flex_queue_deadline_ms : options_.queue_deadline_ms;
  tickets_.emplace(out.ticket, Ticket{state, tokens, price.bytes, now_us, !price.batch});
  return out;
}

void KeyGate::finished(const Identity&, uint64_t ticket, const Usage& usage) {
  const uint64_t now_us = options_.now_us();
  const std::lock_guard lock(lock_);
  const auto at = tickets_.find(ticket);
  SLUICE_DCHECK(at != tickets_.end());
  if (at == tickets_.end()) return;
  const Ticket done = std::move(at->second);
  tickets_.erase(at);
  KeyState& state = *done.state;
  requests_ -= 1;
  tokens_ -= done.tokens;
  bytes_ -= done.bytes;
  state.requests -= 1;
  state.tokens -= done.tokens;
  state.bytes -= done.bytes;
  // Tokens that a kept state spared are not counted.
  const uint64_t used = usage.prompt_tokens - std::min(usage.prompt_tokens, usage.cached_tokens) + usage.completion_tokens;
  if (done.quota) state.quota.settle(done.tokens, used, now_us);
  state.use.requests += 1;
  state.use.prompt_tokens += usage.prompt_tokens;
  state.use.completion_tokens += usage.completion_tokens;
  state.use_changed = true;
  freed_requests_.add(1, now_us);
  freed_tokens_.add(static_cast<double>(done.tokens), now_us);
  freed_bytes_.add(static_cast<double>(done.bytes), now_us);
  sent_away_ = std::max(0.0, sent_away_ - 1);
  const uint64_t took_us = now_us - std::min(now_us, done.since_us);
  request_us_mean_ = request_us_mean_ == 0 ? took_us : request_us_mean_ - request_us_mean_ / 8 + took_us / 8;
}

std::vector<Header> KeyGate::headers(const Identity& identity) {
  const uint64_t now_us = options_.now_us();
  const std::shared_ptr<KeyState> state = state_of(identity);
  const std::lock_guard lock(lock_);
  // As the field does it: requests are the day's, tokens the minute's. A key without such a limit is told of the next one that it has, or of the room.
  const auto standing = [&](LimitKind first, LimitKind second, uint64_t max, uint64_t used, const Rate& freed) {
    const KeyLimits& limits = state->quota.limits();
    if (limits[first] != 0) return state->quota.standing(first, now_us);
    if (limits[second] != 0) return state->quota.standing(second, now_us);
    const double per_s = freed.now(now_us);
    return QuotaStanding{max, max - std::min(max, used), per_s > 0 ? static_cast<uint64_t>(static_cast<double>(used) / per_s * 1e6) : 0};
  };
  const QuotaStanding requests = standing(LimitKind::kRequestsPerDay, LimitKind::kRequestsPerMinute, options_.requests_max, requests_, freed_requests_);
  const QuotaStanding tokens = standing(LimitKind::kTokensPerMinute, LimitKind::kTokensPerDay, options_.tokens_max, tokens_, freed_tokens_);
  return {{"x-ratelimit-limit-requests", std::to_string(requests.limit)}, {"x-ratelimit-remaining-requests", std::to_string(requests.remaining)},
          {"x-ratelimit-reset-requests", reset_text(requests.reset_us)},  {"x-ratelimit-limit-tokens", std::to_string(tokens.limit)},
          {"x-ratelimit-remaining-tokens", std::to_string(tokens.remaining)}, {"x-ratelimit-reset-tokens", reset_text(tokens.reset_us)}};
}

GateStatistics KeyGate::statistics() const {
  GateStatistics out;
  out.trouble = ring_.trouble();
  const std::lock_guard lock(lock_);
  out.requests = requests_;
  out.tokens = tokens_;
  out.bytes = bytes_;
  out.refused = refused_;
  out.keys_valid = table_->valid_by_id.size();
  return out;
}

std::vector<KeyStanding> KeyGate::standings() {
  const uint64_t now_us = options_.now_us();
  std::vector<KeyStanding> out;
  const std::lock_guard lock(lock_);
  for (const auto& [number, state] : states_) {
    KeyStanding standing{state->key, state->use, state->quota.running(), {}};
    for (size_t kind = 0; kind < kLimitKinds; ++kind) standing.limits[kind] = state->quota.standing(static_cast<LimitKind>(kind), now_us);
    out.push_back(std::move(standing));
  }
  std::sort(out.begin(), out.end(), [](const KeyStanding& a, const KeyStanding& b) { return a.key.number < b.key.number; });
  return out;
}

}  // namespace sluice::server
