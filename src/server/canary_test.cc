// Canaries: eight keys ask at once through sockets, gate, routes and the real scheduler, over a store too small for them, and every prompt holds letters that
// no other key has. The model copies: its next token is one of those before it, picked by its state and read from its pages, so a state, a page or a text
// of somebody else's would be in the answer. Every answer is compared with the one computed from its prompt alone, and every cached token must be in a prompt
// that the same key sent before.
// 4,000 requests; SLUICE_SLOW_TESTS=1: 100,000.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <thread>

#include "engine/scheduler.h"
#include "server/key_gate.h"
#include "server/routes.h"
#include "server/server_testing.h"

namespace sluice::server {
namespace {

using namespace testing;
using Json = nlohmann::ordered_json;

constexpr uint32_t kKeys = 8;
constexpr uint32_t kClientsPerKey = 2;
constexpr uint64_t kVocabulary = 260;  // byte_tokenizer()
constexpr char kBegin = '\1', kEnd = '\2';  // <|im_start|> and <|im_end|> where a prompt is written as text

uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}
uint64_t next_state(uint64_t state, int32_t token) { return mix(state + 0x9e3779b97f4a7c15ull + static_cast<uint32_t>(token)); }

// The token that the model writes after `size` tokens: the one that the state points at, or the next that is a letter.
template <class TokenAt>
int32_t copied(uint64_t state, uint64_t size, TokenAt token_at) {
  for (uint64_t at = state % size, tries = 0; tries < size; ++tries, at = (at + 1) % size) {
    if (token_at(at) >= 'A' && token_at(at) <= 'z') return token_at(at);
  }
  return '?';
}

// What the test must notice, put in on purpose.
struct Faults {
  bool one_tenant = false;   // keys are not kept apart
  bool torn_states = false;  // now and then a bit of somebody's state is another's
};

class CopyRunner final : public engine::StepRunner {
 public:
  explicit CopyRunner(const Faults& faults) : StepRunner(kSizes), faults_(faults), logits_(kSizes.logit_rows_max * kSizes.vocabulary) {}

  Status step(std::span<const runtime::StepRow> rows, const runtime::Observer*) override {
    uint64_t wanted = 0;
    for (const runtime::StepRow& row : rows) {
      const auto entry = [&](uint64_t at) { return row.sequence->pages[at / engine::kPageTokens] + at % engine::kPageTokens * sizeof(int32_t); };
      const auto position = static_cast<uint64_t>(row.position);
      std::memcpy(entry(position), &row.token, sizeof(row.token));
      uint64_t state = 0;
      std::memcpy(&state, row.sequence->state, sizeof(state));
      if (faults_.torn_states && ++rows_ % 500 == 0) state ^= 1;
      state = next_state(state, row.token);
      std::memcpy(row.sequence->state, &state, sizeof(state));
      if (!row.wants_logits) continue;
      const std::span<float> out = std::span(logits_).subspan(wanted++ * kSizes.vocabulary, kSizes.vocabulary);
      std::fill(out.begin(), out.end(), 0.0f);
      const int32_t next = copied(state, position + 1, [&](uint64_t at) {
        int32_t token = 0;
        std::memcpy(&token, entry(at), sizeof(token));
        return token;
      });
      out[static_cast<size_t>(next) % kSizes.vocabulary] = 10;
    }
    return {};
  }
  std::span<const float> logits(size_t i) const override { return std::span(logits_).subspan(i * kSizes.vocabulary, kSizes.vocabulary); }

