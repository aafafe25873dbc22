// Parsing with nlohmann's SAX interface (it keeps the digits of numbers), comparing, and writing canonical JSON.
// Contract: text/schema_value.h. Next: text/schema_document.cc.
#include "text/schema_value.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/limits.h"

namespace sluice::text {
namespace {

constexpr size_t kDepthMax = 2 * limits::kConstraintNestingMax;  // a level of a schema is two of JSON: the keyword and its value
constexpr size_t kValuesMax = 200'000;

class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  SchemaValue root;
  std::string problem;

  bool null() override { return put({}); }
  bool boolean(bool value) override {
    SchemaValue out;
    out.kind = SchemaValue::Kind::kBool;
    out.boolean = value;
    return put(std::move(out));
  }
  bool number_integer(number_integer_t value) override { return number(std::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override { return number(std::to_string(value)); }
  bool number_float(number_float_t, const string_t& text) override { return number(text); }
  bool string(string_t& value) override {
    SchemaValue out;
    out.kind = SchemaValue::Kind::kString;
    out.string = std::move(value);
    return put(std::move(out));
  }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return open(SchemaValue::Kind::kObject); }
  bool start_array(size_t) override { return open(SchemaValue::Kind::kArray); }
  bool key(string_t& name) override {
    if (!names_.back().insert(name).second) return fail("the member '" + name.substr(0, 60) + "' occurs twice");
    open_.back()->members.emplace_back(std::move(name), SchemaValue{});
    return true;
  }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return fail("it is not valid JSON at byte " + std::to_string(position));
  }

 private:
  bool fail(std::string why) {
    if (problem.empty()) problem = std::move(why);
    return false;
  }
  bool number(std::string text) {
    SchemaValue out;
    out.kind = SchemaValue::Kind::kNumber;
    Result<Decimal> decimal = parse_decimal(text);
    if (!decimal.ok()) return fail(decimal.error().message);
    out.number = std::move(decimal).value();
    out.string = std::move(text);
    return put(std::move(out));
  }
  SchemaValue* place(SchemaValue value) {
    value.order = static_cast<uint32_t>(values_);
    if (open_.empty()) {
      root = std::move(value);
      return &root;
    }
    SchemaValue& parent = *open_.back();
    if (parent.is(SchemaValue::Kind::kObject)) return &(parent.members.back().second = std::move(value));
    return &parent.items.emplace_back(std::move(value));
  }
  bool put(SchemaValue value) {
    if (++values_ > kValuesMax) return fail("it has more than " + std::to_string(kValuesMax) + " values");
    place(std::move(value));
    return true;
  }
  bool open(SchemaValue::Kind kind) {
    if (open_.size() >= kDepthMax) return fail("it is nested deeper than " + std::to_string(kDepthMax) + " levels");
    if (++values_ > kValuesMax) return fail("it has more than " + std::to_string(kValuesMax) + " values");
    SchemaValue value;
    value.kind = kind;
    open_.push_back(place(std::move(value)));
    names_.emplace_back();
    return true;
  }
  bool close() {
    open_.pop_back();
    names_.pop_back();
    return true;
  }

  std::vector<SchemaValue*> open_;  // only the last child of each is being built, so the pointers stay valid
  std::vector<std::unordered_set<std::string>> names_;
  size_t values_ = 0;
};

}  // namespace

std::string Decimal::text() const {
  return (negative ? "-" : "") + (whole.empty() ? "0" : whole) + (fraction.empty() ? "" : "." + fraction);
}

