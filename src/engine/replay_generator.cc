#include "engine/replay_generator.h"

#include <algorithm>
#include <cmath>

#include "engine/sampler.h"

namespace sluice::engine {
namespace {

constexpr size_t kLive = 24;
constexpr size_t kBranchesMax = 4;
constexpr uint64_t kContextMax = 128 * 1024;
constexpr uint64_t kIdStep = 64;  // numbers between pieces: token indices above 65,535 run into the next block's number (replay.cc)
// Names of branch cases; probabilities are the measured mix of reference section 5.
enum class Turn : uint8_t { kExtend, kRegenerate, kEditLast, kEditEarlier, kOldBranch, kReplaceTail };

struct Message {
  std::vector<Piece> pieces;
  bool user = false;
  uint64_t tokens() const {
    uint64_t sum = 0;
    for (const Piece& piece : pieces) sum += piece.tokens;
    return sum;
  }
};
using Messages = std::vector<Message>;
struct Conversation {
  Messages messages;  // system, user, answer, user, answer ...
  std::vector<Messages> branches;
};

class Generator {
 public:
  Generator(uint64_t seed, uint64_t requests) : seed_(seed) {
    for (size_t i = 0; i < 6; ++i) systems_.push_back(message(log_normal(600, 0.5), false));
    trace_.name = "generator:" + std::to_string(seed);
    for (uint64_t i = 0; i < requests; ++i) request(i);
  }
  Trace take() { return std::move(trace_); }

 private:
  double uniform() { return engine::uniform(seed_, 0, draws_++); }
  uint64_t below(uint64_t n) { return std::min(n - 1, static_cast<uint64_t>(uniform() * static_cast<double>(n))); }
  uint64_t log_normal(double median, double sigma) {
    double normal = -6;
    for (int i = 0; i < 12; ++i) normal += uniform();
    return std::max<uint64_t>(4, static_cast<uint64_t>(median * std::exp(sigma * normal)));
  }
  Piece piece(uint64_t tokens) { return {seed_, (ids_++) * kIdStep, tokens, tokens}; }
  Message message(uint64_t tokens, bool user) { return {{piece(tokens)}, user}; }
  Message user_turn() { return message(log_normal(60, 0.8), true); }

  Conversation& pick() {
    if (live_.empty() || uniform() < 0.06) {
      Conversation fresh;
      fresh.messages.push_back(systems_[below(systems_.size())]);
      Message first = user_turn();
      if (uniform() < 0.2) first.pieces.insert(first.pieces.begin(), piece(log_normal(4000, 0.8)));
      fresh.messages.push_back(first);
      live_.insert(live_.begin(), std::move(fresh));
      if (live_.size() > kLive) live_.pop_back();
      fresh_ = true;
      return live_.front();
    }
    size_t index = 0;
    while (index + 1 < live_.size() && uniform() >= 1.0 / 6) ++index;  // geometric, mean 5
    std::rotate(live_.begin(), live_.begin() + static_cast<ptrdiff_t>(index), live_.begin() + static_cast<ptrdiff_t>(index) + 1);
    fresh_ = false;
    return live_.front();
  }

  Turn turn() {
    const double x = uniform();
    return x < .66 ? Turn::kExtend : x < .78 ? Turn::kRegenerate : x < .86 ? Turn::kEditLast
           : x < .91 ? Turn::kEditEarlier : x < .96 ? Turn::kOldBranch : Turn::kReplaceTail;
  }

  void keep_branch(Conversation& c) {
    c.branches.push_back(c.messages);
    if (c.branches.size() > kBranchesMax) c.branches.erase(c.branches.begin());
  }

  // Leaves `messages` ending with a user's message: the prompt.
  void next_turn(Conversation& c) {
    Turn what = turn();
    if (what == Turn::kOldBranch && c.branches.empty()) what = Turn::kExtend;
    if (what == Turn::kExtend) {
      c.messages.push_back(user_turn());
      return;
    }
    if (what == Turn::kOldBranch) {
      const size_t index = below(c.branches.size());
      std::swap(c.messages, c.branches[index]);
      c.messages.push_back(user_turn());
      return;
    }
    keep_branch(c);
    c.messages.pop_back();  // the answer
    if (what == Turn::kEditLast) c.messages.back() = user_turn();
    if (what == Turn::kEditEarlier) {
      const size_t user = below(c.messages.size() / 2) * 2 + 1;
      c.messages.resize(user + 1);
      c.messages[user] = user_turn();
    }
    if (what == Turn::kReplaceTail) replace_tail(c.messages);
  }

  void replace_tail(Messages& messages) {
    size_t longest = 1;
    for (size_t i = 1; i < messages.size(); ++i) {
      if (messages[i].tokens() > messages[longest].tokens()) longest = i;
    }
    Message& m = messages[longest];
    const uint64_t all = m.tokens();
    uint64_t keep = std::max<uint64_t>(1, static_cast<uint64_t>(static_cast<double>(all) * (0.30 + 0.65 * uniform())));
    const uint64_t replaced = all - keep;
    std::vector<Piece> pieces;
    for (Piece p : m.pieces) {
      p.tokens = std::min(p.tokens, keep);
      keep -= p.tokens;
      if (p.tokens > 0) pieces.push_back(p);
    }
    if (replaced > 0) pieces.push_back(piece(replaced));
    m.pieces = std::move(pieces);
  }

  void request(uint64_t number) {
    Conversation& c = pick();
    if (!fresh_) next_turn(c);
    TraceRequest out;
    out.time_ms = number * 1000;
    for (const Message& m : c.messages) out.pieces.insert(out.pieces.end(), m.pieces.begin(), m.pieces.end());
    for (const Piece& p : out.pieces) out.prompt += p.tokens;
    out.system_end = c.messages[0].tokens();
    out.last_message = out.prompt - c.messages.back().tokens();
    c.messages.push_back(message(log_normal(250, 0.8), false));
    out.pieces.insert(out.pieces.end(), c.messages.back().pieces.begin(), c.messages.back().pieces.end());
    trace_.requests.push_back(std::move(out));
    if (trace_.requests.back().prompt > kContextMax) live_.erase(live_.begin());
  }

  uint64_t seed_, draws_ = 0, ids_ = 1;
  std::vector<Message> systems_;
  std::vector<Conversation> live_;  // most recent first
  Trace trace_;
  bool fresh_ = false;
};

}  // namespace

Trace generate_trace(uint64_t seed, uint64_t requests) { return Generator(seed, requests).take(); }

}  // namespace sluice::engine
