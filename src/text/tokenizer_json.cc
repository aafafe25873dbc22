// tokenizer.json: the vocabulary, the merges, the added tokens; tokenizer_config.json: which ids mean what.
// Contract: text/tokenizer_json.h. No member is read before its type is known, so nothing throws.
// Next: text/tokenizer_json_steps.cc.
#include "text/tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "base/limits.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_json_steps.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

// Ids may have holes (removed tokens), but a file must not make us allocate for ids that it hardly uses.
constexpr uint64_t kHolesMax = 65536;

struct Entry {
  std::string_view text;
  uint64_t id;
};

Result<Json> parse_json(std::string_view text, const char* file) {
  // Deeper than any real file; what is below is dropped, so that the tree's own depth is bounded too.
  const auto shallow = [](int depth, Json::parse_event_t, Json&) {
    return depth <= static_cast<int>(limits::kJsonDepthMax);
  };
  Json json = Json::parse(text.begin(), text.end(), shallow, false);
  if (json.is_discarded()) return Error{fmt::format("{} is not JSON", file)};
  if (!json.is_object()) return Error{fmt::format("{} is not a JSON object", file)};
  return json;
}

bool is_id(const Json& json) {
  return json.is_number_unsigned() && json.get<uint64_t>() < limits::kVocabularyMax;
}

Result<std::vector<Entry>> read_vocabulary_entries(const Json& vocab, TokenizerSpec& spec) {
  std::vector<Entry> entries;
  if (spec.kind != ModelKind::kUnigram) {
    if (!vocab.is_object()) return Error{"tokenizer.json: model.vocab is no object"};
    for (const auto& [text, id] : vocab.items()) {
      if (!is_id(id))
        return Error{
            fmt::format("tokenizer.json: the id of '{}' is no number below {}", shown(text), limits::kVocabularyMax)};
      entries.push_back({text, id.get<uint64_t>()});
    }
    return entries;
  }
  if (!vocab.is_array()) return Error{"tokenizer.json: model.vocab of a Unigram is no array"};
  for (const Json& piece : vocab) {
    if (!piece.is_array() || piece.size() != 2 || !piece[0].is_string() || !piece[1].is_number()) {
      return Error{fmt::format("tokenizer.json: piece {} is not [text, score]", entries.size())};
    }
    entries.push_back({piece[0].get_ref<const std::string&>(), entries.size()});
    spec.scores.push_back(static_cast<float>(std::clamp(piece[1].get<double>(), -1e30, 1e30)));
  }
  return entries;
}

Status read_vocabulary(const Json& model, const Json& added, TokenizerSpec& spec) {
  const Json& vocab = json_member(model, "vocab");
  SLUICE_TRY(const std::vector<Entry> entries, read_vocabulary_entries(vocab, spec));
  uint64_t count = entries.size();
  uint64_t end = 0;
  for (const Entry& entry : entries) end = std::max(end, entry.id + 1);
  for (const Json& token : added) {
    const Json& id = json_member(token, "id");
    if (!is_id(id))
      return Error{fmt::format("tokenizer.json: an added token's id is no number below {}", limits::kVocabularyMax)};
    if (!json_member(token, "content").is_string()) return Error{"tokenizer.json: an added token without content"};
    end = std::max(end, id.get<uint64_t>() + 1);
    ++count;
  }
  if (end > count + kHolesMax)
    return Error{fmt::format("tokenizer.json: highest id {} with {} tokens", end - 1, count)};
  spec.tokens.resize(end);
  spec.types.assign(end, TokenType::kUnused);
  if (spec.kind == ModelKind::kUnigram) spec.scores.resize(end, 0.0f);
  for (const Entry& entry : entries) {
    std::string& text = spec.tokens[entry.id];
    TokenType& type = spec.types[entry.id];
    if (type != TokenType::kUnused) return Error{fmt::format("tokenizer.json: two tokens have id {}", entry.id)};
    type = TokenType::kNormal;
    const auto byte = spec.byte_fallback ? parse_byte_token(entry.text) : std::nullopt;
    if (byte) {
      type = TokenType::kByte;
      text.assign(1, static_cast<char>(*byte));
    } else if (spec.kind == ModelKind::kByteLevelBpe) {
      text = from_byte_alphabet(entry.text).value_or(std::string(entry.text));
    } else {
      text = entry.text;
    }
  }
  return {};
}

