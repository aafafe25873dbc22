// `sluice run`: one answer (a prompt on the command line or on standard input), or a chat on a terminal. Ctrl-C ends a generation, not the program.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/chat_store.h"
#include "cli/chat_tree.h"
#include "cli/constrained_answer.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "engine/sampler.h"
#include "engine/state_file.h"
#include "text/chat_template.h"
#include "text/detokenizer.h"

namespace sluice::cli {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::ordered_json;

constexpr const char* kDefaultPrompt = "Tell me a short story about a fox and a lantern.";

constexpr const char* kCommands = "/edit N TEXT, /undo, /branch N, /tree, /save FILE, /load FILE, /quit";
constexpr uint64_t kKeptBytes = 256ull << 20;  // of states and pages of an interactive chat, where no cap says less

std::atomic<bool> interrupted{false};
void on_interrupt(int) { interrupted = true; }

struct Turn {
  std::string text;
  size_t prompt_tokens = 0;
  size_t reused_tokens = 0;
  size_t new_tokens = 0;
  double prompt_seconds = 0;
  double answer_seconds = 0;
  const char* finish_reason = "length";
  bool obeys = true;  // false: it ended before the constraint was satisfied
};

// A model, its conversation so far, and how it is rendered.
class Chat {
 public:
  Chat(const RunOptions& options, LoadedModel& model, engine::Session& session)
      : options_(options), tokenizer_(*model.tokenizer), session_(session),
        sampling_({options.temperature, options.top_k, options.top_p, options.min_p, options.seed}), sampler_(sampling_, tokenizer_.vocabulary_size()),
        fingerprint_(model.fingerprint) {
    if (!options.system.empty()) tree_.say("system", options.system);
  }

  Status prepare() {
    if (options_.constraint.any()) {
      SLUICE_TRY(constraint_, ConstrainedAnswer::create(options_.constraint, tokenizer_));
    }
    if (options_.raw) return {};
    for (const auto& chat : tokenizer_.spec().chat_templates) {
      if (chat.name != "default") continue;
      SLUICE_TRY(text::ChatTemplate parsed, text::ChatTemplate::parse(chat.text));
      template_.emplace(std::move(parsed));
      can_think_ = chat.text.find("</think>") != std::string::npos;
    }
    return {};
  }
  bool has_template() const { return template_.has_value(); }

  // Answers `prompt`, printing pieces of the answer as they come. A prompt that gets no answer leaves the conversation as it was.
  Result<Turn> answer(const std::string& prompt, bool stream) {
    const size_t before = tree_.size();
    const uint32_t end = tree_.end();
    Result<Turn> turn = next_turn(prompt, stream);
    if (!turn.ok()) tree_.forget(before, end);
    return turn;
  }

  // From now on states are kept in `bytes`, so that going back costs little. Without room for one the chat goes on as before.
  void keep_states(uint64_t bytes) {
    Result<std::unique_ptr<ChatStore>> store = ChatStore::create(session_.runtime(), session_.context(), bytes);
    if (store.ok()) store_ = std::move(*store);
  }

  // A line that begins with a slash: what is to be answered then, or nothing.
  Result<std::string> command(const std::string& line) {
    const size_t blank = std::min(line.find(' '), line.size());
    const std::string name = line.substr(0, blank), rest = line.substr(std::min(line.find_first_not_of(' ', blank), line.size()));
    if (!template_) return Error{fmt::format("{} needs a chat template: this conversation is one text", name)};
    const auto number = [&]() -> Result<uint64_t> {
      uint64_t n = 0;
      if (std::from_chars(rest.data(), rest.data() + rest.size(), n).ec == std::errc()) return n;
      return Error{fmt::format("{} needs a message's number (/tree shows them)", name)};
    };
    if (name == "/tree") {
      fmt::print("{}", tree_.drawing());
    } else if (name == "/undo") {
      SLUICE_TRY_VOID(tree_.undo());
    } else if (name == "/branch") {
      SLUICE_TRY(const uint64_t n, number());
      SLUICE_TRY_VOID(tree_.branch(n));
    } else if (name == "/edit") {
      SLUICE_TRY(const uint64_t n, number());
      const size_t text = rest.find_first_not_of(' ', std::min(rest.find(' '), rest.size()));
      if (text == std::string::npos) return Error{"/edit N TEXT: the new text is missing"};
      SLUICE_TRY_VOID(tree_.before(n));
      return rest.substr(text);
    } else if (name == "/save" || name == "/load") {
      if (rest.empty()) return Error{fmt::format("{} needs a file's name", name)};
      SLUICE_TRY_VOID(name == "/save" ? save(rest) : load(rest));
    } else {
      return Error{fmt::format("{} is no command; there are {}", name, kCommands)};
    }
    return std::string();
  }

