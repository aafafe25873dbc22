// A spec's byte string: magic, version, fields in order; numbers little-endian, counts and lengths as 7-bit groups.
// Contract: parse_spec(serialize(s)) == s; every count is checked against the bytes left before anything is allocated.
// Next: text/tokenizer_spec_test.cc.
#include "text/tokenizer_spec.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "base/limits.h"

namespace sluice::text {
namespace {

constexpr std::string_view kMagic = "SLTK";
constexpr uint8_t kVersion = 1;

class Writer {
 public:
  void byte(uint8_t v) { out_.push_back(static_cast<char>(v)); }
  void flag(bool v) { byte(v ? 1 : 0); }
  void number(uint64_t v) {
    while (v >= 0x80) {
      byte(static_cast<uint8_t>(v | 0x80));
      v >>= 7;
    }
    byte(static_cast<uint8_t>(v));
  }
  void id(int32_t v) { number(v < 0 ? 0 : static_cast<uint64_t>(v) + 1); }
  void text(std::string_view v) {
    number(v.size());
    out_.append(v);
  }
  void real(float v) {
    const auto bits = std::bit_cast<uint32_t>(v);
    for (int shift = 0; shift < 32; shift += 8) byte(static_cast<uint8_t>(bits >> shift));
  }
  void raw(std::string_view v) { out_.append(v); }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

// Reads until the first error; after it every read gives zero and `ok` is false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  bool ok() const { return error_.empty(); }
  const std::string& error() const { return error_; }
  size_t left() const { return bytes_.size() - at_; }

  void fail(std::string message) {
    if (error_.empty()) error_ = fmt::format("tokenizer data, byte {}: {}", at_, message);
    at_ = bytes_.size();
  }

  uint8_t byte() {
    if (left() == 0) {
      fail("ends too early");
      return 0;
    }
    return static_cast<uint8_t>(bytes_[at_++]);
  }

  bool flag() {
    const uint8_t v = byte();
    if (v > 1) fail(fmt::format("flag {} is neither 0 nor 1", v));
    return v == 1;
  }

  template <class Enum>
  Enum choice(uint8_t first, uint8_t end, const char* what) {
    const uint8_t v = byte();
    if (ok() && (v < first || v >= end)) fail(fmt::format("{} {} is not in {}..{}", what, v, first, end - 1));
    return static_cast<Enum>(ok() ? v : first);
  }

  uint64_t number() {
    uint64_t v = 0;
    for (int shift = 0; shift < 63; shift += 7) {
      const uint8_t b = byte();
      v |= static_cast<uint64_t>(b & 0x7F) << shift;
      if ((b & 0x80) == 0) return v;
    }
    fail("number of more than 63 bits");
    return 0;
  }

  uint32_t index() {
    const uint64_t v = number();
    if (v > UINT32_MAX) fail(fmt::format("index {} above {}", v, UINT32_MAX));
    return ok() ? static_cast<uint32_t>(v) : 0;
  }

  int32_t id() {
    const uint64_t v = number();
    if (v > INT32_MAX) fail(fmt::format("id {} above {}", v, INT32_MAX));
    return ok() ? static_cast<int32_t>(v) - 1 : -1;
  }

  // A count of things that take at least `bytes_each` bytes each.
  size_t count(size_t bytes_each) {
    const uint64_t v = number();
    if (v > left() / bytes_each) fail(fmt::format("count {} with {} bytes left", v, left()));
    return ok() ? static_cast<size_t>(v) : 0;
  }

  std::string text() {
    const size_t bytes = count(1);
    std::string v(bytes_.substr(at_, bytes));
    at_ += bytes;
    return v;
  }

  float real() {
    uint32_t bits = 0;
    for (int shift = 0; shift < 32; shift += 8) bits |= static_cast<uint32_t>(byte()) << shift;
    return std::bit_cast<float>(bits);
  }

