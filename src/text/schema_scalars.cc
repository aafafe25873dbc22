// Scalar values as languages: keywords are leaves, logical keywords are set operations. Contract: text/schema_scalars.h.
// Next: text/schema_languages.cc for the leaves, text/schema_shapes.cc for arrays and objects.
#include "text/schema_scalars.h"

#include <algorithm>

#include "text/regex.h"
#include "text/schema_languages.h"

namespace sluice::text {

using Kind = SchemaValue::Kind;

SchemaSet schema_set(std::vector<SchemaLiteral> literals) {
  std::sort(literals.begin(), literals.end());
  literals.erase(std::unique(literals.begin(), literals.end()), literals.end());
  return literals;
}

bool type_names(const SchemaValue& schema, std::string_view name) {
  const SchemaValue* type = schema.find("type");
  if (type == nullptr) return true;
  if (type->is(Kind::kString)) return type->string == name;
  return std::any_of(type->items.begin(), type->items.end(), [&](const SchemaValue& item) { return item.string == name; });
}

bool type_allows(const SchemaValue& schema, JsonType type) {
  switch (type) {
    case JsonType::kNull: return type_names(schema, "null");
    case JsonType::kBoolean: return type_names(schema, "boolean");
    case JsonType::kNumber: return type_names(schema, "number") || type_names(schema, "integer");
    case JsonType::kString: return type_names(schema, "string");
    case JsonType::kArray: return type_names(schema, "array");
    case JsonType::kObject: return type_names(schema, "object");
  }
  return false;
}

namespace {

// The values that enum and const of one schema leave; null if it has neither.
std::vector<const SchemaValue*> listed_values(const SchemaValue& schema, bool& restricted) {
  std::vector<const SchemaValue*> out;
  const SchemaValue* list = schema.find("enum");
  const SchemaValue* one = schema.find("const");
  restricted = list != nullptr || one != nullptr;
  if (list == nullptr) {
    if (one != nullptr) out.push_back(one);
    return out;
  }
  for (const SchemaValue& value : list->items) {
    if (one == nullptr || equal(*one, value)) out.push_back(&value);
  }
  return out;
}

}  // namespace

// null, true and false as a set of three bits.
struct WordLanguage {
  using Set = uint8_t;
  static constexpr Set kAll = kAdmitsNull | kAdmitsFalse | kAdmitsTrue;
  Scalars& owner;
  Set everything() const { return kAll; }
  Set nothing() const { return 0; }
  Result<Set> combine(Set a, Set b, SetOp op) const {
    return static_cast<Set>(op == SetOp::kAnd ? a & b : op == SetOp::kOr ? a | b : a & ~b);
  }
  Result<Set> own(const SchemaValue& schema) const {
    Set out = 0;
    if (type_allows(schema, JsonType::kNull)) out |= kAdmitsNull;
    if (type_allows(schema, JsonType::kBoolean)) out |= kAdmitsFalse | kAdmitsTrue;
    bool restricted = false;
    const auto values = listed_values(schema, restricted);
    if (!restricted) return out;
    Set listed = 0;
    for (const SchemaValue* value : values) {
      if (value->is(Kind::kNull)) listed |= kAdmitsNull;
      if (value->is(Kind::kBool)) listed |= value->boolean ? kAdmitsTrue : kAdmitsFalse;
    }
    return static_cast<Set>(out & listed);
  }
};

struct StringLanguage {
  using Set = CharDfa;
  Scalars& owner;
  Set everything() const { return CharDfa::everything(); }
  Set nothing() const { return CharDfa::nothing(); }
  Result<Set> combine(const Set& a, const Set& b, SetOp op) const { return text::combine(a, b, op, owner.allowance_); }
  Result<Set> own(const SchemaValue& schema) const { return owner.own_strings(schema); }
};

struct NumberLanguage {
  using Set = CharDfa;
  Scalars& owner;
  Set everything() const { return CharDfa::everything(); }
  Set nothing() const { return CharDfa::nothing(); }
  Result<Set> combine(const Set& a, const Set& b, SetOp op) const { return text::combine(a, b, op, owner.allowance_); }
  Result<Set> own(const SchemaValue& schema) const { return owner.own_numbers(schema); }
};

template <class Language>
Result<typename Language::Set> Scalars::evaluate(const SchemaValue& schema, Language& language) {
  SLUICE_TRY_VOID(allowance_.spend(20));
  if (schema.is(Kind::kBool)) return schema.boolean ? language.everything() : language.nothing();
  SLUICE_TRY_VOID(document_.check(schema));
  if (std::find(open_.begin(), open_.end(), &schema) != open_.end())
    return Error{"unsupported $ref: a schema refers to itself without reading anything"};
  if (open_.size() > 4 * limits::kConstraintNestingMax) return Error{"the schema's references are nested too deeply"};
  open_.push_back(&schema);
  auto out = evaluate_parts(schema, language);
  open_.pop_back();
  return out;
}

template <class Language>
Result<typename Language::Set> Scalars::evaluate_parts(const SchemaValue& schema, Language& language) {
  using Set = typename Language::Set;
  const SchemaValue* reference = schema.find("$ref");
  if (reference != nullptr && document_.draft7()) {
    SLUICE_TRY(const SchemaValue* target, document_.resolve(reference->string));
    return evaluate(*target, language);
  }
  SLUICE_TRY(Set out, language.own(schema));
  const auto restrict_to = [&](const SchemaValue& part, SetOp op) -> Status {
    SLUICE_TRY(const Set other, evaluate(part, language));
    SLUICE_TRY(out, language.combine(out, other, op));
    return {};
  };
  if (reference != nullptr) {
    SLUICE_TRY(const SchemaValue* target, document_.resolve(reference->string));
    SLUICE_TRY_VOID(restrict_to(*target, SetOp::kAnd));
  }
  if (const SchemaValue* all = schema.find("allOf")) {
    for (const SchemaValue& part : all->items) SLUICE_TRY_VOID(restrict_to(part, SetOp::kAnd));
  }
  if (const SchemaValue* negated = schema.find("not")) SLUICE_TRY_VOID(restrict_to(*negated, SetOp::kMinus));
  if (const SchemaValue* any = schema.find("anyOf")) {
    Set either = language.nothing();
    for (const SchemaValue& part : any->items) {
      SLUICE_TRY(const Set other, evaluate(part, language));
      SLUICE_TRY(either, language.combine(either, other, SetOp::kOr));
    }
    SLUICE_TRY(out, language.combine(out, either, SetOp::kAnd));
  }
  if (const SchemaValue* one = schema.find("oneOf")) {
    Set once = language.nothing(), seen = language.nothing();
    for (const SchemaValue& part : one->items) {
      SLUICE_TRY(const Set other, evaluate(part, language));
      SLUICE_TRY(const Set fresh, language.combine(other, seen, SetOp::kMinus));
      SLUICE_TRY(once, language.combine(once, other, SetOp::kMinus));
      SLUICE_TRY(once, language.combine(once, fresh, SetOp::kOr));
      SLUICE_TRY(seen, language.combine(seen, other, SetOp::kOr));
    }
    SLUICE_TRY(out, language.combine(out, once, SetOp::kAnd));
  }
  if (const SchemaValue* condition = schema.find("if")) {
    const SchemaValue *then = schema.find("then"), *otherwise = schema.find("else");
    if (then == nullptr && otherwise == nullptr) return out;
    SLUICE_TRY(const Set holds, evaluate(*condition, language));
    Set yes = holds;
    if (then != nullptr) {
      SLUICE_TRY(const Set part, evaluate(*then, language));
      SLUICE_TRY(yes, language.combine(holds, part, SetOp::kAnd));
    }
    SLUICE_TRY(Set no, language.combine(language.everything(), holds, SetOp::kMinus));
    if (otherwise != nullptr) {
      SLUICE_TRY(const Set part, evaluate(*otherwise, language));
      SLUICE_TRY(no, language.combine(no, part, SetOp::kAnd));
    }
    SLUICE_TRY(const Set both, language.combine(yes, no, SetOp::kOr));
    SLUICE_TRY(out, language.combine(out, both, SetOp::kAnd));
  }
  return out;
}

template <class Language>
Result<typename Language::Set> Scalars::evaluate_all(const SchemaSet& set, Language language) {
  typename Language::Set out = language.everything();
  for (const SchemaLiteral literal : set) {
    SLUICE_TRY(const typename Language::Set part, evaluate(*literal.schema, language));
    SLUICE_TRY(out, language.combine(out, part, literal.negated ? SetOp::kMinus : SetOp::kAnd));
  }
  return out;
}

Result<uint8_t> Scalars::words(const SchemaSet& set) { return evaluate_all(set, WordLanguage{*this}); }
Result<CharDfa> Scalars::strings(const SchemaSet& set) { return evaluate_all(set, StringLanguage{*this}); }
Result<CharDfa> Scalars::numbers(const SchemaSet& set) { return evaluate_all(set, NumberLanguage{*this}); }

Result<CharDfa> Scalars::pattern(const std::string& pattern) { return compile_regex(pattern, RegexMatch::kSearch, allowance_); }

Result<CharDfa> Scalars::own_strings(const SchemaValue& schema) {
  if (!type_allows(schema, JsonType::kString)) return CharDfa::nothing();
  CharDfa out = CharDfa::everything();
  bool restricted = false;
  const auto values = listed_values(schema, restricted);
  if (restricted) {
    std::vector<std::string> words;
    for (const SchemaValue* value : values) {
      if (value->is(Kind::kString)) words.push_back(value->string);
    }
    SLUICE_TRY(out, one_of(words, allowance_));
  }
  const bool has_low = schema.find("minLength") != nullptr, has_high = schema.find("maxLength") != nullptr;
  if (has_low || has_high) {
    SLUICE_TRY(const uint64_t low, count_keyword(schema, "minLength", 0));
    SLUICE_TRY(const uint64_t high, count_keyword(schema, "maxLength", 0));
    SLUICE_TRY(const CharDfa lengths, length_between(low, has_high ? static_cast<int64_t>(high) : -1, allowance_));
    SLUICE_TRY(out, combine(out, lengths, SetOp::kAnd, allowance_));
  }
  if (const SchemaValue* expression = schema.find("pattern")) {
    SLUICE_TRY(const CharDfa matching, pattern(expression->string));
    SLUICE_TRY(out, combine(out, matching, SetOp::kAnd, allowance_));
  }
  if (const SchemaValue* format = schema.find("format")) {
    SLUICE_TRY(const CharDfa matching, format_language(format->string, allowance_));
    SLUICE_TRY(out, combine(out, matching, SetOp::kAnd, allowance_));
  }
  return out;
}

Result<CharDfa> Scalars::own_numbers(const SchemaValue& schema) {
  if (!type_allows(schema, JsonType::kNumber)) return CharDfa::nothing();
  CharDfa out = CharDfa::everything();
  if (!type_names(schema, "number")) {
    SLUICE_TRY(out, integer_values(allowance_));
  }
  bool restricted = false;
  const auto values = listed_values(schema, restricted);
  if (restricted) {
    std::vector<CharDfa> each;
    for (const SchemaValue* value : values) {
      if (!value->is(Kind::kNumber)) continue;
      SLUICE_TRY(CharDfa same, bound_language(value->number, Bound::kEqual, allowance_));
      each.push_back(std::move(same));
    }
    if (each.empty()) return CharDfa::nothing();
    for (; each.size() > 1; each.resize((each.size() + 1) / 2)) {  // in pairs, so that the work stays near n log n
      for (size_t i = 0; i + 1 < each.size(); i += 2) {
        SLUICE_TRY(each[i / 2], combine(each[i], each[i + 1], SetOp::kOr, allowance_));
      }
      if (each.size() % 2 == 1) each[each.size() / 2] = each.back();
    }
    const CharDfa any = std::move(each[0]);
    SLUICE_TRY(out, combine(out, any, SetOp::kAnd, allowance_));
  }
  constexpr std::pair<std::string_view, Bound> kBounds[] = {
      {"minimum", Bound::kAtLeast}, {"maximum", Bound::kAtMost}, {"exclusiveMinimum", Bound::kAbove}, {"exclusiveMaximum", Bound::kBelow}};
  for (const auto& [keyword, bound] : kBounds) {
    const SchemaValue* limit = schema.find(keyword);
    if (limit == nullptr) continue;
    SLUICE_TRY(const CharDfa within, bound_language(limit->number, bound, allowance_));
    SLUICE_TRY(out, combine(out, within, SetOp::kAnd, allowance_));
  }
  if (const SchemaValue* divisor = schema.find("multipleOf")) {
    SLUICE_TRY(const CharDfa multiples, multiple_language(divisor->number, allowance_));
    SLUICE_TRY(out, combine(out, multiples, SetOp::kAnd, allowance_));
  }
  return out;
}

bool Scalars::mentions_numbers(const SchemaValue& schema, uint32_t depth) {
  if (!schema.is(Kind::kObject) || depth > limits::kConstraintNestingMax || !allowance_.spend_fast(4)) return false;
  bool restricted = false;
  for (const SchemaValue* value : listed_values(schema, restricted)) {
    if (value->is(Kind::kNumber)) return true;
  }
  if (const SchemaValue* reference = schema.find("$ref")) {
    const Result<const SchemaValue*> target = document_.resolve(reference->string);
    if (target.ok() && mentions_numbers(*target.value(), depth + 1)) return true;
  }
  for (const std::string_view keyword : {"allOf", "anyOf", "oneOf"}) {
    const SchemaValue* parts = schema.find(keyword);
    if (parts == nullptr) continue;
    for (const SchemaValue& part : parts->items) {
      if (mentions_numbers(part, depth + 1)) return true;
    }
  }
  return false;
}

Result<CharDfa> Scalars::number_output(const CharDfa& language, const SchemaSet& set) {
  SLUICE_TRY(const CharDfa texts, number_texts(allowance_));
  SLUICE_TRY(CharDfa out, combine(language, texts, SetOp::kAnd, allowance_));
  SLUICE_TRY(const CharDfa integers, integer_values(allowance_));
  SLUICE_TRY(const CharDfa broken, combine(out, integers, SetOp::kMinus, allowance_));
  const bool listed = std::any_of(set.begin(), set.end(), [&](SchemaLiteral l) { return !l.negated && mentions_numbers(*l.schema, 0); });
  if (!broken.empty() && !listed) return out;
  SLUICE_TRY(const CharDfa canonical, broken.empty() ? without_point(allowance_) : shortest_texts(allowance_));
  return combine(out, canonical, SetOp::kAnd, allowance_);
}

}  // namespace sluice::text
