#include "server/embedding_routes.h"

#include <fmt/format.h>

#include <atomic>
#include <cmath>
#include <mutex>

#include "server/chat_fields.h"
#include "server/openai_json.h"
#include "server/openai_routes.h"

namespace sluice::server {
namespace {

constexpr size_t kInFlight = 4;  // texts of one request in the engine at a time

std::string base64(std::span<const float> floats) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const auto bytes = std::as_bytes(floats);  // little-endian, as the format wants
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t three = 0;
    for (size_t j = 0; j < 3; ++j) three = three << 8 | (i + j < bytes.size() ? static_cast<uint32_t>(bytes[i + j]) : 0);
    for (size_t j = 0; j < 4; ++j) out += i + j > bytes.size() ? '=' : kDigits[three >> (18 - 6 * j) & 63];
  }
  return out;
}

// All texts of one request: a few at a time go through the engine; the last one to come back answers.
class EmbeddingJob final : public AnswerSource, public std::enable_shared_from_this<EmbeddingJob> {
 public:
  EmbeddingJob(const Api& api, std::shared_ptr<Exchange> exchange, std::vector<std::vector<int32_t>> inputs, std::string model, bool as_base64)
      : api_(api), exchange_(std::move(exchange)), inputs_(std::move(inputs)), vectors_(inputs_.size()), model_(std::move(model)), as_base64_(as_base64) {}

  void start(Admission admission) {
    admission_ = std::move(admission);
    for (size_t i = 0; i < kInFlight; ++i) submit_next();
  }

  // I/O thread.
  State pull(Exchange& exchange, std::string&, size_t) override {
    if (!over_.load(std::memory_order_acquire)) return State::kMore;
    const std::lock_guard lock(mutex_);
    exchange.record().usage = usage_;
    if (error_) {
      exchange.record().error_code = error_->code;
      exchange.respond(error_response(ErrorShape::kOpenAi, *error_, exchange.id()));
    } else {
      exchange.respond(document());
    }
    return State::kEnd;
  }
  void closed() override {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    for (const engine::RequestId id : running_) api_.backend().cancel(id);
  }

 private:
  struct Sink final : engine::ResponseSink {
    Sink(std::shared_ptr<EmbeddingJob> job_in, size_t input_in) : job(std::move(job_in)), input(input_in) {}
    void done(const engine::RequestDone& done) override { job->finished(input, done); }
    std::shared_ptr<EmbeddingJob> job;
    size_t input;
  };

  void submit_next() {
    size_t input = 0;
    engine::Request request;
    {
      const std::lock_guard lock(mutex_);
      if (next_ == inputs_.size() || error_ || cancelled_) return;
      input = next_++;
      ++open_;
      request.prompt = std::move(inputs_[input]);
    }
    request.tenant = exchange_->identity().tenant;
    request.key = exchange_->identity().key;
    request.tier = admission_.tier;
    request.embed = true;
    request.keep = request.use_store = false;
    const engine::Submitted submitted = api_.backend().submit(std::move(request), std::make_shared<Sink>(shared_from_this(), input));
    if (submitted.refusal != engine::Refusal::kNone) {
      return over(refusal_error(submitted, api_.backend().statistics(), admission_.tier));
    }
    const std::lock_guard lock(mutex_);
    running_.push_back(submitted.id);
    if (cancelled_) api_.backend().cancel(submitted.id);
  }

  // The engine's thread.
  void finished(size_t input, const engine::RequestDone& done) {
    Refused error;
    if (!done.error.empty()) error = ApiError{.status = 500, .code = "generation_failed", .message = std::string(done.error)};
    if (!error && done.embedding.empty()) error = ApiError{.status = 503, .code = "cancelled", .message = "the request was cancelled"};
    {
      const std::lock_guard lock(mutex_);
      usage_.prompt_tokens += done.prompt_tokens;
      usage_.queue_us += done.queue_us;
      usage_.prompt_us += done.prompt_us;
      double sum = 0;
      for (const float x : done.embedding) sum += static_cast<double>(x) * x;
      const double scale = sum > 0 ? 1 / std::sqrt(sum) : 0;
      vectors_[input].reserve(done.embedding.size());
      for (const float x : done.embedding) vectors_[input].push_back(static_cast<float>(x * scale));
    }
    over(error);
    submit_next();
  }

  void over(const Refused& error) {
    bool last = false;
    {
      const std::lock_guard lock(mutex_);
      if (error && !error_) error_ = error;
      --open_;
      last = open_ == 0 && (next_ == inputs_.size() || error_ || cancelled_);
      if (last && told_) last = false;
      told_ = told_ || last;
      usage_.failed = error_.has_value();
    }
    if (!last) return;
    api_.gate().finished(exchange_->identity(), admission_.ticket, usage_);
    over_.store(true, std::memory_order_release);
    exchange_->wake();
  }

