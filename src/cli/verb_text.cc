// `sluice tokenize`, `detokenize` and `render`: text in, ids out, and back; conversations through a chat template.
#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "cli/output.h"
#include "cli/token_ids.h"
#include "cli/verbs.h"
#include "platform/file.h"
#include "text/chat_template.h"

namespace sluice::cli {
namespace {

Result<std::string> input_text(const TokenizeOptions& options) {
  if (!options.text.empty()) return options.text;
  if (!options.file.empty()) return platform::read_whole_file(options.file, limits::kPromptBytesMax);
  return std::string((std::istreambuf_iterator<char>(std::cin)), std::istreambuf_iterator<char>());
}

template <class Ids>
std::string joined(const Ids& ids) {
  std::string out;
  for (const auto id : ids) out += fmt::format("{}{}", out.empty() ? "" : " ", id);
  return out;
}

}  // namespace

Result<std::vector<int32_t>> parse_ids(std::string_view text) {
  std::vector<int32_t> ids;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (true) {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r' || *at == ',')) ++at;
    if (at == end) return ids;
    int32_t id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc{} || id < 0) {
      const std::string_view shown(at, std::min<size_t>(16, static_cast<size_t>(end - at)));
      return Error{fmt::format("'{}' at byte {} is not a token id", shown, at - text.data())};
    }
    ids.push_back(id);
    at = next;
  }
}

int tokenize(const TokenizeOptions& options) {
  const Result<text::Tokenizer> tokenizer = open_tokenizer(options.model);
  if (!tokenizer.ok()) return fail(tokenizer.error());
  const Result<std::string> text = input_text(options);
  if (!text.ok()) return fail(text.error());
  const Result<std::vector<int32_t>> ids = tokenizer->encode(*text, {.parse_special = options.parse_special, .add_special = options.add_special});
  if (!ids.ok()) return fail(ids.error());
  if (options.json) {
    nlohmann::ordered_json tokens = nlohmann::ordered_json::array();
    for (const int32_t id : *ids) tokens.push_back({{"id", id}, {"text", std::string(tokenizer->token_bytes(id))}});
    const nlohmann::ordered_json out = {{"count", ids->size()}, {"tokens", tokens}};
    fmt::print("{}\n", out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  } else {
    fmt::print("{}\n", joined(*ids));
  }
  return 0;
}

int detokenize(const TokenizeOptions& options) {
  const Result<text::Tokenizer> tokenizer = open_tokenizer(options.model);
  if (!tokenizer.ok()) return fail(tokenizer.error());
  const Result<std::string> text = input_text(options);
  if (!text.ok()) return fail(text.error());
  const Result<std::vector<int32_t>> ids = parse_ids(*text);
  if (!ids.ok()) return fail(ids.error());
  const Result<std::string> out = tokenizer->decode(*ids, options.parse_special);
  if (!out.ok()) return fail(out.error());
  if (options.json) {
    fmt::print("{}\n", nlohmann::ordered_json({{"text", *out}}).dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  } else {
    std::fwrite(out->data(), 1, out->size(), stdout);
  }
  return 0;
}

namespace {

struct TemplateSource {
  std::string text;
  std::string bos, eos;
};

Result<TemplateSource> template_of(const std::string& model) {
  if (model.ends_with(".jinja")) {
    SLUICE_TRY(std::string text, platform::read_whole_file(model, limits::kTemplateBytesMax));
    return TemplateSource{std::move(text), "", ""};
  }
  SLUICE_TRY(const text::Tokenizer tokenizer, open_tokenizer(model));
  const auto token_text = [&](int32_t id) { return id < 0 ? std::string() : std::string(tokenizer.token_bytes(id)); };
  for (const auto& chat : tokenizer.spec().chat_templates) {
    if (chat.name == "default") return TemplateSource{chat.text, token_text(tokenizer.spec().bos_id), token_text(tokenizer.spec().eos_id)};
  }
  return Error{"the model has no chat template"};
}

Result<nlohmann::ordered_json> json_file(const std::string& path) {
  SLUICE_TRY(const std::string text, platform::read_whole_file(path, limits::kTemplateOutputBytesMax));
  nlohmann::ordered_json value = nlohmann::ordered_json::parse(text, nullptr, false);
  if (value.is_discarded()) return Error{fmt::format("{}: not JSON", path)};
  return value;
}

Result<std::string> rendered(const RenderOptions& options) {
  SLUICE_TRY(const TemplateSource source, template_of(options.model));
  SLUICE_TRY(const text::ChatTemplate chat, text::ChatTemplate::parse(source.text));
  SLUICE_TRY(nlohmann::ordered_json messages, json_file(options.messages));
  // A file may hold the messages alone or an object with messages, tools and more.
  nlohmann::ordered_json context = messages.is_object() ? messages : nlohmann::ordered_json({{"messages", messages}});
  if (!options.tools.empty()) {
    SLUICE_TRY(context["tools"], json_file(options.tools));
  }
  context["add_generation_prompt"] = options.generation_prompt;
  if (!context.contains("bos_token")) context["bos_token"] = source.bos;
  if (!context.contains("eos_token")) context["eos_token"] = source.eos;
  text::RenderOptions render_options;
  const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
  render_options.now = text::DateTime::from_unix(std::chrono::duration_cast<std::chrono::seconds>(since_1970).count(), 0);
  return chat.render(context, render_options);
}

}  // namespace

int render(const RenderOptions& options) {
  const Result<std::string> text = rendered(options);
  if (!text.ok()) return fail(text.error());
  if (options.json) {
    fmt::print("{}\n", nlohmann::ordered_json({{"text", *text}}).dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  } else {
    std::fwrite(text->data(), 1, text->size(), stdout);
  }
  return 0;
}

}  // namespace sluice::cli