void read_added_tokens(const Json& added, TokenizerSpec& spec) {
  for (const Json& token : added) {
    const auto id = static_cast<uint32_t>(json_member(token, "id").get<uint64_t>());
    const bool special = json_flag(token, "special", false);
    spec.tokens[id] = json_text(token, "content", "");
    spec.types[id] = special ? TokenType::kControl : TokenType::kUserDefined;
    if (spec.tokens[id].empty()) continue;
    spec.added_tokens.push_back({.id = id,
                                 .special = special,
                                 .normalized = json_flag(token, "normalized", !special),
                                 .lstrip = json_flag(token, "lstrip", false),
                                 .rstrip = json_flag(token, "rstrip", false),
                                 .single_word = json_flag(token, "single_word", false)});
  }
}

Status read_merges(const Json& merges, TokenizerSpec& spec) {
  if (!merges.is_array()) return Error{"tokenizer.json: model.merges is no array"};
  if (merges.size() > limits::kMergesMax)
    return Error{fmt::format("tokenizer.json: {} merges, limit {}", merges.size(), limits::kMergesMax)};
  std::unordered_map<std::string, uint32_t> symbols;
  symbols.reserve(spec.tokens.size());
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    if (spec.types[i] != TokenType::kByte) symbols.emplace(spec.tokens[i], static_cast<uint32_t>(i));
  }
  const auto symbol = [&](std::string_view text) {
    std::string bytes(text);
    if (spec.kind == ModelKind::kByteLevelBpe) bytes = from_byte_alphabet(text).value_or(bytes);
    const auto next = static_cast<uint32_t>(spec.tokens.size() + spec.extra_symbols.size());
    const auto [place, is_new] = symbols.emplace(std::move(bytes), next);
    if (is_new) spec.extra_symbols.push_back(place->first);
    return place->second;
  };
  spec.merges.reserve(merges.size());
  for (const Json& merge : merges) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      const uint32_t left = symbol(merge[0].get_ref<const std::string&>());
      spec.merges.push_back({left, symbol(merge[1].get_ref<const std::string&>())});
      continue;
    }
    const std::string_view text = merge.is_string() ? merge.get_ref<const std::string&>() : std::string_view();
    const size_t blank = text.find(' ', 1);
    if (text.empty() || blank == std::string_view::npos || blank + 1 == text.size()) {
      return Error{fmt::format("tokenizer.json: merge {} is not two texts", spec.merges.size())};
    }
    const uint32_t left = symbol(text.substr(0, blank));
    spec.merges.push_back({left, symbol(text.substr(blank + 1))});
  }
  return {};
}

Status read_kind(const Json& tokenizer, const Json& model, TokenizerSpec& spec) {
  std::string type = json_text(model, "type", "");
  if (type.empty())
    type = json_member(model, "merges").is_array() ? "BPE" : json_member(model, "vocab").is_array() ? "Unigram" : "";
  if (type == "BPE") {
    spec.kind = uses_byte_level(tokenizer) ? ModelKind::kByteLevelBpe : ModelKind::kCharacterBpe;
  } else if (type == "Unigram") {
    spec.kind = ModelKind::kUnigram;
  } else {
    return Error{
        fmt::format("tokenizer.json: model type '{}' is not supported; known are BPE and Unigram", shown(type))};
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!json_text(model, key, "").empty()) return Error{fmt::format("tokenizer.json: model.{} is not supported", key)};
  }
  spec.byte_fallback = spec.kind != ModelKind::kByteLevelBpe && json_flag(model, "byte_fallback", false);
  spec.fuse_unknown = spec.kind == ModelKind::kUnigram || json_flag(model, "fuse_unk", false);
  spec.ignore_merges = json_flag(model, "ignore_merges", false);
  return {};
}

// The id of a token by its text, added tokens first; -1 if there is none.
int32_t id_of(const TokenizerSpec& spec, std::string_view text) {
  if (text.empty()) return -1;
  for (const AddedToken& token : spec.added_tokens) {
    if (spec.tokens[token.id] == text) return static_cast<int32_t>(token.id);
  }
  const auto found = std::find(spec.tokens.begin(), spec.tokens.end(), text);
  return found == spec.tokens.end() ? -1 : static_cast<int32_t>(found - spec.tokens.begin());
}

