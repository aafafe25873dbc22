// Field numbers are those of sentencepiece_model.proto.
// Contract: text/sentencepiece_model.h.
// Next: text/sentencepiece_model_test.cc.
#include "text/sentencepiece_model.h"

#include <fmt/format.h>

#include <bit>

#include "base/limits.h"
#include "text/tokenizer_gguf.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

// One field of a message: a number or bytes. After an error ok() is false and next() gives nothing more.
class ProtoReader {
 public:
  explicit ProtoReader(std::string_view bytes) : bytes_(bytes) {}

  bool next() {
    if (!error_.empty() || at_ == bytes_.size()) return false;
    const uint64_t key = varint();
    field = key >> 3;
    number = 0;
    data = {};
    switch (key & 7) {
      case 0:
        number = varint();
        break;
      case 1:
        take(8);
        break;
      case 2:
        take(varint());
        break;
      case 5:
        take(4);
        break;
      default:
        fail(fmt::format("wire type {}", key & 7));
    }
    if (field == 0) fail("field number 0");
    return error_.empty();
  }

  float real() const {
    if (data.size() != 4) return 0;
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; ++i) bits |= static_cast<uint32_t>(static_cast<uint8_t>(data[i])) << (8 * i);
    return std::bit_cast<float>(bits);
  }

  // The value as the int32 that it was written from.
  int32_t integer() const { return static_cast<int32_t>(static_cast<uint32_t>(number)); }

  Status status() const {
    if (error_.empty()) return {};
    return Error{fmt::format("tokenizer.model, byte {}: {}", at_, error_)};
  }

  uint64_t field = 0;
  uint64_t number = 0;
  std::string_view data;

 private:
  void fail(std::string message) {
    if (error_.empty()) error_ = std::move(message);
  }

  uint64_t varint() {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == bytes_.size()) {
        fail("ends inside a number");
        return 0;
      }
      const auto byte = static_cast<uint8_t>(bytes_[at_++]);
      v |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return v;
    }
    fail("a number of more than 64 bits");
    return 0;
  }

  void take(uint64_t size) {
    if (!error_.empty()) return;
    if (size > bytes_.size() - at_) {
      fail(fmt::format("{} bytes wanted, {} left", size, bytes_.size() - at_));
      return;
    }
    data = bytes_.substr(at_, size);
    at_ += size;
  }

  std::string_view bytes_;
  size_t at_ = 0;
  std::string error_;
};

constexpr uint64_t kUnigramType = 1;
constexpr uint64_t kBpeType = 2;

struct Trainer {
  uint64_t model_type = kUnigramType;
  bool byte_fallback = false;
  bool suffix = false;
  int32_t bos_id = 1;
  int32_t eos_id = 2;
  int32_t pad_id = -1;
};

struct NormalizerFields {
  std::string_view charsmap;
  bool dummy_prefix = true;
  bool remove_extra = true;
  bool escape = true;
};

Status read_piece(std::string_view bytes, TokenizerSpec& spec) {
  ProtoReader r(bytes);
  std::string text;
  float score = 0;
  uint64_t type = 1;
  while (r.next()) {
    if (r.field == 1) text = r.data;
    if (r.field == 2) score = r.real();
    if (r.field == 3) type = r.number;
  }
  SLUICE_TRY_VOID(r.status());
  const size_t id = spec.tokens.size();
  if (id >= limits::kVocabularyMax)
    return Error{fmt::format("tokenizer.model has more than {} pieces", limits::kVocabularyMax)};
  if (type < 1 || type > 6) return Error{fmt::format("piece {} has type {}, known are 1 to 6", id, type)};
  if (type == static_cast<uint64_t>(TokenType::kByte)) {
    const auto byte = parse_byte_token(text);
    if (!byte) return Error{fmt::format("byte piece {} is '{}', not <0x00> to <0xFF>", id, shown(text))};
    text.assign(1, static_cast<char>(*byte));
  }
  spec.tokens.push_back(std::move(text));
  spec.scores.push_back(score);
  spec.types.push_back(static_cast<TokenType>(type));
  return {};
}