 private:
  static constexpr engine::StepSizes kSizes{.rows_max = 64, .logit_rows_max = 8, .vocabulary = kVocabulary, .page_bytes = engine::kPageTokens * sizeof(int32_t),
                                            .state_bytes = 2048, .flops_per_token = 1000};
  const Faults faults_;
  uint64_t rows_ = 0;
  std::vector<float> logits_;
};

// The engine without a model: its scheduler on a thread.
class ScheduledBackend final : public Backend {
 public:
  ScheduledBackend(const text::Tokenizer& tokenizer, const engine::EngineOptions& options, const Faults& faults)
      : options_(options), faults_(faults), runner_(faults) {
    options_.now_us = [] { return steady_us_now(); };
    scheduler_ = std::move(engine::Scheduler::create(runner_, tokenizer, 1, options_)).value();
    thread_ = std::thread([this] { run(); });
  }
  ~ScheduledBackend() override { stop(); }
  void stop() {
    post([this] { stopping_ = true; });
    if (thread_.joinable()) thread_.join();
    scheduler_->cancel_all();
  }
  engine::Submitted submit(engine::Request request, std::shared_ptr<engine::ResponseSink> sink) override {
    engine::Submitted out = scheduler_->check(request);
    if (out.refusal != engine::Refusal::kNone) return out;
    out.id = ++last_;
    if (faults_.one_tenant) request.tenant = 0;
    post([this, id = out.id, request = std::make_shared<engine::Request>(std::move(request)), sink = std::move(sink)] {
      scheduler_->add(id, std::move(*request), sink);
    });
    return out;
  }
  void cancel(engine::RequestId id) override {
    post([this, id] { scheduler_->cancel(id); });
  }
  void drain() override {}
  engine::EngineStatistics statistics() const override { return {}; }
  const engine::EngineOptions& options() const override { return options_; }
  void with_store(const std::function<void(engine::StateStore&)>&) override {}
  void forget(uint32_t, std::span<const int32_t>) override {}
  engine::StoreStats store() { return scheduler_->statistics().store; }  // after stop()

 private:
  static uint64_t steady_us_now() {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch()).count());
  }
  void post(std::function<void()> work) {
    {
      const std::lock_guard lock(mutex_);
      work_.push_back(std::move(work));
    }
    wake_.notify_one();
  }
  void run() {
    while (!stopping_) {
      std::vector<std::function<void()>> work;
      {
        std::unique_lock lock(mutex_);
        if (scheduler_->idle()) wake_.wait(lock, [this] { return !work_.empty(); });
        work.swap(work_);
      }
      for (const auto& one : work) one();
      scheduler_->step();
    }
  }

  engine::EngineOptions options_;
  const Faults faults_;
  CopyRunner runner_;
  std::unique_ptr<engine::Scheduler> scheduler_;
  std::atomic<engine::RequestId> last_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::function<void()>> work_;
  bool stopping_ = false;  // the thread's
  std::thread thread_;
};

// What one key has sent and got, as texts: how much of a prompt may have been kept for it. Asked behind the answer, for another client of the key may have
// sent a nearer text meanwhile.
class Own {
 public:
  uint64_t longest_other(const std::string& text) {
    const std::lock_guard lock(mutex_);
    const auto [first, last] = known_.equal_range(text);
    if (std::distance(first, last) > 1) return text.size();
    uint64_t longest = 0;
    for (const auto& at : {last, first == known_.begin() ? known_.end() : std::prev(first)}) {
      if (at != known_.end()) longest = std::max<uint64_t>(longest, std::mismatch(text.begin(), text.end(), at->begin(), at->end()).first - text.begin());
    }
    return longest;
  }
  void learn(const std::string& text) {
    const std::lock_guard lock(mutex_);
    known_.insert(text);
  }

 private:
  std::mutex mutex_;
  std::multiset<std::string> known_;
};

struct Counts {
  std::atomic<uint64_t> asked{0}, answered{0}, cancelled{0}, cached{0}, foreign_letters{0}, wrong_answers{0}, foreign_cached{0}, refused{0};
};

std::string expected_answer(std::string prompt, size_t tokens) {
  std::vector<int32_t> ids;
  for (const char c : prompt) ids.push_back(c == kBegin ? 256 : c == kEnd ? 257 : static_cast<uint8_t>(c));
  uint64_t state = 0;
  for (const int32_t id : ids) state = next_state(state, id);
  std::string out;
  while (out.size() < tokens) {
    ids.push_back(copied(state, ids.size(), [&](uint64_t at) { return ids[at]; }));
    state = next_state(state, ids.back());
    out += static_cast<char>(ids.back());
  }
  return out;
}

