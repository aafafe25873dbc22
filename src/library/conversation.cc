// Conversations for the public header: tokens here, states in the engine's store. Next: conversation_file.cc for save() and restore().
#include <fmt/format.h>

#include <chrono>
#include <deque>

#include "library/conversation_impl.h"

namespace sluice {
namespace {

constexpr int32_t kNoToken = -1;

// Filled on the engine's thread, emptied by the one that waits for the answer.
class Mailbox final : public engine::ResponseSink {
 public:
  struct Told {
    int32_t token;
    std::string text;
  };
  struct End {
    engine::FinishReason reason = engine::FinishReason::kError;
    std::string stop, error;
    uint64_t cached_tokens = 0;
  };

  void token(const engine::TokenOut& t) override { put({t.id, std::string(t.text)}); }
  void choice_done(const engine::ChoiceDone& c) override {
    if (!c.text.empty()) put({kNoToken, std::string(c.text)});
    const std::lock_guard lock(mutex_);
    end_.reason = c.reason;
    end_.stop = c.stop_string;
  }
  void done(const engine::RequestDone& d) override {
    const std::lock_guard lock(mutex_);
    end_.error = d.error;
    end_.cached_tokens = d.cached_tokens;
    done_ = true;
    wake_.notify_one();
  }

  // The next thing told, or nothing: then end() is there.
  std::optional<Told> take() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return done_ || !told_.empty(); });
    if (told_.empty()) return std::nullopt;
    Told first = std::move(told_.front());
    told_.pop_front();
    return first;
  }
  const End& end() const { return end_; }

 private:
  void put(Told told) {
    const std::lock_guard lock(mutex_);
    told_.push_back(std::move(told));
    wake_.notify_one();
  }
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Told> told_;
  End end_;
  bool done_ = false;
};

// A caller that leaves early (its callback threw) leaves nothing running.
class Running {
 public:
  Running(engine::Engine& engine, engine::RequestId id) : engine_(engine), id_(id) {}
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() { stop(); }
  void stop() {
    if (id_ != 0) engine_.cancel(std::exchange(id_, 0));
  }
  void ended() { id_ = 0; }

 private:
  engine::Engine& engine_;
  engine::RequestId id_;
};

Finish finish_of(engine::FinishReason reason) {
  if (reason == engine::FinishReason::kLength) return Finish::kLength;
  return reason == engine::FinishReason::kStop ? Finish::kStop : Finish::kCancelled;
}

engine::SamplerOptions sampler_of(const Sampling& s) {
  engine::SamplerOptions out{.temperature = s.temperature, .top_k = s.top_k, .top_p = s.top_p, .min_p = s.min_p, .seed = s.seed};
  out.typical_p = s.typical_p;
  out.repetition_penalty = s.repetition_penalty;
  out.presence.scale = s.presence_penalty;
  out.frequency.scale = s.frequency_penalty;
  return out;
}

template <class T>
Expected<T> told(Result<T> result) {
  if (!result.ok()) return failure(result.error());
  return std::move(*result);
}
Expected<void> told(const Status& status) {
  if (!status.ok()) return failure(status.error());
  return {};
}

}  // namespace

Status Conversation::Impl::becomes(Kind wanted) {
  if (kind != Kind::kEmpty && kind != wanted) {
    return Error{kind == Kind::kText ? "this conversation is one text: a message cannot follow it" : "this conversation has messages: text cannot follow them"};
  }
  if (wanted == Kind::kMessages && !model->chat_template) return Error{"the model has no chat template: append() text instead of messages"};
  kind = wanted;
  return {};
}

Result<std::vector<int32_t>> Conversation::Impl::prompt(bool for_answer) const {
  if (kind == Kind::kEmpty || (kind == Kind::kText && tokens.empty())) return Error{"the conversation is empty: append something first"};
  if (kind == Kind::kText) return tokens;
  const text::Tokenizer& tokenizer = model->tokenizer();
  const auto token_text = [&](int32_t id) { return id < 0 ? std::string() : std::string(tokenizer.token_bytes(id)); };
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Message& message : messages) list.push_back({{"role", message.role}, {"content", message.text}});
  const nlohmann::ordered_json context = {{"messages", list}, {"add_generation_prompt", for_answer}, {"bos_token", token_text(tokenizer.spec().bos_id)},
                                          {"eos_token", token_text(tokenizer.spec().eos_id)}};
  text::RenderOptions options;  // some templates print the date
  const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
  options.now = text::DateTime::from_unix(std::chrono::duration_cast<std::chrono::seconds>(since_1970).count(), 0);
  SLUICE_TRY(const text::Rendered rendered, model->chat_template->render_parts(context, options));
  std::vector<text::TextPart> parts;
  for (const text::RenderedSpan& span : rendered.spans) {
    parts.push_back({std::string_view(rendered.text).substr(span.begin, span.end - span.begin), span.origin == text::Origin::from_template});
  }
  return tokenizer.encode_parts(parts, true);
}