void read_unknown(const Json& model, TokenizerSpec& spec) {
  const Json& id = json_member(model, "unk_id");
  if (is_id(id) && id.get<uint64_t>() < spec.tokens.size()) {
    spec.unknown_id = static_cast<int32_t>(id.get<uint64_t>());
  } else {
    spec.unknown_id = id_of(spec, json_text(model, "unk_token", ""));
  }
  if (spec.unknown_id >= 0 && spec.kind != ModelKind::kByteLevelBpe)
    spec.types[static_cast<size_t>(spec.unknown_id)] = TokenType::kUnknown;
}

// "</s>" or {"content": "</s>", ...}
std::string token_text(const Json& config, const char* key) {
  const Json& member = json_member(config, key);
  return member.is_object() ? json_text(member, "content", "") : json_text(config, key, "");
}

void apply_end(const Json& config, const char* key, int32_t id, std::vector<int32_t>& ids) {
  const Json& flag = json_member(config, key);
  if (!flag.is_boolean()) return;
  std::erase(ids, id);
  if (flag.get<bool>() && id >= 0) ids.insert(ids.begin(), id);
}

void read_templates(const Json& config, std::string_view chat_template, TokenizerSpec& spec) {
  const Json& member = json_member(config, "chat_template");
  if (member.is_string()) spec.chat_templates.push_back({"default", member.get<std::string>()});
  if (member.is_array()) {
    for (const Json& entry : member) {
      spec.chat_templates.push_back({json_text(entry, "name", "default"), json_text(entry, "template", "")});
    }
  }
  if (chat_template.empty()) return;
  std::erase_if(spec.chat_templates, [](const NamedTemplate& chat) { return chat.name == "default"; });
  spec.chat_templates.insert(spec.chat_templates.begin(), {"default", std::string(chat_template)});
}

}  // namespace

Status apply_tokenizer_config(std::string_view tokenizer_config, std::string_view chat_template, TokenizerSpec& spec) {
  Json config;
  if (!tokenizer_config.empty()) {
    SLUICE_TRY(config, parse_json(tokenizer_config, "tokenizer_config.json"));
  }
  const auto take = [&](const char* key, int32_t& id) {
    const int32_t found = id_of(spec, token_text(config, key));
    if (found >= 0) id = found;
  };
  take("bos_token", spec.bos_id);
  take("eos_token", spec.eos_id);
  take("pad_token", spec.pad_id);
  if (spec.unknown_id < 0) take("unk_token", spec.unknown_id);
  if (spec.bos_id < 0 && spec.prefix_ids.size() == 1) spec.bos_id = spec.prefix_ids[0];
  apply_end(config, "add_bos_token", spec.bos_id, spec.prefix_ids);
  apply_end(config, "add_eos_token", spec.eos_id, spec.suffix_ids);
  read_templates(config, chat_template, spec);
  return check_spec(spec);
}

Result<TokenizerSpec> spec_from_tokenizer_json(const TokenizerJsonFiles& files) {
  SLUICE_TRY(const Json json, parse_json(files.tokenizer_json, "tokenizer.json"));
  const Json& model = json_member(json, "model");
  const Json& added_member = json_member(json, "added_tokens");
  const Json none = Json::array();
  const Json& added = added_member.is_array() ? added_member : none;
  TokenizerSpec spec;
  SLUICE_TRY_VOID(read_kind(json, model, spec));
  SLUICE_TRY_VOID(read_vocabulary(model, added, spec));
  if (spec.kind != ModelKind::kUnigram) SLUICE_TRY_VOID(read_merges(json_member(model, "merges"), spec));
  read_added_tokens(added, spec);
  read_unknown(model, spec);
  SLUICE_TRY_VOID(read_normalizer(json_member(json, "normalizer"), spec));
  SLUICE_TRY_VOID(read_pre_tokenizer(json_member(json, "pre_tokenizer"), spec));
  SLUICE_TRY_VOID(read_post_processor(json_member(json, "post_processor"), spec));
  SLUICE_TRY_VOID(read_decoder(json_member(json, "decoder"), spec));
  SLUICE_TRY_VOID(apply_tokenizer_config(files.tokenizer_config, files.chat_template, spec));
  return spec;
}

}  // namespace sluice::text