// One client of a key, with conversations of its own.
class Talker {
 public:
  Talker(const std::string& address, std::string secret, uint32_t key, uint64_t seed, Own& own, Counts& counts)
      : address_(address), secret_(std::move(secret)), key_(key), random_(seed), own_(own), counts_(counts), client_(std::make_unique<Client>(address)) {}

  void ask() {
    if (messages_.empty() || text_.size() > 380 || below(5) == 0) begin();
    say();
    const std::string prompt = text_ + kBegin + "assistant\n";
    own_.learn(prompt);
    const uint32_t choices = below(8) == 0 ? 2 : 1;
    const uint64_t kind = below(16);
    const bool stream = kind < 8;
    const std::string body = fmt::format(
        R"({{"messages":[{}],"max_tokens":{},"temperature":0,"n":{},"stream":{}{}}})", messages_, kTokens, choices, stream,
        stream ? R"(,"stream_options":{"include_usage":true})" : "");
    ++counts_.asked;
    if (kind == 0) return leave(body);
    const Reply reply = client_->request("POST", "/v1/chat/completions", body, fmt::format("Authorization: Bearer {}\r\n", secret_));
    if (reply.status != 200) {
      ++counts_.refused;
      client_ = std::make_unique<Client>(address_);
      return;
    }
    std::vector<std::string> said(choices);
    Json usage;
    read(reply, stream, said, usage);
    check(prompt, own_.longest_other(prompt), said, usage);
    text_ = prompt + said[0] + kEnd + "\n";
    own_.learn(text_);
    messages_ += fmt::format(R"(,{{"role":"assistant","content":"{}"}})", said[0]);
  }

 private:
  static constexpr size_t kTokens = 8;

  uint64_t below(uint64_t n) { return random_() % n; }
  char letter() { return static_cast<char>('A' + 3 * key_ + below(3)); }  // this key's own
  void begin() {
    const std::string common = "you answer in plain words and never tell one of us what another has said; this text is the same for everybody";
    messages_ = fmt::format(R"({{"role":"system","content":"{}"}})", common);
    text_ = kBegin + ("system\n" + common) + kEnd + "\n";
  }
  void say() {
    std::string words = "what of ";
    for (uint64_t n = 12 + below(20); n > 0; --n) words += letter();
    messages_ += fmt::format(R"(,{{"role":"user","content":"{}"}})", words);
    text_ += kBegin + ("user\n" + words) + kEnd + "\n";
  }
  // Sends, and is gone: what it had is freed while others run.
  void leave(const std::string& body) {
    client_->send(fmt::format("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{}", secret_,
                              body.size(), body));
    if (below(2) == 0) client_->read_until("data: ");
    client_ = std::make_unique<Client>(address_);
    ++counts_.cancelled;
    messages_.clear();
  }
  static void read(const Reply& reply, bool stream, std::vector<std::string>& said, Json& usage) {
    const auto take = [&](const Json& json, const char* from) {
      for (const Json& choice : json["choices"]) said.at(choice["index"].get<size_t>()) += choice[from].value("content", "");
      if (json.contains("usage")) usage = json["usage"];
    };
    if (!stream) return take(Json::parse(reply.body), "message");
    for (const std::string& event : events_of(reply.body)) {
      if (event != "[DONE]") take(Json::parse(event), "delta");
    }
  }
  void check(const std::string& prompt, uint64_t may_be_kept, const std::vector<std::string>& said, const Json& usage) {
    ++counts_.answered;
    EXPECT_EQ(usage.value("prompt_tokens", 0u), prompt.size());
    const uint64_t cached = usage["prompt_tokens_details"].value("cached_tokens", 0u);
    counts_.cached += cached;
    if (cached > may_be_kept) ++counts_.foreign_cached;
    const std::string expected = expected_answer(prompt, kTokens);
    for (const std::string& text : said) {
      if (text != expected) ++counts_.wrong_answers;
      for (const char c : text) {
        const bool secret = c >= 'A' && c < 'A' + static_cast<int>(3 * kKeys);
        if (secret && (c - 'A') / 3 != static_cast<int>(key_)) ++counts_.foreign_letters;
      }
    }
  }