  HttpResponse document() const {
    HttpResponse response;
    std::string& out = response.body;
    out = "{\"object\":\"list\",\"data\":[";
    for (size_t i = 0; i < vectors_.size(); ++i) {
      fmt::format_to(std::back_inserter(out), "{}{{\"object\":\"embedding\",\"index\":{},\"embedding\":", i > 0 ? "," : "", i);
      if (as_base64_) {
        out += '"' + base64(vectors_[i]) + '"';
      } else {
        fmt::format_to(std::back_inserter(out), "[{}]", fmt::join(vectors_[i], ","));
      }
      out += '}';
    }
    out += "],\"model\":";
    append_json_string(out, model_);
    fmt::format_to(std::back_inserter(out), ",\"usage\":{{\"prompt_tokens\":{0},\"total_tokens\":{0}}}}}", usage_.prompt_tokens);
    return response;
  }

  const Api& api_;
  const std::shared_ptr<Exchange> exchange_;
  Admission admission_;
  std::mutex mutex_;  // for all below
  std::vector<std::vector<int32_t>> inputs_;
  std::vector<std::vector<float>> vectors_;
  const std::string model_;
  const bool as_base64_;
  std::vector<engine::RequestId> running_;
  size_t next_ = 0, open_ = 0;
  bool cancelled_ = false, told_ = false;
  Refused error_;
  Usage usage_;
  std::atomic<bool> over_{false};
};

Refused read_inputs(FieldReader& fields, const Api& api, std::vector<std::vector<int32_t>>& out) {
  const Json* given = fields.any("input");
  if (!given) {
    fields.require("input");
    return fields.ok() ? Refused{} : fields.finish();
  }
  const bool one = given->is_string() || (given->is_array() && !given->empty() && (*given)[0].is_number());
  const Json list = one ? Json::array({*given}) : *given;
  if (!list.is_array() || list.empty() || list.size() > limits::kEmbeddingInputsMax) {
    return bad_request("input", fmt::format("input must be a text, a list of token ids, or 1 to {} of them", limits::kEmbeddingInputsMax));
  }
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = one ? "input" : fmt::format("input[{}]", i);
    std::vector<int32_t> tokens;
    if (list[i].is_string()) {
      Result<std::vector<int32_t>> encoded = api.tokenizer().encode(list[i].get_ref<const std::string&>(), {.parse_special = false, .add_special = true});
      if (!encoded.ok()) return bad_request(where, encoded.error().message);
      tokens = std::move(*encoded);
    } else {
      const Json wrapped = {{where, list[i]}};
      FieldReader inner(wrapped, "");
      inner.integers(where, limits::kJsonValuesMax, 0, static_cast<int64_t>(api.tokenizer().vocabulary_size()) - 1, tokens);
      SLUICE_REFUSE(inner.finish());
    }
    if (tokens.empty()) return bad_request(where, where + " has no tokens");
    if (tokens.size() > api.context()) {
      return bad_request(where, fmt::format("{} has {} tokens, the context holds {}", where, tokens.size(), api.context()), "context_length_exceeded");
    }
    out.push_back(std::move(tokens));
  }
  return {};
}

Refused embed(const Api& api, const std::shared_ptr<Exchange>& exchange) {
  const std::string body = exchange->take_body();
  Json json;
  SLUICE_REFUSE(parse_request_object(body, json));
  FieldReader fields(json, "");
  std::string model;
  read_model(fields, api, model);
  if (!fields.ok()) return fields.finish();
  std::vector<std::vector<int32_t>> inputs;
  SLUICE_REFUSE(read_inputs(fields, api, inputs));
  size_t encoding = 0;
  fields.word("encoding_format", {"float", "base64"}, encoding);
  if (fields.any("dimensions")) fields.refuse("dimensions", "dimensions is not supported: vectors are as wide as the model", "unsupported_parameter");
  fields.ignore({"user"});
  SLUICE_REFUSE(fields.finish());
  exchange->note(api.facts().id, {});
  Price price{.bytes = body.size(), .batch = exchange->request().peer == kBatchPeer};
  for (const auto& tokens : inputs) price.prompt_tokens += tokens.size();
  Admission admission = api.gate().admit(exchange->identity(), price);
  if (admission.refusal.refused()) return to_api_error(admission.refusal);
  const auto job = std::make_shared<EmbeddingJob>(api, exchange, std::move(inputs), std::move(model), encoding == 1);
  exchange->attach(job);
  job->start(std::move(admission));
  return {};
}

}  // namespace

Handler embeddings_handler(const Api& api) { return action_handler(ErrorShape::kOpenAi, embed, std::cref(api)); }

}  // namespace sluice::server
