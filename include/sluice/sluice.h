// libsluice: hybrid language models inside a memory cap, and conversations that are never computed twice.
//
//   auto model = sluice::Model::open({});                       // the model inside the library; .path names another
//   if (!model.ok()) return fail(model.error());
//   sluice::Conversation talk = model->conversation();
//   (void)talk.append("Once upon a time");
//   auto answer = talk.generate({.max_tokens = 40});            // answer->text
//
// Contract: what can fail returns Expected, with a sentence; nothing throws, but std::bad_alloc. Answers depend on the model, the tokens and the sampling
// alone: not on threads, on what runs beside, on forks or restored states, or on the CPU. A Model may be used by many threads at once, a Conversation by
// one at a time; conversations that generate at the same time share the engine's steps. Nothing opens a connection. C++20, this header alone.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice {

struct Failure {
  std::string message;  // names the offending value and the limit
};

// A value, or a sentence that says why there is none. Taking a value that is not there ends the program.
template <class T>
class [[nodiscard]] Expected {
 public:
  Expected(T value) : value_(std::move(value)) {}
  Expected(Failure failure) : error_(std::move(failure.message)) {}

  bool ok() const { return value_.has_value(); }
  explicit operator bool() const { return ok(); }
  T& operator*() & { return *there(); }
  const T& operator*() const& { return *const_cast<Expected*>(this)->there(); }
  T&& operator*() && { return std::move(*there()); }
  T* operator->() { return there(); }
  const T* operator->() const { return const_cast<Expected*>(this)->there(); }
  const std::string& error() const { return error_; }  // empty if there is a value

 private:
  T* there() {
    if (!value_) std::abort();
    return &*value_;
  }
  std::optional<T> value_;
  std::string error_;
};

template <>
class [[nodiscard]] Expected<void> {
 public:
  Expected() = default;
  Expected(Failure failure) : error_(std::move(failure.message)), failed_(true) {}
  bool ok() const { return !failed_; }
  explicit operator bool() const { return ok(); }
  const std::string& error() const { return error_; }

 private:
  std::string error_;
  bool failed_ = false;
};

struct OpenOptions {
  std::string path = {};           // GGUF file, Hugging Face folder or compiled package; empty: the model inside the library
  std::string memory = {};         // cap, "4G": planned before the first token, never exceeded; empty: none
  uint64_t context = 0;            // tokens of a conversation; 0: 4096, or what the model and the cap allow
  uint32_t running = 4;            // conversations computed at once, fewer under a small cap; more wait
  std::string kept = "256M";       // for what conversations have computed, between their answers (less under a small cap)
  uint32_t threads = 0;            // that compute; 0: the CPUs this process may use
  std::string isa = {};            // baseline, avx2, avx512; empty: the best this CPU has; all give the same bits
  std::string kv = "f16";          // keys and values: f32, f16, q8, q4
  std::string state_folder = {};   // conversations live on here below memory, and after a restart; empty: they do not
  std::string state_disk = "16G";  // cap of that folder
  std::function<void(uint64_t done, uint64_t total)> progress = {};  // bytes, while a model is compiled for the first time
};

struct Sampling {
  float temperature = 0.8f;        // 0: always the likeliest token
  uint32_t top_k = 40;             // 0: all
  float top_p = 0.95f;
  float min_p = 0.05f;
  float typical_p = 1;
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  uint64_t seed = 0;
};

// What the answer must be. At most one of these.
struct Constraint {
  std::string json_schema = {};
  std::string regex = {};
  std::string grammar = {};        // as llama.cpp writes them (GBNF)
  std::vector<std::string> choices = {};
};

struct Piece {
  int32_t token = 0;               // -1: text that was held back, at the end
  std::string_view text = {};      // whole UTF-8; may be empty while a character or a possible stop string is held back
};

struct GenerateOptions {
  uint64_t max_tokens = 256;
  Sampling sampling = {};
  Constraint constraint = {};
  std::vector<std::string> stop = {};  // end the answer and are no part of it
  std::vector<int32_t> stop_tokens = {};
  bool ignore_end = false;         // the model's own end tokens do not end the answer
  uint32_t speculate = 0;          // tokens drafted from the text itself at most; changes the speed, never the answer
  std::function<bool(const Piece&)> on_piece = {};  // on the calling thread; false: that was enough
};

enum class Finish : uint8_t { kStop, kLength, kCancelled };

struct Answer {
  std::string text = {};
  std::vector<int32_t> tokens = {};
  Finish finish = Finish::kStop;
  std::string stop = {};           // the stop string that ended it, if one did
  uint64_t prompt_tokens = 0;      // of the conversation before the answer
  uint64_t reused_tokens = 0;      // of these, not computed again
};

// A text, or a list of messages, and what the model has computed of it. Copies are made by fork().
class Conversation {
 public:
  Conversation(Conversation&&) noexcept;
  Conversation& operator=(Conversation&&) noexcept;
  ~Conversation();

  // A conversation is one text, or messages in the model's chat template: what comes first decides. Nothing is computed yet.
  Expected<void> append(std::string_view text);  // special tokens that it spells are plain text
  Expected<void> append_tokens(std::span<const int32_t> tokens);
  Expected<void> append_message(std::string_view role, std::string_view text);

  // Computes what is not known of the conversation, and an answer, which becomes part of it.
  Expected<Answer> generate(const GenerateOptions& options);
  // Computes what is not known, and nothing more: a later answer begins at once.
  Expected<void> read();

  // Forgets all but the first `count`: messages where there are messages, else tokens. What comes next goes on from the nearest kept state.
  Expected<void> truncate(size_t count);
  size_t size() const;             // messages, or tokens
  std::vector<int32_t> tokens() const;  // as they were read last, the answer's included

  // Another one with the same past, at the cost of its tokens: states and pages are shared.
  Conversation fork() const;

  // Into FILE (text) and FILE.state (what was computed), each replaced in one step.
  Expected<void> save(const std::string& file);
  // Tokens that an answer would not compute again.
  uint64_t known_tokens() const;

 private:
  friend class Model;
  struct Impl;
  explicit Conversation(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

class Model {
 public:
  static Expected<Model> open(const OpenOptions& options);
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  ~Model();                        // conversations that are left keep the model alive

  Conversation conversation() const;
  // What save() wrote, in this process or another, on any CPU. A damaged file or one of another model is an error; without FILE.state the text is read again.
  Expected<Conversation> restore(const std::string& file) const;

  const std::string& name() const;
  uint64_t context() const;
  uint64_t memory_bytes() const;   // planned: weights, activations, conversations, kept ones
  bool has_chat_template() const;
  Expected<std::vector<int32_t>> encode(std::string_view text) const;
  Expected<std::string> decode(std::span<const int32_t> tokens) const;

 private:
  friend class Conversation;
  struct Impl;
  explicit Model(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

const char* version();

}  // namespace sluice