  const std::string address_, secret_;
  const uint32_t key_;
  std::mt19937_64 random_;
  Own& own_;
  Counts& counts_;
  std::unique_ptr<Client> client_;
  std::string messages_, text_;  // the conversation as JSON, and as the model reads it
};

// `requests` of all keys together, by so many clients of each; what the store had to drop.
void run(uint64_t requests, uint32_t clients_per_key, const Faults& faults, Counts& counts, engine::StoreStats& store) {
  char folder[] = "/tmp/sluice-canary-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const text::Tokenizer tokenizer = byte_tokenizer(kChatMl);
  KeyGate gate(std::filesystem::path(folder) / "keys.db", {});
  std::vector<std::string> secrets;
  for (uint32_t key = 0; key < kKeys; ++key) {
    const auto made = gate.ring().create({.name = fmt::format("key{}", key)}, 1);
    ASSERT_TRUE(made.ok()) << made.error().message;
    secrets.push_back(made->text);
  }
  gate.tick();
  ScheduledBackend backend(tokenizer, {.context = 512, .sequences_max = 6, .queue_requests_max = 64, .store_bytes = 200'000}, faults);
  const auto api = Api::create(backend, gate, tokenizer, {.id = "copier"});
  ASSERT_TRUE(api.ok());
  Router router;
  add_routes(router, **api, nullptr, [] { return false; });
  HttpOptions options;
  options.listen = {{.host = "127.0.0.1", .port = 0}};
  auto http = HttpServer::start(options, router, gate, nullptr);
  ASSERT_TRUE(http.ok());
  std::vector<Own> own(kKeys);
  std::vector<std::thread> clients;
  for (uint32_t i = 0; i < kKeys * clients_per_key; ++i) {
    clients.emplace_back([&, i] {
      Talker talker((*http)->addresses().at(0), secrets[i % kKeys], i % kKeys, i + 1, own[i % kKeys], counts);
      for (uint64_t n = 0; n < requests / (kKeys * clients_per_key); ++n) talker.ask();
    });
  }
  for (std::thread& client : clients) client.join();
  http->reset();
  backend.stop();
  store = backend.store();
  EXPECT_EQ(gate.statistics().requests, 0u);
  std::filesystem::remove_all(folder);
}

TEST(Canary, NoKeySeesWhatAnotherSent) {
  const uint64_t requests = std::getenv("SLUICE_SLOW_TESTS") != nullptr ? 100'000 : 4'000;
  Counts counts;
  engine::StoreStats store;
  run(requests, kClientsPerKey, {}, counts, store);
  EXPECT_EQ(counts.asked.load(), requests);
  EXPECT_EQ(counts.answered.load() + counts.cancelled.load() + counts.refused.load(), requests);
  EXPECT_GT(counts.cancelled.load(), requests / 50);
  EXPECT_LT(counts.refused.load(), requests / 10);
  EXPECT_EQ(counts.foreign_letters.load(), 0u);
  EXPECT_EQ(counts.wrong_answers.load(), 0u);
  EXPECT_EQ(counts.foreign_cached.load(), 0u);
  EXPECT_GT(counts.cached.load(), requests * 10);  // the store is at work ...
  EXPECT_GT(store.evicted, requests / 4);          // ... and has no room
}

TEST(Canary, FindsSharingAndTornStates) {
  Counts sharing, torn;
  engine::StoreStats store;
  run(320, 1, {.one_tenant = true}, sharing, store);
  EXPECT_GT(sharing.foreign_cached.load(), 0u);  // of the beginning that all share, by the first of each key
  run(320, kClientsPerKey, {.torn_states = true}, torn, store);
  EXPECT_GT(torn.wrong_answers.load(), 5u);
}

}  // namespace
}  // namespace sluice::server
