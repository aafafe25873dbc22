// tokenizer.json's steps, one function a kind.
// Contract: text/tokenizer_json_steps.h.
// Next: text/tokenizer_json_test.cc.
#include "text/tokenizer_json_steps.h"

#include <fmt/format.h>

#include <functional>
#include <optional>

#include "base/limits.h"
#include "text/splitters.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

constexpr std::string_view kMetaspace = "\xE2\x96\x81";

std::string type_of(const Json& step) {
  return json_text(step, "type", "");
}

// Calls visit for the step, or for each step of a Sequence (nested ones too, to a small depth).
Status for_each_step(const Json& step, const char* list, const std::function<Status(const Json&)>& visit,
                     int depth = 0) {
  if (step.is_null()) return {};
  if (!step.is_object()) return Error{fmt::format("tokenizer.json: a step of '{}' is no object", list)};
  if (depth > 8) return Error{fmt::format("tokenizer.json: '{}' nests deeper than 8", list)};
  if (type_of(step) != "Sequence") return visit(step);
  const Json& steps = json_member(step, list);
  if (!steps.is_array()) return Error{fmt::format("tokenizer.json: a Sequence without '{}'", list)};
  if (steps.size() > limits::kTokenizerStepsMax) {
    return Error{
        fmt::format("tokenizer.json: {} steps in '{}', limit {}", steps.size(), list, limits::kTokenizerStepsMax)};
  }
  for (const Json& inner : steps) SLUICE_TRY_VOID(for_each_step(inner, list, visit, depth + 1));
  return {};
}

struct Pattern {
  std::string text;
  bool is_regex = false;
};

Result<Pattern> read_pattern(const Json& step) {
  const Json& pattern = json_member(step, "pattern");
  if (pattern.is_string()) return Pattern{pattern.get<std::string>(), false};
  const Json& literal = json_member(pattern, "String");
  if (literal.is_string()) return Pattern{literal.get<std::string>(), false};
  const Json& regex = json_member(pattern, "Regex");
  if (regex.is_string()) return Pattern{regex.get<std::string>(), true};
  return Error{fmt::format("tokenizer.json: a {} step without a pattern", type_of(step))};
}

std::optional<std::string> decode_base64(std::string_view text) {
  std::string out;
  uint32_t bits = 0;
  int have = 0;
  for (const char c : text) {
    if (c == '=' || c == '\n') continue;
    uint32_t six = 0;
    if (c >= 'A' && c <= 'Z')
      six = static_cast<uint32_t>(c - 'A');
    else if (c >= 'a' && c <= 'z')
      six = static_cast<uint32_t>(c - 'a' + 26);
    else if (c >= '0' && c <= '9')
      six = static_cast<uint32_t>(c - '0' + 52);
    else if (c == '+')
      six = 62;
    else if (c == '/')
      six = 63;
    else
      return std::nullopt;
    bits = (bits << 6) | six;
    have += 6;
    if (have >= 8) {
      have -= 8;
      out.push_back(static_cast<char>((bits >> have) & 0xFF));
    }
  }
  return out;
}

NormalizerStep replace_step(std::string text, bool is_regex, std::string replacement) {
  return {.kind = NormalizerKind::kReplace,
          .text = std::move(text),
          .replacement = std::move(replacement),
          .is_regex = is_regex};
}

Status read_normalizer_step(const Json& step, TokenizerSpec& spec) {
  const std::string type = type_of(step);
  auto& out = spec.normalizer;
  if (type == "NFC")
    out.push_back({.kind = NormalizerKind::kNfc});
  else if (type == "NFD")
    out.push_back({.kind = NormalizerKind::kNfd});
  else if (type == "NFKC")
    out.push_back({.kind = NormalizerKind::kNfkc});
  else if (type == "NFKD")
    out.push_back({.kind = NormalizerKind::kNfkd});
  else if (type == "Lowercase")
    out.push_back({.kind = NormalizerKind::kLowercase});
  else if (type == "StripAccents")
    out.push_back({.kind = NormalizerKind::kStripAccents});
  else if (type == "Prepend")
    out.push_back({.kind = NormalizerKind::kPrepend, .text = json_text(step, "prepend", "")});
  else if (type == "Strip") {
    out.push_back({.kind = NormalizerKind::kStrip,
                   .left = json_flag(step, "strip_left", true),
                   .right = json_flag(step, "strip_right", true)});
  } else if (type == "Replace") {
    SLUICE_TRY(Pattern pattern, read_pattern(step));
    out.push_back(replace_step(std::move(pattern.text), pattern.is_regex, json_text(step, "content", "")));
  } else if (type == "Precompiled") {
    auto blob = decode_base64(json_text(step, "precompiled_charsmap", ""));
    if (!blob) return Error{"tokenizer.json: precompiled_charsmap is not base64"};
    if (!blob->empty()) out.push_back({.kind = NormalizerKind::kCharsmap, .text = std::move(*blob)});
  } else if (type == "Nmt") {
    // What SentencePiece's nmt_nfkc does beside NFKC: control characters away, odd blanks to U+0020.
    out.push_back(replace_step(R"([\x{1}-\x{8}\x{b}\x{e}-\x{1f}\x{7f}\x{8f}\x{9f}])", true, ""));
    out.push_back(replace_step(
        R"([\x{9}\x{a}\x{c}\x{d}\x{1680}\x{200b}-\x{200f}\x{2028}\x{2029}\x{2581}\x{feff}\x{fffd}])", true, " "));
  } else if (type != "ByteLevel") {
    return Error{fmt::format("tokenizer.json: normalizer '{}' is not supported", shown(type))};
  }
  return {};
}

