#include "server/batch_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "server/answer.h"
#include "server/limits.h"
#include "server/response_head.h"

namespace sluice::server {
namespace {

constexpr auto kLook = std::chrono::milliseconds(250);  // between looks at the ledger: batches come and are cancelled through it
constexpr uint64_t kHoldMs = 2000;                      // after a disk that is full
constexpr uint64_t kExpireEveryMs = 30'000;
constexpr uint32_t kFetched = 256;

bool asks_again(int status) { return status == 429 || status == 498 || status == 503; }

}  // namespace

// A line's request as handlers see it.
class LineExchange final : public Exchange {
 public:
  LineExchange(std::shared_ptr<LineInbox> inbox, std::string id, Identity identity, std::string path, std::string body) : inbox_(std::move(inbox)) {
    request_.method = "POST";
    request_.path = request_.target = std::move(path);
    request_.headers = {{"content-type", "application/json"}};
    request_.body = std::move(body);
    request_.peer = kBatchPeer;
    request_.loopback = true;
    request_.arrived_us = steady_us();
    identity_ = std::move(identity);
    record_.id = std::move(id);
  }

  void respond(HttpResponse response) override {
    {
      const std::lock_guard lock(mutex_);
      if (answered_) return;
      answered_ = true;
      response_ = std::move(response);
    }
    wake();
  }
  void begin(HttpResponse) override {
    respond({.status = 500, .headers = {}, .body = R"({"error":{"message":"a batch does not stream","code":"no_stream"}})"});
  }
  void attach(std::shared_ptr<AnswerSource> source) override {
    const std::lock_guard lock(mutex_);
    source_ = std::move(source);
  }
  void wake() override {
    if (woken_.exchange(true)) return;
    {
      const std::lock_guard lock(inbox_->mutex);
      if (inbox_->stopping) return;  // nobody would take it out, and it holds the inbox
      inbox_->woken.push_back(std::static_pointer_cast<LineExchange>(shared_from_this()));
    }
    inbox_->came.notify_one();
  }
  bool closed() const override { return closed_.load(); }

  // The runner's thread: true when the answer is there.
  bool pump(HttpResponse& out) {
    woken_.store(false);
    std::shared_ptr<AnswerSource> source;
    {
      const std::lock_guard lock(mutex_);
      source = source_;
    }
    if (source && !closed_.load()) {
      std::string none;
      const AnswerSource::State state = source->pull(*this, none, limits::kResponseBufferBytes);
      if (state == AnswerSource::State::kFull) wake();
      if (state == AnswerSource::State::kEnd) drop_source();
    }
    const std::lock_guard lock(mutex_);
    if (!answered_) return false;
    out = std::move(response_);
    source_.reset();
    return true;
  }
  void abandon() {
    closed_.store(true);
    std::shared_ptr<AnswerSource> source;
    {
      const std::lock_guard lock(mutex_);
      source.swap(source_);
    }
    if (source) source->closed();
  }

 private:
  void drop_source() {
    const std::lock_guard lock(mutex_);
    source_.reset();
  }
  const std::shared_ptr<LineInbox> inbox_;
  std::mutex mutex_;
  std::shared_ptr<AnswerSource> source_;
  HttpResponse response_;
  bool answered_ = false;
  std::atomic<bool> woken_{false}, closed_{false};
};

BatchRunner::BatchRunner(const Api& api, Kept& kept, const Router& router, IdentityOf identity_of)
    : api_(api), kept_(kept), router_(router), identity_of_(std::move(identity_of)),
      lines_at_once_(std::max<uint32_t>(1, api.backend().options().sequences_max / 2)) {}

BatchRunner::~BatchRunner() { stop(); }

void BatchRunner::start() {
  thread_ = std::thread([this] { run(); });
}

void BatchRunner::stop() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(inbox_->mutex);
    inbox_->stopping = true;
  }
  inbox_->came.notify_one();
  thread_.join();
  for (Running& line : running_) line.exchange->abandon();
  running_.clear();
  std::vector<std::shared_ptr<LineExchange>> woken;  // behind the last look; they hold the inbox
  const std::lock_guard lock(inbox_->mutex);
  woken.swap(inbox_->woken);
}

void BatchRunner::run() {
  while (true) {
    {
      std::unique_lock lock(inbox_->mutex);
      inbox_->came.wait_for(lock, kLook, [this] { return inbox_->stopping || !inbox_->woken.empty(); });
      if (inbox_->stopping) break;
    }
    take_in();
    if (!save()) continue;
    if (!kept_.runs_batches()) continue;
    refresh();
    for (const auto& active : active_) advance(*active);
    std::erase_if(active_, [](const auto& active) { return active->batch.over(); });
    while (running_.size() < lines_at_once_ && begin_one()) {
    }
  }
  take_in();
  (void)save();  // what is not on disk now is asked again by the next process
}