 private:
  Result<Turn> next_turn(const std::string& prompt, bool stream) {
    SLUICE_TRY(const std::vector<int32_t> ids, tokens_of(prompt));
    if (ids.empty()) return Error{"the prompt has no tokens"};
    if (ids.size() >= session_.context()) {
      return Error{fmt::format("the conversation has {} tokens, the context holds {} (--ctx)", ids.size(), session_.context())};
    }
    Turn turn;
    SLUICE_TRY_VOID(read_prompt(ids, turn));
    SLUICE_TRY_VOID(generate(turn, stream));
    if (template_) tree_.say("assistant", turn.text);
    if (store_) store_->keep(session_, engine::Kind::kAnswerEnd);
    return turn;
  }

  // The messages in FILE, what the session has read beside it.
  Status save(const std::string& file) const {
    SLUICE_TRY_VOID(tree_.save(file));
    return engine::save_state(session_, fingerprint_, file + ".state");
  }

  Status load(const std::string& file) {
    SLUICE_TRY(tree_, ChatTree::load(file));
    const Status restored = engine::restore_state(session_, fingerprint_, file + ".state");
    if (!restored.ok()) {
      fmt::print(stderr, "sluice: the messages are there, the state is not ({}): the next answer reads them again\n", restored.error().message);
    }
    if (restored.ok() && store_) store_->keep(session_, engine::Kind::kAnswerEnd);
    return {};
  }

  Result<std::vector<int32_t>> tokens_of(const std::string& prompt) {
    if (!template_) {
      if (constraint_) SLUICE_TRY_VOID(constraint_->begin(prompt, false));
      SLUICE_TRY(std::vector<int32_t> ids, tokenizer_.encode(prompt, {.parse_special = false, .add_special = session_.tokens().empty()}));
      ids.insert(ids.begin(), session_.tokens().begin(), session_.tokens().end());
      return ids;
    }
    tree_.say("user", prompt);
    const auto token_text = [&](int32_t id) { return id < 0 ? std::string() : std::string(tokenizer_.token_bytes(id)); };
    const ordered_json context = {{"messages", tree_.path_json()}, {"add_generation_prompt", true}, {"bos_token", token_text(tokenizer_.spec().bos_id)},
                                  {"eos_token", token_text(tokenizer_.spec().eos_id)}};
    text::RenderOptions render_options;  // some templates print the date
    const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
    render_options.now = text::DateTime::from_unix(std::chrono::duration_cast<std::chrono::seconds>(since_1970).count(), 0);
    SLUICE_TRY(const text::Rendered rendered, template_->render_parts(context, render_options));
    if (constraint_) SLUICE_TRY_VOID(constraint_->begin(rendered.text, can_think_));
    std::vector<text::TextPart> parts;
    for (const text::RenderedSpan& span : rendered.spans) {
      parts.push_back({std::string_view(rendered.text).substr(span.begin, span.end - span.begin), span.origin == text::Origin::from_template});
    }
    return tokenizer_.encode_parts(parts, true);
  }

  // Goes on from the longest beginning of the prompt that the session, or a kept state, has read. A recurrent state cannot go back: without one, anew.
  Status read_prompt(const std::vector<int32_t>& ids, Turn& turn) {
    const std::vector<int32_t>& read = session_.tokens();
    const bool extends = read.size() < ids.size() && std::equal(read.begin(), read.end(), ids.begin());
    if (store_) {
      store_->resume(session_, ids);
    } else if (!extends) {
      session_.reset();
    }
    turn.prompt_tokens = ids.size();
    turn.reused_tokens = session_.tokens().size();
    const auto start = Clock::now();
    std::optional<ProgressBar> bar;
    if (ids.size() - turn.reused_tokens > 256) bar.emplace("reading the prompt", ids.size());
    engine::Session::FeedOptions feed;
    feed.keep_going = [&](uint64_t done) {
      if (bar) bar->update(turn.reused_tokens + done);
      return !interrupted;
    };
    if (store_) {
      SLUICE_TRY_VOID(store_->read(session_, ids, feed.keep_going));
    } else {
      SLUICE_TRY_VOID(session_.feed(std::span(ids).subspan(turn.reused_tokens), feed));
    }
    if (session_.tokens().size() < ids.size()) return Error{"interrupted while reading the prompt"};
    turn.prompt_seconds = std::chrono::duration<double>(Clock::now() - start).count();
    return {};
  }