Result<SplitBehavior> read_behavior(const Json& step, std::string_view otherwise) {
  const std::string name = json_text(step, "behavior", otherwise);
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return Error{fmt::format("tokenizer.json: split behavior '{}' is unknown", shown(name))};
}

void add_split(std::string_view regex, SplitBehavior behavior, bool invert, TokenizerSpec& spec) {
  spec.pre_tokenizer.push_back({.text = std::string(regex), .behavior = behavior, .invert = invert});
}

Status read_metaspace(const Json& step, TokenizerSpec& spec) {
  PreTokenizerStep made;
  made.kind = PreTokenizerKind::kMetaspace;
  made.text = json_text(step, "replacement", kMetaspace);
  made.split_words = json_flag(step, "split", true);
  const std::string scheme =
      json_text(step, "prepend_scheme", json_flag(step, "add_prefix_space", true) ? "always" : "never");
  if (scheme == "always")
    made.prefix = SpacePrefix::kAlways;
  else if (scheme == "first")
    made.prefix = SpacePrefix::kFirst;
  else if (scheme != "never")
    return Error{fmt::format("tokenizer.json: prepend_scheme '{}' is unknown", shown(scheme))};
  spec.pre_tokenizer.push_back(std::move(made));
  return {};
}

Status read_pre_tokenizer_step(const Json& step, TokenizerSpec& spec) {
  const std::string type = type_of(step);
  if (type == "ByteLevel") {
    if (json_flag(step, "add_prefix_space", true))
      spec.pre_tokenizer.push_back({.kind = PreTokenizerKind::kPrefixSpace});
    if (json_flag(step, "use_regex", true)) add_split(expressions::kGpt2Spaces, SplitBehavior::kIsolated, false, spec);
  } else if (type == "Split") {
    SLUICE_TRY(Pattern pattern, read_pattern(step));
    SLUICE_TRY(const SplitBehavior behavior, read_behavior(step, "Isolated"));
    spec.pre_tokenizer.push_back({.text = std::move(pattern.text),
                                  .is_regex = pattern.is_regex,
                                  .behavior = behavior,
                                  .invert = json_flag(step, "invert", false)});
  } else if (type == "Digits") {
    const bool individual = json_flag(step, "individual_digits", false);
    add_split(individual ? expressions::kOneNumber : expressions::kNumbers, SplitBehavior::kIsolated, false, spec);
  } else if (type == "Metaspace") {
    return read_metaspace(step, spec);
  } else if (type == "Punctuation") {
    SLUICE_TRY(const SplitBehavior behavior, read_behavior(step, "Isolated"));
    add_split(R"([!-/:-@\[-`{-~\p{P}])", behavior, false, spec);
  } else if (type == "Whitespace") {
    add_split(R"(\w+|[^\w\s]+)", SplitBehavior::kRemoved, true, spec);
  } else if (type == "WhitespaceSplit") {
    add_split(R"(\s)", SplitBehavior::kRemoved, false, spec);
  } else {
    return Error{fmt::format("tokenizer.json: pre_tokenizer '{}' is not supported", shown(type))};
  }
  return {};
}

// The ids of a special token as TemplateProcessing lists them: special_tokens[name].ids.
Status append_special(const Json& processor, const std::string& name, std::vector<int32_t>& out) {
  const Json& ids = json_member(json_member(json_member(processor, "special_tokens"), name.c_str()), "ids");
  if (!ids.is_array()) return Error{fmt::format("tokenizer.json: post_processor names '{}' without ids", shown(name))};
  for (const Json& id : ids) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= limits::kVocabularyMax) {
      return Error{fmt::format("tokenizer.json: an id of post_processor's '{}' is no token id", shown(name))};
    }
    out.push_back(static_cast<int32_t>(id.get<uint64_t>()));
  }
  return {};
}

Status read_template(const Json& processor, TokenizerSpec& spec) {
  const Json& single = json_member(processor, "single");
  if (!single.is_array()) return Error{"tokenizer.json: TemplateProcessing without 'single'"};
  bool before = true;
  for (const Json& part : single) {
    if (!json_member(part, "Sequence").is_null()) before = false;
    const Json& special = json_member(part, "SpecialToken");
    if (special.is_null()) continue;
    SLUICE_TRY_VOID(
        append_special(processor, json_text(special, "id", ""), before ? spec.prefix_ids : spec.suffix_ids));
  }
  return {};
}

