// The engine: many conversations on one runtime, one thread, one state store. Callers submit typed requests from any thread into a bounded queue; each
// step the engine mixes prefill chunks and decode rows under the plan's row budget, samples, and tells each request's sink what came out.
// Contract: submit(), cancel() and statistics() may be called from any thread and never wait for a step; a sink is called on the engine's thread, must
// return quickly and never call back into the engine other than through submit() and cancel(). One request's failure never touches another's bits.
// Next: scheduler.h (the deterministic core, simulated in tests with a fake clock and runtime), sampler.h, state_store.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/sampler.h"
#include "engine/state_store.h"
#include "runtime/runtime.h"
#include "text/constraint.h"
#include "text/tokenizer.h"

namespace sluice::engine {

using RequestId = uint64_t;

// Who goes first when rows are short. Within a tier, keys share fairly (deficit counters over rows computed), whatever each one queues.
enum class Tier : uint8_t { kPerformance, kOnDemand, kFlex, kBatch };

enum class FinishReason : uint8_t { kStop, kLength, kCancelled, kDeadline, kError };

struct StopRules {
  std::vector<std::string> strings;   // matched over the text across tokens; not part of the output
  std::vector<int32_t> ids;           // besides the model's own end tokens
  bool ignore_end = false;            // the model's own end tokens do not end the answer
  uint32_t min_tokens = 0;            // until then neither end tokens nor stop rules apply
};

// The model's thoughts get so many tokens: then `end` is put in, whatever the model would say.
struct ThinkingLimit {
  uint64_t tokens_max = 0;
  std::string open, close;                    // "<think>", "</think>", as the model's tokens print them
  std::vector<int32_t> end;                   // tokens whose text holds `close`
  bool begun = false;                         // the prompt ends inside the thoughts
};

// A place in a prompt that is kept and pinned; the lease starts anew with every hit.
struct Pin {
  uint32_t position = 0;
  uint64_t ttl_ms = 0;
};

struct Request {
  uint32_t tenant = 0;                        // the state store never shares between tenants
  uint32_t key = 0;                           // fairness is by key
  Tier tier = Tier::kOnDemand;
  std::vector<int32_t> prompt;                // at least one token
  std::vector<uint32_t> message_starts;       // positions in prompt, rising; names the message that differs, places checkpoints
  uint32_t system_end = 0;                    // tokens of the system part, 0: unknown
  uint64_t max_tokens = 0;                    // of each choice; 0: nothing is generated (the prompt is read and kept)
  uint32_t choices = 1;                       // forks of the state at the prompt's end
  SamplerOptions sampler;
  StopRules stop;
  std::shared_ptr<const text::Constraint> constraint;  // may be null
  std::shared_ptr<const text::ConstraintState> constraint_begun;  // of `constraint`, behind what the prompt holds of the answer; null: nothing
  int32_t top_logprobs = -1;                  // -1: none; 0: the chosen token's; k: and the k best
  bool echo_logprobs = false;                 // also for the prompt's tokens
  bool embed = false;                         // wants the last norm's mean over the prompt, no tokens
  bool show_special = false;                  // special tokens have text too
  bool keep = true;                           // the store keeps this conversation
  bool use_store = true;                      // false: computed from nothing
  uint64_t pin_ttl_ms = 0;                    // pin the prompt's end, 0: no
  std::vector<Pin> pins;                      // more places of the prompt to keep and pin (cache_control)
  uint64_t queue_deadline_ms = 0, first_token_deadline_ms = 0, total_deadline_ms = 0;  // after submit; 0: none
  std::optional<ThinkingLimit> thinking;
  uint32_t speculate = 0;                     // tokens drafted by n-gram lookup at most; 0: off
};

// Everything is valid during the call only.
struct TokenOut {
  uint32_t choice = 0;
  int32_t id = 0;
  std::string_view text;                 // whole UTF-8; may be empty while a character or a possible stop string is held back
  TokenLogprob logprob;                  // when asked for
  std::span<const TokenLogprob> top;     // most likely first
};

struct Started {
  uint64_t queue_us = 0;
  uint64_t cached_tokens = 0;            // of the prompt, resumed from a state
  const Lookup* lookup = nullptr;        // why not more (state_store.h)
};

struct ChoiceDone {
  uint32_t choice = 0;
  FinishReason reason = FinishReason::kStop;
  std::string_view text;                 // what was held back
  std::string_view stop_string;          // which one matched, if one did
  int32_t stop_id = -1;
  uint64_t tokens = 0;
};

struct RequestDone {
  uint64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
  uint64_t drafted_tokens = 0, accepted_tokens = 0;
  uint64_t queue_us = 0, prompt_us = 0, completion_us = 0;
  std::string_view error;                // not empty: the request failed (its choices ended with kError)
  std::span<const float> embedding;
};

class ResponseSink {
 public:
  virtual ~ResponseSink() = default;
  virtual void started(const Started&) {}
  virtual void token(const TokenOut&) {}
  virtual void prompt_token(uint32_t /*position*/, const TokenLogprob&, std::span<const TokenLogprob> /*top*/) {}
  virtual void choice_done(const ChoiceDone&) {}
  virtual void done(const RequestDone&) = 0;  // the last call; the engine drops the sink after it
};

struct EngineOptions {
  uint64_t context = 4096;          // tokens of a conversation at most
  uint32_t sequences_max = 8;       // running at once, forks included
  uint32_t queue_requests_max = 256;
  uint64_t queue_tokens_max = 1u << 20;
  uint64_t store_bytes = 0;         // budget of the state store beyond running sequences
  uint64_t prefill_rows_max = 0;    // of a step while others decode; 0: chosen so that decode is not slowed more than twofold
  uint64_t store_ttl_ms = 0;
  std::filesystem::path disk_folder;  // states live on below memory in this folder (disk_tier.h); empty: they do not
  uint64_t disk_bytes = 0;            // cap of that folder
  uint64_t program = 0;               // fingerprint of the program's text: what a saved state means
  uint32_t kv_type = 0;               // of the pages; set by create()
  std::function<void()> disk_notify;  // set by create()
  bool speculation = false;         // requests may ask to speculate: one more state for each sequence
  std::function<uint64_t()> now_us;  // injected clock; empty: the steady clock
};

// A snapshot; each figure is read on its own. Plain numbers only: it is copied word by word.
struct EngineStatistics {
  uint32_t queued_requests = 0, running_sequences = 0;
  uint64_t queued_tokens = 0;
  uint64_t steps = 0, prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
  uint64_t requests_done = 0, requests_failed = 0, requests_cancelled = 0;
  double prefill_tokens_per_s = 0, decode_step_ms = 0;  // running means, for Retry-After
  uint64_t disk_snapshots = 0, disk_bytes = 0, disk_written = 0, disk_loaded = 0, disk_failures = 0;
  StoreStats store;
};

// Why submit() refused; the server turns it into a status code.
enum class Refusal : uint8_t { kNone, kQueueFull, kTooLong, kInvalid, kDraining };
struct Submitted {
  RequestId id = 0;
  Refusal refusal = Refusal::kNone;
  std::string message;              // of a refusal, with the value and the limit
};

class Engine {
 public:
  // What an engine takes beside the runtime's own memory and store_bytes: sequences, their pages, tables, the sampler's scratch.
  static uint64_t bytes(const runtime::Runtime& runtime, const EngineOptions& options);
  // `runtime` (sizes with at least sequences_max logit rows) and `tokenizer` outlive the engine. Starts the thread.
  static Result<std::unique_ptr<Engine>> create(runtime::Runtime& runtime, const text::Tokenizer& tokenizer, uint64_t fingerprint,
                                                const EngineOptions& options);
  ~Engine();  // cancels what runs

  Submitted submit(Request request, std::shared_ptr<ResponseSink> sink);
  void cancel(RequestId id);             // takes effect within one step
  void drain();                          // refuses new requests; returns at once. statistics() says when nothing is left
  EngineStatistics statistics() const;
  const EngineOptions& options() const;

  // Runs on the engine's thread between two steps and waits for it: state operations (pin, explain, list, save, fork), never per token.
  void with_store(const std::function<void(StateStore&)>& work);
  // Likewise: lets go, from memory and disk, of the state at exactly these tokens' end. What goes on from it keeps what it needs.
  void forget(uint32_t tenant, std::span<const int32_t> tokens);

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::engine