Result<Decimal> parse_decimal(std::string_view text) {
  Decimal out;
  std::string digits;
  int64_t point = -1, exponent = 0;
  size_t i = 0;
  if (i < text.size() && text[i] == '-') out.negative = true, ++i;
  for (; i < text.size() && (text[i] == '.' || (text[i] >= '0' && text[i] <= '9')); ++i) {
    if (text[i] == '.') {
      point = static_cast<int64_t>(digits.size());
    } else {
      digits.push_back(text[i]);
    }
  }
  if (point < 0) point = static_cast<int64_t>(digits.size());
  if (i < text.size()) {  // e or E
    ++i;
    const bool minus = i < text.size() && text[i] == '-';
    if (i < text.size() && (text[i] == '-' || text[i] == '+')) ++i;
    for (; i < text.size(); ++i) exponent = std::min<int64_t>(exponent * 10 + (text[i] - '0'), 1'000'000);
    if (minus) exponent = -exponent;
  }
  const size_t leading = std::min(digits.find_first_not_of('0'), digits.size());
  digits.erase(0, leading);
  point += exponent - static_cast<int64_t>(leading);
  digits.erase(digits.find_last_not_of('0') + 1);
  if (digits.empty()) return Decimal{};
  const int64_t count = static_cast<int64_t>(digits.size()), most = limits::kConstraintNumberDigitsMax;
  if (point > most || count - point > most) {
    return Error{"the number " + std::string(text.substr(0, 40)) + " has more than " + std::to_string(most) +
                 " digits before or after the decimal point"};
  }
  if (point <= 0) {
    out.fraction = std::string(static_cast<size_t>(-point), '0') + digits;
  } else if (point >= count) {
    out.whole = digits + std::string(static_cast<size_t>(point - count), '0');
  } else {
    out.whole = digits.substr(0, static_cast<size_t>(point));
    out.fraction = digits.substr(static_cast<size_t>(point));
  }
  return out;
}

int compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  int order = a.whole.size() != b.whole.size() ? (a.whole.size() < b.whole.size() ? -1 : 1) : a.whole.compare(b.whole);
  if (order == 0) order = a.fraction.compare(b.fraction);
  order = order < 0 ? -1 : order > 0 ? 1 : 0;
  return a.negative ? -order : order;
}

const SchemaValue* SchemaValue::find(std::string_view name) const {
  for (const auto& [key, value] : members) {
    if (key == name) return &value;
  }
  return nullptr;
}

bool equal(const SchemaValue& a, const SchemaValue& b) {
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case SchemaValue::Kind::kNull: return true;
    case SchemaValue::Kind::kBool: return a.boolean == b.boolean;
    case SchemaValue::Kind::kNumber: return a.number == b.number;
    case SchemaValue::Kind::kString: return a.string == b.string;
    case SchemaValue::Kind::kArray: return std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(), equal);
    case SchemaValue::Kind::kObject: break;
  }
  if (a.members.size() != b.members.size()) return false;
  return std::all_of(a.members.begin(), a.members.end(), [&](const auto& member) {
    const SchemaValue* other = b.find(member.first);
    return other != nullptr && equal(member.second, *other);
  });
}

std::string json_quoted(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (byte < 0x20) {
          out += "\\u00";
          out += kHex[byte >> 4];
          out += kHex[byte & 15];
        } else {
          out += c;
        }
    }
  }
  return out + '"';
}

std::string canonical_json(const SchemaValue& value) {
  switch (value.kind) {
    case SchemaValue::Kind::kNull: return "null";
    case SchemaValue::Kind::kBool: return value.boolean ? "true" : "false";
    case SchemaValue::Kind::kNumber: return value.number.text();
    case SchemaValue::Kind::kString: return json_quoted(value.string);
    case SchemaValue::Kind::kArray: {
      std::string out = "[";
      for (const SchemaValue& item : value.items) out += (out.size() > 1 ? "," : "") + canonical_json(item);
      return out + "]";
    }
    case SchemaValue::Kind::kObject: break;
  }
  std::string out = "{";
  for (const auto& [key, member] : value.members) out += (out.size() > 1 ? "," : "") + json_quoted(key) + ":" + canonical_json(member);
  return out + "}";
}

Result<SchemaValue> parse_schema_value(std::string_view text) {
  Builder builder;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) {
    return Error{"the schema cannot be read: " + (builder.problem.empty() ? "it is not valid JSON" : builder.problem)};
  }
  return std::move(builder.root);
}

}  // namespace sluice::text