Result<Answer> Conversation::Impl::run(engine::Request request, const std::function<bool(const Piece&)>& on_piece) const {
  Answer answer;
  answer.prompt_tokens = request.prompt.size();
  auto mail = std::make_shared<Mailbox>();
  const engine::Submitted submitted = model->engine->submit(std::move(request), mail);
  if (submitted.refusal != engine::Refusal::kNone) return Error{submitted.message};
  Running running(*model->engine, submitted.id);
  bool enough = false;
  while (const std::optional<Mailbox::Told> told = mail->take()) {
    if (enough) continue;  // said before the engine heard
    if (told->token != kNoToken) answer.tokens.push_back(told->token);
    answer.text += told->text;
    enough = on_piece && !on_piece({told->token, told->text});
    if (enough) running.stop();
  }
  running.ended();
  const Mailbox::End& end = mail->end();
  if (!end.error.empty()) return Error{end.error};
  answer.finish = enough ? Finish::kCancelled : finish_of(end.reason);
  if (!enough) answer.stop = end.stop;
  answer.reused_tokens = end.cached_tokens;
  return answer;
}

Result<Answer> Conversation::Impl::generate(const GenerateOptions& options) {
  if (options.max_tokens == 0) return Error{"max_tokens 0: at least 1; read() computes without answering"};
  engine::Request request;
  SLUICE_TRY(request.prompt, prompt(true));
  SLUICE_TRY(request.constraint, model->compile(options.constraint));
  request.max_tokens = options.max_tokens;
  request.sampler = sampler_of(options.sampling);
  request.stop.strings = options.stop;
  request.stop.ids = options.stop_tokens;
  request.stop.ignore_end = options.ignore_end;
  request.speculate = options.speculate;
  std::vector<int32_t> read = request.prompt;
  SLUICE_TRY(Answer answer, run(std::move(request), options.on_piece));
  if (kind == Kind::kText && !answer.stop.empty()) {  // the stop string's tokens are no part of the text
    SLUICE_TRY(const std::vector<int32_t> said, model->tokenizer().encode(answer.text, {}));
    read.insert(read.end(), said.begin(), said.end());
  } else {
    read.insert(read.end(), answer.tokens.begin(), answer.tokens.end());
  }
  tokens = std::move(read);
  if (kind == Kind::kMessages) messages.push_back({"assistant", answer.text});
  return answer;
}

Status Conversation::Impl::read() {
  engine::Request request;
  SLUICE_TRY(request.prompt, prompt(true));
  std::vector<int32_t> all = request.prompt;
  SLUICE_TRY(const Answer nothing, run(std::move(request), {}));
  tokens = std::move(all);
  return {};
}

Conversation::Conversation(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Conversation::Conversation(Conversation&&) noexcept = default;
Conversation& Conversation::operator=(Conversation&&) noexcept = default;
Conversation::~Conversation() = default;

Conversation Model::conversation() const {
  auto impl = std::make_unique<Conversation::Impl>();
  impl->model = impl_;
  return Conversation(std::move(impl));
}

Conversation Conversation::fork() const { return Conversation(std::make_unique<Impl>(*impl_)); }

Expected<void> Conversation::append(std::string_view text) {
  if (const Status status = impl_->becomes(Impl::Kind::kText); !status.ok()) return told(status);
  const Result<std::vector<int32_t>> ids = impl_->model->tokenizer().encode(text, {.parse_special = false, .add_special = impl_->tokens.empty()});
  if (!ids.ok()) return failure(ids.error());
  impl_->tokens.insert(impl_->tokens.end(), ids->begin(), ids->end());
  return {};
}

Expected<void> Conversation::append_tokens(std::span<const int32_t> tokens) {
  const size_t vocabulary = impl_->model->tokenizer().vocabulary_size();
  for (const int32_t id : tokens) {
    if (id < 0 || static_cast<size_t>(id) >= vocabulary) return Failure{fmt::format("token id {} is outside the vocabulary of {}", id, vocabulary)};
  }
  if (const Status status = impl_->becomes(Impl::Kind::kText); !status.ok()) return told(status);
  impl_->tokens.insert(impl_->tokens.end(), tokens.begin(), tokens.end());
  return {};
}

Expected<void> Conversation::append_message(std::string_view role, std::string_view text) {
  if (const Status status = impl_->becomes(Impl::Kind::kMessages); !status.ok()) return told(status);
  impl_->messages.push_back({std::string(role), std::string(text)});
  return {};
}

Expected<Answer> Conversation::generate(const GenerateOptions& options) { return told(impl_->generate(options)); }
Expected<void> Conversation::read() { return told(impl_->read()); }
Expected<void> Conversation::save(const std::string& file) { return told(impl_->save(file)); }

Expected<void> Conversation::truncate(size_t count) {
  if (count > size()) return Failure{fmt::format("truncate to {}: the conversation has {}", count, size())};
  if (impl_->kind == Impl::Kind::kMessages) {
    impl_->messages.resize(count);
  } else {
    impl_->tokens.resize(count);
  }
  return {};
}

size_t Conversation::size() const { return impl_->kind == Impl::Kind::kMessages ? impl_->messages.size() : impl_->tokens.size(); }
std::vector<int32_t> Conversation::tokens() const { return impl_->tokens; }

uint64_t Conversation::known_tokens() const {
  const Result<std::vector<int32_t>> prompt = impl_->prompt(true);
  if (!prompt.ok()) return 0;
  uint64_t known = 0;
  impl_->model->engine->with_store([&](engine::StateStore& store) { known = store.resumable(0, *prompt); });
  return known;
}

}  // namespace sluice