  // What comes next: one token drawn, or those that a constraint forces; nothing when the answer is over.
  Status next_tokens(std::span<const int32_t> answer, std::vector<int32_t>& next) {
    engine::DrawInput input{.logits = session_.logits(), .position = session_.tokens().size()};
    if (constraint_) {
      next = constraint_->forced(answer);
      if (!next.empty()) return {};
      SLUICE_TRY(input.mask, constraint_->mask());
    }
    const int32_t id = sampler_.draw(sampling_, input).id;
    if (id < 0) return Error{"no token is allowed here"};
    if (!tokenizer_.ends_generation(id)) next.push_back(id);
    return {};
  }

  Status generate(Turn& turn, bool stream) {
    text::Detokenizer detokenizer(tokenizer_, {.show_special = false, .at_text_start = false});
    const auto start = Clock::now();
    const auto emit = [&](size_t from) {
      if (!stream || turn.text.size() == from) return;
      std::fwrite(turn.text.data() + from, 1, turn.text.size() - from, stdout);
      std::fflush(stdout);
    };
    std::vector<int32_t> answer;
    const uint64_t most = options_.max_tokens < 0 ? UINT64_MAX : static_cast<uint64_t>(options_.max_tokens);
    while (turn.new_tokens < most) {
      if (interrupted) {
        turn.finish_reason = "interrupted";
        break;
      }
      std::vector<int32_t> next;
      SLUICE_TRY_VOID(next_tokens(answer, next));
      if (next.empty()) {
        turn.finish_reason = "stop";
        break;
      }
      next.resize(std::min<size_t>({next.size(), most - turn.new_tokens, std::max<uint64_t>(1, session_.context() - session_.tokens().size())}));
      turn.new_tokens += next.size();
      answer.insert(answer.end(), next.begin(), next.end());
      const size_t from = turn.text.size();
      for (const int32_t id : next) {
        if (constraint_) constraint_->accept(id);
        SLUICE_TRY_VOID(detokenizer.feed(id, turn.text));
      }
      emit(from);
      if (constraint_ && constraint_->must_end()) {
        turn.finish_reason = "stop";
        break;
      }
      if (session_.tokens().size() == session_.context()) break;
      SLUICE_TRY_VOID(session_.feed(next, {}));
    }
    turn.obeys = !constraint_ || constraint_->complete();
    const size_t from = turn.text.size();
    detokenizer.finish(turn.text);
    emit(from);
    turn.answer_seconds = std::chrono::duration<double>(Clock::now() - start).count();
    return {};
  }

