#include "server/server_testing.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "server/routes.h"

namespace sluice::server::testing {
const char* const kChatMl =
    "{%- for message in messages -%}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}";

text::Tokenizer byte_tokenizer(const std::string& chat_template) {
  text::TokenizerSpec spec;
  for (int i = 0; i < 256; ++i) {
    spec.tokens.emplace_back(1, static_cast<char>(i));
    spec.types.push_back(text::TokenType::kNormal);
  }
  for (const char* special : {"<|im_start|>", "<|im_end|>", "<think>", "</think>"}) {
    spec.added_tokens.push_back({.id = static_cast<uint32_t>(spec.tokens.size()), .special = true});
    spec.tokens.emplace_back(special);
    spec.types.push_back(text::TokenType::kControl);
  }
  spec.eos_id = 257;
  spec.chat_templates.push_back({"default", chat_template});
  Result<text::Tokenizer> tokenizer = text::Tokenizer::create(std::move(spec));
  if (!tokenizer.ok()) fmt::print(stderr, "{}\n", tokenizer.error().message);
  SLUICE_CHECK(tokenizer.ok());
  return std::move(*tokenizer);
}

FakeBackend::FakeBackend(const text::Tokenizer& tokenizer, engine::EngineOptions options) : tokenizer_(tokenizer), options_(std::move(options)) {
  answer = [this](const engine::Request& request, uint32_t) {
    const size_t n = std::min<size_t>(16, request.prompt.size());
    const Result<std::string> text = tokenizer_.decode(std::span(request.prompt).last(n), false);
    return text.ok() ? *text : std::string();
  };
  thread_ = std::thread([this] { run(); });
}

FakeBackend::~FakeBackend() { stop(); }

void FakeBackend::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  came_.notify_all();
  if (thread_.joinable()) thread_.join();
}

engine::Submitted FakeBackend::submit(engine::Request request, std::shared_ptr<engine::ResponseSink> sink) {
  const std::lock_guard lock(mutex_);
  if (draining_) return {0, engine::Refusal::kDraining, "draining"};
  if (refuse_all.load() || queue_.size() >= options_.queue_requests_max) return {0, engine::Refusal::kQueueFull, "the queue is full"};
  ++submitted;
  last_ = request;
  const engine::RequestId id = next_++;
  queue_.push_back({id, std::move(request), std::move(sink)});
  came_.notify_one();
  return {id, engine::Refusal::kNone, ""};
}

void FakeBackend::cancel(engine::RequestId id) {
  const std::lock_guard lock(mutex_);
  cancelled_ids_.insert(id);
  ++cancelled;
}

engine::EngineStatistics FakeBackend::statistics() const {
  engine::EngineStatistics out;
  const std::lock_guard lock(mutex_);
  out.queued_requests = static_cast<uint32_t>(queue_.size());
  out.prefill_tokens_per_s = 1000;
  return out;
}

engine::Request FakeBackend::last() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

void FakeBackend::run() {
  while (true) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      came_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_ && queue_.empty()) return;
      job = std::move(queue_.front());
      queue_.erase(queue_.begin());
    }
    run_one(job);
  }
}

void FakeBackend::run_one(Job& job) {
  if (serve) return serve(job.id, std::move(job.request), std::move(job.sink));
  const engine::Request& r = job.request;
  engine::RequestDone done{.prompt_tokens = r.prompt.size(), .queue_us = 10, .prompt_us = 20, .completion_us = 30};
  job.sink->started({.queue_us = 10, .cached_tokens = 3});
  done.cached_tokens = 3;
  const std::vector<float> embedding(8, 0.5f);
  if (r.embed) done.embedding = embedding;
  bool stop = false;
  for (uint32_t choice = 0; choice < r.choices; ++choice) {
    const std::string text = r.embed || r.max_tokens == 0 ? std::string() : answer(r, choice);
    uint64_t n = 0;
    for (const char c : text) {
      {
        const std::lock_guard lock(mutex_);
        stop = stopping_ || cancelled_ids_.contains(job.id);
      }
      if (stop || n == r.max_tokens) break;
      if (token_us.load() > 0) std::this_thread::sleep_for(std::chrono::microseconds(token_us.load()));
      const engine::TokenLogprob logprob{static_cast<uint8_t>(c), -0.5f, -0.25f};
      const std::vector<engine::TokenLogprob> top(r.top_logprobs > 0 ? static_cast<size_t>(r.top_logprobs) : 0, logprob);
      job.sink->token({choice, logprob.id, std::string_view(&c, 1), logprob, top});
      ++n;
      ++tokens;
    }
    done.completion_tokens += n;
    const auto reason = stop ? engine::FinishReason::kCancelled : n == r.max_tokens ? engine::FinishReason::kLength : engine::FinishReason::kStop;
    job.sink->choice_done({.choice = choice, .reason = reason, .stop_id = 257, .tokens = n});
  }
  job.sink->done(done);
  job.sink.reset();
}

Authenticated TestGate::authenticate(const Credentials& credentials, bool admin_route) {
  Authenticated out;
  if (has_keys && credentials.secret != "sk-good") {
    out.refusal = {.status = 401, .code = "invalid_api_key", .message = "a valid key is needed"};
    return out;
  }
  if (admin_route) {
    out.refusal = {.status = 403, .code = "forbidden", .message = "not an admin key"};
    return out;
  }
  out.identity = {.tenant = 7, .key = 9, .key_id = "k1", .name = "test"};
  return out;
}

Admission TestGate::admit(const Identity&, const Price& price) {
  const std::lock_guard lock(mutex);
  last_price = price;
  Admission out;
  if (full.load()) {
    out.refusal = {.status = 429, .code = "rate_limit_exceeded", .message = "10 requests a minute are this key's", .retry_after_s = 17};
    return out;
  }
  ++admissions;
  out.tier = price.tier;
  return out;
}

TestServer::TestServer(Setup setup) : tokenizer(byte_tokenizer(setup.chat_template)), backend(tokenizer, setup.engine) {
  ModelFacts facts{.id = "test-model", .aliases = {"gpt-4o"}, .fingerprint = "sluice-test", .created = 1};
  Result<std::unique_ptr<Api>> made = Api::create(backend, gate, tokenizer, std::move(facts));
  SLUICE_CHECK(made.ok());
  api = std::move(*made);
  add_routes(router, *api, nullptr, [this] { return http && http->draining(); });
  router.add(std::move(setup.more_routes));
  if (setup.http.listen.size() == 1 && setup.http.listen[0].port == 8080) setup.http.listen[0].port = 0;
  Result<std::unique_ptr<HttpServer>> started = HttpServer::start(setup.http, router, gate, nullptr);
  if (!started.ok()) fmt::print(stderr, "{}\n", started.error().message);
  SLUICE_CHECK(started.ok());
  http = std::move(*started);
}

TestServer::~TestServer() {
  http.reset();
  backend.stop();  // before the routes' tables go
}

}  // namespace sluice::server::testing