void BatchRunner::take_in() {
  std::vector<std::shared_ptr<LineExchange>> woken;
  {
    const std::lock_guard lock(inbox_->mutex);
    woken.swap(inbox_->woken);
  }
  for (const auto& exchange : woken) {
    const auto at = std::find_if(running_.begin(), running_.end(), [&](const Running& r) { return r.exchange == exchange; });
    if (at == running_.end()) continue;  // abandoned
    HttpResponse response;
    if (!exchange->pump(response)) continue;
    Running line = std::move(*at);
    running_.erase(at);
    const auto owner = std::find_if(active_.begin(), active_.end(), [&](const auto& a) { return a->batch.number == line.batch; });
    if (owner == active_.end()) continue;
    Active& active = **owner;
    --active.running;
    if (asks_again(response.status)) {
      uint64_t wait_s = 1;
      for (const Header& h : response.headers) {
        if (h.name == "retry-after" || h.name == "Retry-After") wait_s = std::clamp<uint64_t>(std::strtoull(h.value.c_str(), nullptr, 10), 1, 30);
      }
      active.waiting.push_back({line.span, steady_us() / 1000 + wait_s * 1000});
      continue;
    }
    unsaved_.push_back({line.batch, line.span.line, response.status == 200,
                        batch_answer_line(active.batch, line.span.line, line.custom_id, exchange->id(), response)});
  }
}

void BatchRunner::trouble(const ApiError& error) {
  hold_until_ms_ = steady_us() / 1000 + kHoldMs;
  if (error.message == last_trouble_) return;
  last_trouble_ = error.message;
  kept_.say("batches: " + error.message + "; they wait, and try again");
}

// False while answers could not be written down: nothing new is begun then.
bool BatchRunner::save() {
  if (steady_us() / 1000 < hold_until_ms_) return false;
  if (unsaved_.empty()) return true;
  if (const Refused refused = kept_.batches().answer(unsaved_)) {
    trouble(*refused);
    return false;
  }
  unsaved_.clear();
  last_trouble_.clear();
  return true;
}

void BatchRunner::refresh() {
  if (const uint64_t now_ms = steady_us() / 1000; now_ms >= expire_at_ms_) {
    expire_at_ms_ = now_ms + kExpireEveryMs;
    kept_.files().expire();
  }
  std::vector<Batch> now;
  if (const Refused refused = kept_.batches().active(now)) return trouble(*refused);
  for (Batch& batch : now) {
    const auto known = std::find_if(active_.begin(), active_.end(), [&](const auto& a) { return a->batch.number == batch.number; });
    if (known == active_.end()) {
      active_.push_back(std::make_unique<Active>());
      active_.back()->batch = std::move(batch);
    } else {
      (*known)->batch.status = batch.status;
      (*known)->batch.body = std::move(batch.body);
    }
  }
}

// Everything but the lines themselves.
void BatchRunner::advance(Active& active) {
  Batch& batch = active.batch;
  Refused refused;
  if (!identity_of_(batch.tenant, batch.key)) {
    refused = end(active, "cancelled", "key_revoked", "the key that made the batch is not valid any more");
  } else if (batch.status == "cancelling") {
    refused = end(active, "cancelled", "batch_cancelled", "the batch was cancelled before this line was answered");
  } else if (kept_.now_s() >= batch.ends_s) {
    refused = end(active, "expired", "batch_expired", "the line could not be answered before the completion window ended");
  } else if (batch.status == "validating") {
    refused = validate(active);
  } else if (active.running == 0 && active.waiting.empty()) {
    std::vector<BatchSpan> more;
    refused = kept_.batches().waiting(batch.number, active.fetched_to, kFetched, more);
    for (const BatchSpan& span : more) active.waiting.push_back({span, 0});
    if (!more.empty()) active.fetched_to = more.back().line;
    if (!refused && more.empty()) refused = end(active, "completed", "", "");
  }
  if (!refused) return;
  if (refused->status != 507 && refused->status != 503 && batch.status != "validating") {
    // What the ledger cannot do now it will not do later either.
    batch.body["errors"] = {{"object", "list"}, {"data", Json::array({{{"code", refused->code}, {"message", refused->message}, {"line", nullptr}}})}};
    if (!kept_.batches().update(batch, "failed")) return;
  }
  trouble(*refused);
}

