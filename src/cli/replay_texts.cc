#include "cli/replay_texts.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/limits.h"
#include "cli/zstd_lines.h"
#include "engine/sampler.h"

namespace sluice::cli {
namespace {

using engine::Trace;
using engine::TraceRequest;
using nlohmann::ordered_json;
using Tokens = std::vector<int32_t>;

constexpr uint64_t kDepthMax = 500;             // messages of one line of a tree
constexpr uint64_t kRequestsMax = 1'000'000;
constexpr uint64_t kTextBytesMax = 512ull << 20;  // of a file that is one JSON value

// One call of a model.
struct Turn {
  ordered_json messages;  // of the prompt
  ordered_json answer;    // null: none is known
};
// Turns in the order in which they come: those of one tree, or of one agent's conversation.
using Talk = std::vector<Turn>;

// ---- trees ----

Result<ordered_json> message_of(const ordered_json& node) {
  if (!node.is_object()) return Error{"a message is not an object"};
  const auto text = node.find("text"), role = node.find("role");
  if (text == node.end() || !text->is_string()) return Error{"a message's 'text' is not text"};
  if (role == node.end() || (*role != "prompter" && *role != "assistant")) return Error{"a message's 'role' is neither prompter nor assistant"};
  return ordered_json({{"role", *role == "assistant" ? "assistant" : "user"}, {"content", *text}});
}

// Depth first, as one user who goes each line to its end and then comes back to where it parts from the next.
Status walk_tree(const ordered_json& node, ordered_json& line, Talk& out) {
  if (line.size() >= kDepthMax) return Error{fmt::format("more than {} messages in one line of a tree", kDepthMax)};
  SLUICE_TRY(const ordered_json message, message_of(node));
  const auto replies = node.find("replies");
  const bool is_leaf = replies == node.end() || !replies->is_array() || replies->empty();
  if (message["role"] == "assistant") {
    out.push_back({line, message});
  } else if (is_leaf) {  // asked, and the answer is not in the data
    ordered_json asked = line;
    asked.push_back(message);
    out.push_back({std::move(asked), nullptr});
  }
  if (is_leaf) return {};
  line.push_back(message);
  for (const ordered_json& reply : *replies) SLUICE_TRY_VOID(walk_tree(reply, line, out));
  line.erase(line.size() - 1);
  return {};
}

Result<std::vector<Talk>> read_trees(const std::filesystem::path& path) {
  std::vector<Talk> talks;
  SLUICE_TRY_VOID(for_lines(path, [&](uint64_t number, std::string_view text) -> Status {
    const ordered_json tree = ordered_json::parse(text, nullptr, false);
    const auto broken = [&](const std::string& why) { return Error{fmt::format("{}:{}: {}", path.string(), number + 1, why)}; };
    if (!tree.is_object() || !tree.contains("prompt")) return broken("no tree with a 'prompt'");
    ordered_json line = ordered_json::array();
    Talk talk;
    if (const Status walked = walk_tree(tree["prompt"], line, talk); !walked.ok()) return broken(walked.error().message);
    talks.push_back(std::move(talk));
    return {};
  }));
  return talks;
}

// ---- agents ----

Result<Talk> calls_of(const ordered_json& conversation) {
  const auto messages = conversation.is_object() ? conversation.find("traj") : conversation.end();
  if (messages == conversation.end() || !messages->is_array()) return Error{"no list of messages 'traj'"};
  Talk talk;
  ordered_json so_far = ordered_json::array();
  for (ordered_json message : *messages) {
    if (!message.is_object() || !message.contains("role") || !message["role"].is_string()) return Error{"a message without a 'role'"};
    if (!message.contains("content") || message["content"].is_null()) message["content"] = "";  // an answer that only calls a tool
    if (message["role"] == "assistant") talk.push_back({so_far, message});
    so_far.push_back(std::move(message));
  }
  return talk;
}

Result<std::vector<Talk>> read_agents(const std::filesystem::path& path) {
  std::string text;
  SLUICE_TRY_VOID(for_lines(path, [&](uint64_t, std::string_view line) -> Status {
    if (text.size() + line.size() > kTextBytesMax) return Error{fmt::format("{}: more than {} bytes", path.string(), kTextBytesMax)};
    text += line;
    text += '\n';
    return {};
  }));
  const ordered_json all = ordered_json::parse(text, nullptr, false);
  if (!all.is_array()) return Error{fmt::format("{}: not a JSON list of conversations", path.string())};
  std::vector<Talk> talks;
  for (size_t i = 0; i < all.size(); ++i) {
    Result<Talk> talk = calls_of(all[i]);
    if (!talk.ok()) return Error{fmt::format("{}: conversation {}: {}", path.string(), i, talk.error().message)};
    talks.push_back(std::move(talk).value());
  }
  return talks;
}

// ---- tokens ----

class Speller {
 public:
  Speller(const text::Tokenizer& tokenizer, const text::ChatTemplate& chat_template) : tokenizer_(tokenizer), template_(chat_template) {
    const auto token_text = [&](int32_t id) { return id < 0 ? std::string() : std::string(tokenizer.token_bytes(id)); };
    bos_ = token_text(tokenizer.spec().bos_id);
    eos_ = token_text(tokenizer.spec().eos_id);
    options_.now = text::DateTime();  // templates that ask for the date get the same one always
  }