// ["[CLS]", 101]
Status append_pair(const Json& pair, std::vector<int32_t>& out) {
  const bool sound = pair.is_array() && pair.size() == 2 && pair[1].is_number_unsigned() &&
                     pair[1].get<uint64_t>() < limits::kVocabularyMax;
  if (!sound) return Error{"tokenizer.json: post_processor has a pair that is not [text, id]"};
  out.push_back(static_cast<int32_t>(pair[1].get<uint64_t>()));
  return {};
}

Status read_post_step(const Json& step, TokenizerSpec& spec) {
  const std::string type = type_of(step);
  if (type == "TemplateProcessing") return read_template(step, spec);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    SLUICE_TRY_VOID(append_pair(json_member(step, "cls"), spec.prefix_ids));
    return append_pair(json_member(step, "sep"), spec.suffix_ids);
  }
  if (type == "ByteLevel") return {};
  return Error{fmt::format("tokenizer.json: post_processor '{}' is not supported", shown(type))};
}

Status read_decoder_step(const Json& step, TokenizerSpec& spec) {
  const std::string type = type_of(step);
  if (type == "Replace") {
    SLUICE_TRY(const Pattern pattern, read_pattern(step));
    if (pattern.text == kMetaspace && json_text(step, "content", "") == " ") {
      spec.restore_spaces = true;
    } else {
      spec.notes.push_back(fmt::format("the decoder's Replace of '{}' is not done", shown(pattern.text)));
    }
  } else if (type == "Metaspace") {
    spec.restore_spaces = true;
    const std::string scheme =
        json_text(step, "prepend_scheme", json_flag(step, "add_prefix_space", true) ? "always" : "never");
    spec.strip_leading_space = scheme != "never";
  } else if (type == "Strip") {
    const Json& start = json_member(step, "start");
    spec.strip_leading_space =
        json_text(step, "content", "") == " " && start.is_number_unsigned() && start.get<uint64_t>() > 0;
  } else if (type != "ByteFallback" && type != "Fuse" && type != "ByteLevel") {
    return Error{fmt::format("tokenizer.json: decoder '{}' is not supported", shown(type))};
  }
  return {};
}

bool sequence_uses_byte_level(const Json& step, const char* list) {
  bool found = false;
  const auto visit = [&](const Json& inner) -> Status {
    found = found || type_of(inner) == "ByteLevel";
    return {};
  };
  return for_each_step(step, list, visit).ok() && found;
}

}  // namespace

const Json& json_member(const Json& object, const char* key) {
  static const Json null;
  if (!object.is_object()) return null;
  const auto found = object.find(key);
  return found == object.end() ? null : *found;
}

bool json_flag(const Json& object, const char* key, bool otherwise) {
  const Json& member = json_member(object, key);
  return member.is_boolean() ? member.get<bool>() : otherwise;
}

std::string json_text(const Json& object, const char* key, std::string_view otherwise) {
  const Json& member = json_member(object, key);
  return member.is_string() ? member.get<std::string>() : std::string(otherwise);
}

bool uses_byte_level(const Json& tokenizer) {
  return sequence_uses_byte_level(json_member(tokenizer, "pre_tokenizer"), "pretokenizers") ||
         sequence_uses_byte_level(json_member(tokenizer, "normalizer"), "normalizers");
}

Status read_normalizer(const Json& normalizer, TokenizerSpec& spec) {
  SLUICE_TRY_VOID(
      for_each_step(normalizer, "normalizers", [&](const Json& step) { return read_normalizer_step(step, spec); }));
  // Prepend U+2581 and Replace blanks by it, Llama's two steps, are what space_prefix and replace_spaces say.
  auto& steps = spec.normalizer;
  if (!steps.empty() && steps.back() == replace_step(" ", false, std::string(kMetaspace))) {
    steps.pop_back();
    spec.replace_spaces = true;
    if (!steps.empty() && steps.back().kind == NormalizerKind::kPrepend && steps.back().text == kMetaspace) {
      steps.pop_back();
      spec.space_prefix = SpacePrefix::kAlways;
    }
  }
  return {};
}

Status read_pre_tokenizer(const Json& pre_tokenizer, TokenizerSpec& spec) {
  return for_each_step(pre_tokenizer, "pretokenizers",
                       [&](const Json& step) { return read_pre_tokenizer_step(step, spec); });
}

Status read_post_processor(const Json& post_processor, TokenizerSpec& spec) {
  return for_each_step(post_processor, "processors", [&](const Json& step) { return read_post_step(step, spec); });
}

Status read_decoder(const Json& decoder, TokenizerSpec& spec) {
  return for_each_step(decoder, "decoders", [&](const Json& step) { return read_decoder_step(step, spec); });
}

}  // namespace sluice::text