 private:
  std::string_view bytes_;
  size_t at_ = 0;
  std::string error_;
};

void write_texts(Writer& w, const std::vector<std::string>& texts) {
  w.number(texts.size());
  for (const auto& text : texts) w.text(text);
}

void read_texts(Reader& r, std::vector<std::string>& texts) {
  const size_t count = r.count(1);
  if (count > limits::kVocabularyMax) r.fail(fmt::format("{} texts, limit {}", count, limits::kVocabularyMax));
  if (!r.ok()) return;
  texts.reserve(count);
  for (size_t i = 0; i < count && r.ok(); ++i) texts.push_back(r.text());
}

void write_ids(Writer& w, const std::vector<int32_t>& ids) {
  w.number(ids.size());
  for (const int32_t id : ids) w.id(id);
}

void read_ids(Reader& r, std::vector<int32_t>& ids) {
  const size_t count = r.count(1);
  ids.reserve(count);
  for (size_t i = 0; i < count && r.ok(); ++i) ids.push_back(r.id());
}

void write_vocabulary(Writer& w, const TokenizerSpec& s) {
  write_texts(w, s.tokens);
  for (const TokenType type : s.types) w.byte(static_cast<uint8_t>(type));
  w.flag(!s.scores.empty());
  for (const float score : s.scores) w.real(score);
  write_texts(w, s.extra_symbols);
  w.number(s.merges.size());
  for (const Merge& merge : s.merges) {
    w.number(merge.left);
    w.number(merge.right);
  }
}

void read_vocabulary(Reader& r, TokenizerSpec& s) {
  read_texts(r, s.tokens);
  const size_t count = s.tokens.size();
  if (r.left() < count) r.fail(fmt::format("{} token types with {} bytes left", count, r.left()));
  for (size_t i = 0; i < count && r.ok(); ++i) s.types.push_back(r.choice<TokenType>(1, 7, "token type"));
  if (r.flag()) {
    if (r.left() / 4 < count) r.fail(fmt::format("{} scores with {} bytes left", count, r.left()));
    for (size_t i = 0; i < count && r.ok(); ++i) s.scores.push_back(r.real());
  }
  read_texts(r, s.extra_symbols);
  const size_t merges = r.count(2);
  if (merges > limits::kMergesMax) r.fail(fmt::format("{} merges, limit {}", merges, limits::kMergesMax));
  if (!r.ok()) return;
  s.merges.reserve(merges);
  for (size_t i = 0; i < merges && r.ok(); ++i) {
    const uint32_t left = r.index();
    const uint32_t right = r.index();
    s.merges.push_back({left, right});
  }
}

void write_steps(Writer& w, const TokenizerSpec& s) {
  w.number(s.normalizer.size());
  for (const auto& step : s.normalizer) {
    w.byte(static_cast<uint8_t>(step.kind));
    w.text(step.text);
    w.text(step.replacement);
    w.flag(step.is_regex);
    w.flag(step.left);
    w.flag(step.right);
  }
  w.number(s.pre_tokenizer.size());
  for (const auto& step : s.pre_tokenizer) {
    w.byte(static_cast<uint8_t>(step.kind));
    w.text(step.text);
    w.flag(step.is_regex);
    w.byte(static_cast<uint8_t>(step.behavior));
    w.flag(step.invert);
    w.byte(static_cast<uint8_t>(step.prefix));
    w.flag(step.split_words);
  }
}

void read_steps(Reader& r, TokenizerSpec& s) {
  for (size_t left = r.count(6); left > 0 && r.ok(); --left) {
    NormalizerStep step;
    step.kind = r.choice<NormalizerKind>(0, kNormalizerKinds, "normalizer");
    step.text = r.text();
    step.replacement = r.text();
    step.is_regex = r.flag();
    step.left = r.flag();
    step.right = r.flag();
    s.normalizer.push_back(std::move(step));
  }
  for (size_t left = r.count(7); left > 0 && r.ok(); --left) {
    PreTokenizerStep step;
    step.kind = r.choice<PreTokenizerKind>(0, kPreTokenizerKinds, "pre-tokenizer");
    step.text = r.text();
    step.is_regex = r.flag();
    step.behavior = r.choice<SplitBehavior>(0, kSplitBehaviors, "split behavior");
    step.invert = r.flag();
    step.prefix = r.choice<SpacePrefix>(0, kSpacePrefixes, "space prefix");
    step.split_words = r.flag();
    s.pre_tokenizer.push_back(std::move(step));
  }
}

void write_added(Writer& w, const TokenizerSpec& s) {
  w.number(s.added_tokens.size());
  for (const auto& token : s.added_tokens) {
    w.number(token.id);
    const unsigned bits = (token.special ? 1u : 0u) | (token.normalized ? 2u : 0u) | (token.lstrip ? 4u : 0u) |
                          (token.rstrip ? 8u : 0u) | (token.single_word ? 16u : 0u);
    w.byte(static_cast<uint8_t>(bits));
  }
}

void read_added(Reader& r, TokenizerSpec& s) {
  const size_t count = r.count(2);
  s.added_tokens.reserve(count);
  for (size_t i = 0; i < count && r.ok(); ++i) {
    AddedToken token;
    token.id = r.index();
    const uint8_t bits = r.byte();
    if (bits > 31) r.fail(fmt::format("added token flags {} above 31", bits));
    token.special = (bits & 1) != 0;
    token.normalized = (bits & 2) != 0;
    token.lstrip = (bits & 4) != 0;
    token.rstrip = (bits & 8) != 0;
    token.single_word = (bits & 16) != 0;
    s.added_tokens.push_back(token);
  }
}

void read_flags_and_ids(Reader& r, TokenizerSpec& s) {
  s.space_prefix = r.choice<SpacePrefix>(0, kSpacePrefixes, "space prefix");
  for (bool* flag : {&s.replace_spaces, &s.restore_spaces, &s.strip_leading_space, &s.byte_fallback, &s.fuse_unknown,
                     &s.ignore_merges}) {
    *flag = r.flag();
  }
  for (int32_t* id : {&s.bos_id, &s.eos_id, &s.eot_id, &s.eom_id, &s.unknown_id, &s.pad_id}) *id = r.id();
  read_ids(r, s.prefix_ids);
  read_ids(r, s.suffix_ids);
  read_ids(r, s.end_ids);
}

Status check_vocabulary(const TokenizerSpec& s) {
  const size_t count = s.tokens.size();
  if (count > limits::kVocabularyMax) return Error{fmt::format("{} tokens, limit {}", count, limits::kVocabularyMax)};
  if (s.types.size() != count) return Error{fmt::format("{} token types for {} tokens", s.types.size(), count)};
  if (!s.scores.empty() && s.scores.size() != count)
    return Error{fmt::format("{} scores for {} tokens", s.scores.size(), count)};
  const bool needs_scores = s.kind == ModelKind::kSentencePieceBpe || s.kind == ModelKind::kUnigram;
  if (needs_scores && s.scores.empty() && count > 0) return Error{"a SentencePiece tokenizer without scores"};
  for (size_t i = 0; i < count; ++i) {
    const size_t bytes = s.tokens[i].size();
    if (bytes > limits::kTokenBytesMax)
      return Error{fmt::format("token {} has {} bytes, limit {}", i, bytes, limits::kTokenBytesMax)};
    if (s.types[i] == TokenType::kByte && bytes != 1)
      return Error{fmt::format("byte token {} stands for {} bytes", i, bytes)};
  }
  if (s.extra_symbols.size() > limits::kVocabularyMax) {
    return Error{
        fmt::format("{} symbols outside the vocabulary, limit {}", s.extra_symbols.size(), limits::kVocabularyMax)};
  }
  for (const auto& symbol : s.extra_symbols) {
    if (symbol.size() > limits::kTokenBytesMax)
      return Error{fmt::format("a symbol of {} bytes, limit {}", symbol.size(), limits::kTokenBytesMax)};
  }
  if (s.merges.size() > limits::kMergesMax)
    return Error{fmt::format("{} merges, limit {}", s.merges.size(), limits::kMergesMax)};
  const size_t symbols = count + s.extra_symbols.size();
  for (size_t i = 0; i < s.merges.size(); ++i) {
    if (s.merges[i].left >= symbols || s.merges[i].right >= symbols) {
      return Error{
          fmt::format("merge {} joins symbols {} and {} of {}", i, s.merges[i].left, s.merges[i].right, symbols)};
    }
  }
  return {};
}

Status check_id(const char* what, int32_t id, size_t count, bool may_be_missing) {
  if (id == -1 && may_be_missing) return {};
  if (id < 0 || static_cast<size_t>(id) >= count) return Error{fmt::format("{} id {} with {} tokens", what, id, count)};
  return {};
}

}  // namespace

Status check_spec(const TokenizerSpec& s) {
  SLUICE_TRY_VOID(check_vocabulary(s));
  const size_t count = s.tokens.size();
  for (const AddedToken& token : s.added_tokens) {
    if (token.id >= count) return Error{fmt::format("added token id {} with {} tokens", token.id, count)};
  }
  SLUICE_TRY_VOID(check_id("bos", s.bos_id, count, true));
  SLUICE_TRY_VOID(check_id("eos", s.eos_id, count, true));
  SLUICE_TRY_VOID(check_id("eot", s.eot_id, count, true));
  SLUICE_TRY_VOID(check_id("eom", s.eom_id, count, true));
  SLUICE_TRY_VOID(check_id("unknown", s.unknown_id, count, true));
  SLUICE_TRY_VOID(check_id("padding", s.pad_id, count, true));
  for (const int32_t id : s.prefix_ids) SLUICE_TRY_VOID(check_id("prefix", id, count, false));
  for (const int32_t id : s.suffix_ids) SLUICE_TRY_VOID(check_id("suffix", id, count, false));
  for (const int32_t id : s.end_ids) SLUICE_TRY_VOID(check_id("end", id, count, false));
  const size_t steps = s.normalizer.size() + s.pre_tokenizer.size();
  if (steps > limits::kTokenizerStepsMax)
    return Error{fmt::format("{} tokenizer steps, limit {}", steps, limits::kTokenizerStepsMax)};
  for (const auto& chat : s.chat_templates) {
    if (chat.text.size() > limits::kTemplateBytesMax) {
      return Error{fmt::format("chat template of {} bytes, limit {}", chat.text.size(), limits::kTemplateBytesMax)};
    }
  }
  return {};
}

std::string serialize(const TokenizerSpec& s) {
  Writer w;
  w.raw(kMagic);
  w.byte(kVersion);
  w.byte(static_cast<uint8_t>(s.kind));
  write_vocabulary(w, s);
  write_steps(w, s);
  write_added(w, s);
  w.byte(static_cast<uint8_t>(s.space_prefix));
  for (const bool flag :
       {s.replace_spaces, s.restore_spaces, s.strip_leading_space, s.byte_fallback, s.fuse_unknown, s.ignore_merges}) {
    w.flag(flag);
  }
  for (const int32_t id : {s.bos_id, s.eos_id, s.eot_id, s.eom_id, s.unknown_id, s.pad_id}) w.id(id);
  write_ids(w, s.prefix_ids);
  write_ids(w, s.suffix_ids);
  write_ids(w, s.end_ids);
  w.number(s.chat_templates.size());
  for (const auto& chat : s.chat_templates) {
    w.text(chat.name);
    w.text(chat.text);
  }
  write_texts(w, s.notes);
  return w.take();
}

Result<TokenizerSpec> parse_spec(std::string_view bytes) {
  if (!bytes.starts_with(kMagic)) return Error{"tokenizer data does not begin with SLTK"};
  Reader r(bytes.substr(kMagic.size()));
  const uint8_t version = r.byte();
  if (r.ok() && version != kVersion)
    return Error{fmt::format("tokenizer data of version {}, this program reads {}", version, kVersion)};
  TokenizerSpec s;
  s.kind = r.choice<ModelKind>(0, kModelKinds, "model kind");
  read_vocabulary(r, s);
  read_steps(r, s);
  read_added(r, s);
  read_flags_and_ids(r, s);
  for (size_t left = r.count(2); left > 0 && r.ok(); --left) {
    NamedTemplate chat;
    chat.name = r.text();
    chat.text = r.text();
    s.chat_templates.push_back(std::move(chat));
  }
  read_texts(r, s.notes);
  if (r.ok() && r.left() != 0) r.fail(fmt::format("{} bytes too many", r.left()));
  if (!r.ok()) return Error{r.error()};
  SLUICE_TRY_VOID(check_spec(s));
  return s;
}

}  // namespace sluice::text