Refused BatchRunner::validate(Active& active) {
  Batch& batch = active.batch;
  KeptFile file;
  std::string text;
  std::vector<BatchSpan> spans;
  Refused refused = kept_.files().get(batch.tenant, batch.input, file);
  if (!refused) {
    text.resize(file.bytes);
    refused = kept_.files().read(file.number, 0, text);
  }
  if (!refused) refused = cut_batch(text, spans);
  if (refused) {
    batch.body["errors"] = {{"object", "list"}, {"data", Json::array({{{"code", refused->code}, {"message", refused->message}, {"param", "input_file_id"},
                                                                       {"line", nullptr}}})}};
    return kept_.batches().update(batch, "failed");
  }
  const std::string endpoint = batch.body["endpoint"].get<std::string>();
  std::vector<BatchAnswer> bad;
  std::vector<std::string_view> ids;
  std::deque<std::string> held;
  for (const BatchSpan& span : spans) {
    BatchLine line;
    const Refused wrong = read_batch_line(std::string_view(text).substr(span.begin, span.bytes), endpoint, line);
    if (wrong) {
      bad.push_back({batch.number, span.line, false, batch_error_line(batch, span.line, line.custom_id, wrong->code, wrong->message)});
    } else {
      ids.push_back(held.emplace_back(std::move(line.custom_id)));
    }
  }
  std::sort(ids.begin(), ids.end());
  if (std::adjacent_find(ids.begin(), ids.end()) != ids.end()) {  // answers are told apart by it
    const std::string_view twice = *std::adjacent_find(ids.begin(), ids.end());
    batch.body["errors"] = {{"object", "list"}, {"data", Json::array({{{"code", "duplicate_custom_id"}, {"param", "custom_id"}, {"line", nullptr},
                                                  {"message", fmt::format("custom_id '{}' occurs more than once", twice)}}})}};
    return kept_.batches().update(batch, "failed");
  }
  return kept_.batches().lay_out(batch, spans, bad);
}

void BatchRunner::abandon(int64_t batch) {
  for (Running& line : running_) {
    if (line.batch == batch) line.exchange->abandon();
  }
  std::erase_if(running_, [&](const Running& line) { return line.batch == batch; });
}

// What has no answer gets `code` as one (none left when completed), then the files are made.
Refused BatchRunner::end(Active& active, std::string_view status, std::string_view code, std::string_view sentence) {
  Batch& batch = active.batch;
  abandon(batch.number);
  active.running = 0;
  active.waiting.clear();
  for (uint64_t line = 0; !code.empty();) {
    std::vector<BatchSpan> left;
    SLUICE_REFUSE(kept_.batches().waiting(batch.number, line, kFetched, left));
    if (left.empty()) break;
    std::vector<BatchAnswer> answers;
    for (const BatchSpan& span : left) {
      std::string text;
      BatchLine read;
      if (!read_span(batch, span, text)) (void)read_batch_line(text, batch.body["endpoint"].get<std::string>(), read);
      answers.push_back({batch.number, span.line, false, batch_error_line(batch, span.line, read.custom_id, code, sentence)});
    }
    SLUICE_REFUSE(kept_.batches().answer(answers));
    line = left.back().line;
  }
  return kept_.batches().finish(kept_.files(), batch, status);
}

Refused BatchRunner::read_span(const Batch& batch, const BatchSpan& span, std::string& out) {
  KeptFile file;
  SLUICE_REFUSE(kept_.files().get(batch.tenant, batch.input, file));
  out.resize(span.bytes);
  return kept_.files().read(file.number, span.begin, out);
}

// The next line that may go, of the batches in turn.
bool BatchRunner::begin_one() {
  if (api_.backend().statistics().queued_requests > 0) return false;
  const uint64_t now_ms = steady_us() / 1000;
  for (size_t i = 0; i < active_.size(); ++i) {
    Active& active = *active_[(turn_ + i) % active_.size()];
    if (active.batch.status != "in_progress") continue;
    for (size_t w = 0; w < active.waiting.size(); ++w) {
      if (active.waiting[w].not_before_ms > now_ms) continue;
      const BatchSpan span = active.waiting[w].span;
      active.waiting.erase(active.waiting.begin() + static_cast<ptrdiff_t>(w));
      turn_ = (turn_ + i + 1) % active_.size();
      return begin_line(active, span, now_ms);
    }
  }
  return false;
}

bool BatchRunner::begin_line(Active& active, const BatchSpan& span, uint64_t now_ms) {
  const Batch& batch = active.batch;
  const std::string endpoint = batch.body["endpoint"].get<std::string>();
  std::optional<Identity> identity = identity_of_(batch.tenant, batch.key);
  std::string text;
  const Refused unread = read_span(batch, span, text);
  if (unread || !identity) {
    active.waiting.push_back({span, now_ms + kHoldMs});
    if (unread) trouble(*unread);
    return false;
  }
  BatchLine line;
  if (const Refused wrong = read_batch_line(text, endpoint, line)) {  // validated before: only if the file is another one now
    unsaved_.push_back({batch.number, span.line, false, batch_error_line(batch, span.line, line.custom_id, wrong->code, wrong->message)});
    return true;
  }
  const Match match = router_.find("POST", endpoint, false);
  SLUICE_CHECK(match.route != nullptr);
  const std::string digits = batch.id.substr(batch.id.find('_') + 1);
  const auto exchange = std::make_shared<LineExchange>(inbox_, fmt::format("req_{}{:06x}", digits, span.line), std::move(*identity), endpoint,
                                                       std::move(line.body));
  ++active.running;
  running_.push_back({batch.number, span, std::move(line.custom_id), exchange});
  try {
    match.route->handler(exchange);
  } catch (const std::exception&) {
    exchange->respond(error_response(match.route->errors, {.status = 500, .code = "internal_error", .message = "the request failed inside the server"},
                                     exchange->id()));
  }
  return true;
}

}  // namespace sluice::server