  Result<TraceRequest> spell(const Turn& turn) {
    if (turn.messages.empty()) return Error{"an answer before any question"};
    TraceRequest request;
    SLUICE_TRY(request.text, tokens_of(turn.messages, true));
    request.prompt = request.text.size();
    const auto without_last = ordered_json(turn.messages.begin(), turn.messages.end() - 1);
    request.last_message = without_last.empty() ? 0 : agreed(without_last, request.text);
    if (turn.messages[0]["role"] == "system") request.system_end = agreed(ordered_json::array({turn.messages[0]}), request.text);
    if (turn.answer.is_null()) return request;
    ordered_json told = turn.messages;
    told.push_back(turn.answer);
    SLUICE_TRY(const Tokens all, tokens_of(told, false));
    if (all.size() > request.prompt && std::equal(request.text.begin(), request.text.end(), all.begin())) {
      request.text = all;
      return request;
    }
    // The template writes history otherwise than a prompt (thoughts dropped, a generation prompt of its own): the answer is what was sampled.
    const ordered_json& content = turn.answer["content"];
    if (!content.is_string()) return Error{"an answer's 'content' is not text"};
    SLUICE_TRY(const Tokens answer, tokenizer_.encode(content.get_ref<const std::string&>(), {}));
    request.text.insert(request.text.end(), answer.begin(), answer.end());
    return request;
  }

 private:
  Result<Tokens> tokens_of(const ordered_json& messages, bool generation_prompt) const {
    const ordered_json context = {{"messages", messages}, {"tools", nullptr}, {"documents", nullptr}, {"add_generation_prompt", generation_prompt},
                                  {"bos_token", bos_}, {"eos_token", eos_}};
    SLUICE_TRY(const text::Rendered rendered, template_.render_parts(context, options_));
    std::vector<text::TextPart> parts;
    for (const text::RenderedSpan& span : rendered.spans) {
      parts.push_back({std::string_view(rendered.text).substr(span.begin, span.end - span.begin), span.origin == text::Origin::from_template});
    }
    SLUICE_TRY(Tokens tokens, tokenizer_.encode_parts(parts, true));
    if (tokens.empty() || tokens.size() > limits::kContextTokensMax) return Error{fmt::format("a prompt of {} tokens", tokens.size())};
    return tokens;
  }

  // Of the prompt's tokens, how many these messages make; 0 if the template does not like them alone.
  uint64_t agreed(const ordered_json& messages, const Tokens& prompt) const {
    const Result<Tokens> tokens = tokens_of(messages, false);
    if (!tokens.ok()) return 0;
    const auto parts = std::mismatch(tokens->begin(), tokens->end(), prompt.begin(), prompt.end());
    return static_cast<uint64_t>(parts.second - prompt.begin());
  }

  const text::Tokenizer& tokenizer_;
  const text::ChatTemplate& template_;
  std::string bos_, eos_;
  text::RenderOptions options_;
};

// ---- order ----

// Lanes hold a talk each; a draw says whose turn it is; one that is through makes room for the next.
Result<Trace> interleave(std::string name, std::vector<Talk>& talks, Speller& speller, const TextTraceOptions& options) {
  const auto draw = [&](uint64_t of, uint64_t i, size_t n) { return static_cast<size_t>(engine::uniform(options.seed, of, i) * static_cast<double>(n)); };
  std::erase_if(talks, [](const Talk& talk) { return talk.empty(); });
  for (size_t i = talks.size(); i > 1; --i) std::swap(talks[i - 1], talks[draw(1, i, i)]);
  struct Lane {
    size_t talk, turn;
  };
  std::vector<Lane> lanes;
  size_t next = 0;
  for (; next < talks.size() && lanes.size() < options.lanes; ++next) lanes.push_back({next, 0});
  Trace trace;
  trace.name = std::move(name);
  while (!lanes.empty()) {
    const uint64_t number = trace.requests.size();
    if (number == kRequestsMax) return Error{fmt::format("more than {} requests", kRequestsMax)};
    Lane& lane = lanes[draw(2, number, lanes.size())];
    SLUICE_TRY(TraceRequest request, speller.spell(talks[lane.talk][lane.turn]));
    request.time_ms = number * 1000;
    trace.requests.push_back(std::move(request));
    if (++lane.turn < talks[lane.talk].size()) continue;
    if (next < talks.size()) {
      lane = {next++, 0};
      continue;
    }
    lane = lanes.back();
    lanes.pop_back();
  }
  return trace;
}

}  // namespace

Result<Trace> read_texts(const std::filesystem::path& path, TraceKind kind, const text::Tokenizer& tokenizer, const text::ChatTemplate& chat_template,
                         const TextTraceOptions& options) {
  SLUICE_TRY(std::vector<Talk> talks, kind == TraceKind::kTrees ? read_trees(path) : read_agents(path));
  Speller speller(tokenizer, chat_template);
  return interleave(path.stem().stem().string(), talks, speller, options);
}

}  // namespace sluice::cli