  const RunOptions& options_;
  const text::Tokenizer& tokenizer_;
  engine::Session& session_;
  engine::SamplerOptions sampling_;
  engine::Sampler sampler_;
  std::unique_ptr<ConstrainedAnswer> constraint_;
  std::optional<text::ChatTemplate> template_;
  bool can_think_ = false;  // the template knows of thoughts
  const uint64_t fingerprint_;
  ChatTree tree_;
  std::unique_ptr<ChatStore> store_;
};

std::string read_standard_input() {
  struct stat info {};
  // Nothing is read from a device such as /dev/null: then the default prompt is answered.
  if (fstat(STDIN_FILENO, &info) != 0 || !(S_ISFIFO(info.st_mode) || S_ISREG(info.st_mode) || S_ISSOCK(info.st_mode))) return "";
  std::string text((std::istreambuf_iterator<char>(std::cin)), std::istreambuf_iterator<char>());
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

// What is wrong with an answer that ended early; empty if nothing is.
std::string not_obeyed(const Turn& turn) {
  if (turn.obeys) return "";
  return fmt::format("the answer ended after {} tokens, before the constraint was satisfied (finish_reason {}); allow more with --max-tokens or --ctx",
                     turn.new_tokens, turn.finish_reason);
}

void print_speed(const Turn& turn) {
  fmt::print(stderr, "[{} prompt tokens, {} reused, {:.0f} tokens/s; {} new, {:.1f} tokens/s]\n", turn.prompt_tokens, turn.reused_tokens,
             static_cast<double>(turn.prompt_tokens - turn.reused_tokens) / std::max(turn.prompt_seconds, 1e-9), turn.new_tokens,
             static_cast<double>(turn.new_tokens) / std::max(turn.answer_seconds, 1e-9));
}

int answer_once(Chat& chat, const RunOptions& options, const std::string& prompt) {
  const Result<Turn> turn = chat.answer(prompt, !options.model.json);
  if (!turn.ok()) return fail(turn.error());
  if (options.model.json) {
    const ordered_json out = {{"prompt", prompt}, {"text", turn->text}, {"finish_reason", turn->finish_reason}, {"prompt_tokens", turn->prompt_tokens},
                              {"completion_tokens", turn->new_tokens}, {"prompt_seconds", turn->prompt_seconds}, {"completion_seconds", turn->answer_seconds}};
    fmt::print("{}\n", out.dump(2, ' ', false, ordered_json::error_handler_t::replace));
    return turn->obeys ? 0 : fail(Error{not_obeyed(*turn)});
  }
  fmt::print("\n");
  if (isatty(STDERR_FILENO)) print_speed(*turn);
  return turn->obeys ? 0 : fail(Error{not_obeyed(*turn)});
}

int converse(Chat& chat, const LoadedModel& model) {
  fmt::print("{}: type a message, Ctrl-D to leave, Ctrl-C to stop an answer; {}.\n", model.name, kCommands);
  std::string line;
  while (true) {
    fmt::print("\n> ");
    std::fflush(stdout);
    interrupted = false;
    if (!std::getline(std::cin, line)) {
      if (!interrupted) break;  // end of input
      std::cin.clear();
      continue;
    }
    if (line == "/quit" || line == "/exit") break;
    if (line.empty()) continue;
    if (line[0] == '/') {
      const Result<std::string> say = chat.command(line);
      if (!say.ok()) fmt::print(stderr, "sluice: {}\n", say.error().message);
      if (!say.ok() || say->empty()) continue;
      line = *say;
    }
    const Result<Turn> turn = chat.answer(line, true);
    fmt::print("\n");
    if (turn.ok()) {
      print_speed(*turn);
      if (!turn->obeys) fmt::print(stderr, "sluice: {}\n", not_obeyed(*turn));
    } else {
      fmt::print(stderr, "sluice: {}\n", turn.error().message);
    }
  }
  fmt::print("\n");
  return 0;
}

}  // namespace

int run(const RunOptions& given) {
  RunOptions options = given;
  const bool interactive = options.prompt.empty() && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
  if (options.prompt.empty() && !interactive) {
    options.prompt = read_standard_input();
    if (options.prompt.empty()) {
      options.prompt = kDefaultPrompt;
      if (options.max_tokens < 0) options.max_tokens = 200;  // nobody watches
      if (!options.model.json) fmt::print("> {}\n", options.prompt);
    }
  }
  Result<LoadedModel> model = load_model(options.model);
  if (!model.ok()) return fail(model.error());
  if (!model->tokenizer.ok()) return fail(model->tokenizer.error());
  Result<std::unique_ptr<engine::Session>> session = engine::Session::create(*model->runtime, model->context);
  if (!session.ok()) return fail(session.error());
  Chat chat(options, *model, **session);
  if (const Status status = chat.prepare(); !status.ok()) return fail(status.error());

  if (interactive) {
    uint64_t kept = kKeptBytes;
    if (!options.model.memory.empty()) {
      const Result<uint64_t> cap = parse_bytes(options.model.memory);
      kept = cap.ok() && *cap > model->plan.total() ? std::min(kept, *cap - model->plan.total()) : 0;
    }
    chat.keep_states(kept);
  }

  struct sigaction action {};
  action.sa_handler = on_interrupt;  // no SA_RESTART: a read at the prompt returns
  sigaction(SIGINT, &action, nullptr);
  return interactive ? converse(chat, *model) : answer_once(chat, options, options.prompt);
}

}  // namespace sluice::cli