Result<Trainer> read_trainer(std::string_view bytes) {
  ProtoReader r(bytes);
  Trainer trainer;
  while (r.next()) {
    if (r.field == 3) trainer.model_type = r.number;
    if (r.field == 24) trainer.suffix = r.number != 0;
    if (r.field == 35) trainer.byte_fallback = r.number != 0;
    if (r.field == 41) trainer.bos_id = r.integer();
    if (r.field == 42) trainer.eos_id = r.integer();
    if (r.field == 43) trainer.pad_id = r.integer();
  }
  SLUICE_TRY_VOID(r.status());
  return trainer;
}

Result<NormalizerFields> read_normalizer_fields(std::string_view bytes) {
  ProtoReader r(bytes);
  NormalizerFields fields;
  while (r.next()) {
    if (r.field == 2) fields.charsmap = r.data;
    if (r.field == 3) fields.dummy_prefix = r.number != 0;
    if (r.field == 4) fields.remove_extra = r.number != 0;
    if (r.field == 5) fields.escape = r.number != 0;
  }
  SLUICE_TRY_VOID(r.status());
  return fields;
}

void apply_normalizer(const NormalizerFields& fields, TokenizerSpec& spec) {
  if (!fields.charsmap.empty())
    spec.normalizer.push_back({.kind = NormalizerKind::kCharsmap, .text = std::string(fields.charsmap)});
  if (fields.remove_extra) spec.normalizer.push_back({.kind = NormalizerKind::kCollapseSpaces});
  // SentencePiece itself puts the blank only before the whole text; after special tokens too is what engines do that
  // read the same model from a GGUF, and one model must give one answer.
  spec.space_prefix = fields.dummy_prefix ? SpacePrefix::kAlways : SpacePrefix::kNever;
  spec.replace_spaces = fields.escape;
  spec.restore_spaces = true;
  spec.strip_leading_space = fields.dummy_prefix;
}

void apply_ids(const Trainer& trainer, TokenizerSpec& spec) {
  const auto control = [&](int32_t id) {
    const bool is = id >= 0 && static_cast<size_t>(id) < spec.tokens.size() &&
                    spec.types[static_cast<size_t>(id)] == TokenType::kControl;
    return is ? id : -1;
  };
  spec.bos_id = control(trainer.bos_id);
  spec.eos_id = control(trainer.eos_id);
  spec.pad_id = control(trainer.pad_id);
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    const TokenType type = spec.types[i];
    if (type == TokenType::kUnknown && spec.unknown_id < 0) spec.unknown_id = static_cast<int32_t>(i);
    const bool special = type == TokenType::kControl || type == TokenType::kUnknown;
    if ((special || type == TokenType::kUserDefined) && !spec.tokens[i].empty()) {
      // SentencePiece looks for user-defined pieces in the normalised text, blanks as U+2581.
      spec.added_tokens.push_back({.id = static_cast<uint32_t>(i), .special = special, .normalized = !special});
    }
  }
  // As models of this kind are used everywhere; tokenizer_config.json may say otherwise.
  if (spec.bos_id >= 0) spec.prefix_ids = {spec.bos_id};
}

}  // namespace

Result<TokenizerSpec> spec_from_sentencepiece(std::string_view model_bytes) {
  TokenizerSpec spec;
  Trainer trainer;
  NormalizerFields normalizer;
  ProtoReader r(model_bytes);
  while (r.next()) {
    if (r.field == 1) SLUICE_TRY_VOID(read_piece(r.data, spec));
    if (r.field == 2) {
      SLUICE_TRY(trainer, read_trainer(r.data));
    }
    if (r.field == 3) {
      SLUICE_TRY(normalizer, read_normalizer_fields(r.data));
    }
  }
  SLUICE_TRY_VOID(r.status());
  if (trainer.model_type != kUnigramType && trainer.model_type != kBpeType) {
    return Error{fmt::format("tokenizer.model of type {} is not supported; known are 1 (unigram) and 2 (BPE)",
                             trainer.model_type)};
  }
  if (trainer.suffix) return Error{"tokenizer.model with treat_whitespace_as_suffix is not supported"};
  spec.kind = trainer.model_type == kBpeType ? ModelKind::kSentencePieceBpe : ModelKind::kUnigram;
  spec.byte_fallback = trainer.byte_fallback;
  spec.fuse_unknown = true;
  apply_normalizer(normalizer, spec);
  apply_ids(trainer, spec);
  SLUICE_TRY_VOID(check_spec(spec));
  return spec;
}

}  // namespace sluice::text
