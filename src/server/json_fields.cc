#include "server/json_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "server/limits.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

// Before parsing: what the document would cost. Knows strings from the rest and nothing else of the grammar.
Refused scan(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const text::Utf8Char c = text::decode_utf8(text, i);
    if (!c.valid) return bad_request("", fmt::format("the body is not valid UTF-8 at byte {}", i), "invalid_utf8");
    i += c.bytes;
  }
  uint32_t depth = 0;
  uint64_t keys = 0, values = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      for (++i; i < text.size() && text[i] != '"'; ++i) i += text[i] == '\\' ? 1 : 0;
    } else if (c == '{' || c == '[') {
      if (++depth > limits::kJsonDepthMax) {
        return bad_request("", fmt::format("the body is nested deeper than {} at byte {}", limits::kJsonDepthMax, i), "too_deep");
      }
      ++values;
    } else if (c == '}' || c == ']') {
      depth -= depth > 0 ? 1 : 0;
    } else if (c == ':') {
      if (++keys > limits::kJsonKeysMax) {
        return bad_request("", fmt::format("the body has more than {} keys at byte {}", limits::kJsonKeysMax, i), "too_many_keys");
      }
    } else if (c == ',') {
      ++values;
    } else if (c == '-' || (c >= '0' && c <= '9')) {
      const size_t end = text.find_first_not_of("+-.0123456789eE", i);
      const size_t length = std::min(end, text.size()) - i;
      if (length > limits::kJsonNumberBytesMax) {
        return bad_request("", fmt::format("the number at byte {} has {} characters, the limit is {}", i, length, limits::kJsonNumberBytesMax),
            "number_too_long");
      }
      i += length - 1;
    }
    if (values > limits::kJsonValuesMax) {
      return bad_request("", fmt::format("the body has more than {} values", limits::kJsonValuesMax), "too_many_values");
    }
  }
  return {};
}

// Builds the document; nlohmann's own builder takes the last of two equal keys in silence, and looks through all keys for each.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return put(nullptr) != nullptr; }
  bool boolean(bool value) override { return put(value) != nullptr; }
  bool number_integer(number_integer_t value) override { return put(value) != nullptr; }
  bool number_unsigned(number_unsigned_t value) override { return put(value) != nullptr; }
  bool number_float(number_float_t value, const string_t&) override { return put(value) != nullptr; }
  bool string(string_t& value) override { return put(std::move(value)) != nullptr; }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& value) override {
    if (!keys_.back().insert(value).second) {
      error = fmt::format("the key '{}' occurs twice in one object", text::shown(value));
      return false;
    }
    key_ = std::move(value);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& exception) override {
    std::string_view what = exception.what();
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error while parsing ..."
    const size_t colon = what.find(": ");
    if (colon != std::string_view::npos) what.remove_prefix(colon + 2);
    std::string valid;
    text::append_valid_utf8(valid, what.substr(0, 200));
    error = fmt::format("the body is not JSON at byte {}: {}", position == 0 ? 0 : position - 1, valid);
    return false;
  }

  Json root;
  std::string error;

 private:
  using Members = std::vector<std::pair<const std::string, Json>>;

  Json* put(Json value) {
    if (open_.empty()) {
      root = std::move(value);
      return &root;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    // The keys are known to differ: past ordered_map's own search.
    auto& members = static_cast<Members&>(parent.get_ref<Json::object_t&>());
    members.emplace_back(std::move(key_), std::move(value));
    return &members.back().second;
  }
  // A container grows only while its last element is closed, so the pointers stay good.
  bool open(Json value) {
    open_.push_back(put(std::move(value)));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    open_.pop_back();
    keys_.pop_back();
    return true;
  }

  std::vector<Json*> open_;
  std::vector<std::unordered_set<std::string>> keys_;
  std::string key_;
};

std::string_view type_name(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null: return "null";
    case Json::value_t::object: return "an object";
    case Json::value_t::array: return "a list";
    case Json::value_t::string: return "a string";
    case Json::value_t::boolean: return "a boolean";
    default: return "a number";
  }
}

// Edits (insert, drop, change, swap of neighbours) between two words.
size_t edits(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) now[j] = std::min(now[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, now);
  }
  return last[b.size()];
}

// An integer also when it is written 3.0, as some clients do; within int64.
std::optional<int64_t> as_integer(const Json& value) {
  if (value.is_number_unsigned()) {
    const uint64_t n = value.get<uint64_t>();
    return n <= INT64_MAX ? std::optional<int64_t>(static_cast<int64_t>(n)) : std::nullopt;
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const double d = value.get<double>();
  if (d != std::floor(d) || std::fabs(d) > 9e15) return std::nullopt;
  return static_cast<int64_t>(d);
}

}  // namespace

Refused parse_request_json(std::string_view body, Json& out) {
  if (body.empty()) return bad_request("", "the request has no body", "invalid_json");
  SLUICE_REFUSE(scan(body));
  Builder builder;
  if (!Json::sax_parse(body, &builder)) return bad_request("", builder.error, "invalid_json");
  out = std::move(builder.root);
  return {};
}

Refused parse_request_object(std::string_view body, Json& out) {
  SLUICE_REFUSE(parse_request_json(body, out));
  if (!out.is_object()) return bad_request("", fmt::format("the body must be an object, not {}", type_name(out)), "invalid_type");
  return {};
}

FieldReader::FieldReader(const Json& object, std::string path) : object_(object), path_(std::move(path)) {
  if (!object.is_object()) refuse("", fmt::format("must be an object, not {}", type_name(object)), "invalid_type");
}

std::string FieldReader::path_of(std::string_view name) const {
  if (name.empty()) return path_;
  return path_.empty() ? std::string(name) : path_ + "." + std::string(name);
}

void FieldReader::refuse(std::string_view name, std::string message, std::string code) {
  if (!refused_) refused_ = bad_request(path_of(name), std::move(message), std::move(code));
}

void FieldReader::refuse(ApiError error) {
  if (!refused_) refused_ = std::move(error);
}

const Json* FieldReader::find(std::string_view name) {
  known_.emplace_back(name);
  if (refused_ || !object_.is_object()) return nullptr;
  for (const auto& [key, value] : object_.items()) {
    if (key == name) return value.is_null() ? nullptr : &value;
  }
  return nullptr;
}

const Json* FieldReader::any(std::string_view name) { return find(name); }

bool FieldReader::boolean(std::string_view name, bool& out) {
  const Json* value = find(name);
  if (!value) return false;
  if (!value->is_boolean()) {
    refuse(name, fmt::format("{} must be a boolean, not {}", path_of(name), type_name(*value)), "invalid_type");
    return false;
  }
  out = value->get<bool>();
  return true;
}

bool FieldReader::integer(std::string_view name, int64_t low, int64_t high, int64_t& out) {
  const Json* value = find(name);
  if (!value) return false;
  if (!value->is_number()) {
    refuse(name, fmt::format("{} must be an integer, not {}", path_of(name), type_name(*value)), "invalid_type");
    return false;
  }
  const std::optional<int64_t> n = as_integer(*value);
  if (!n || *n < low || *n > high) {
    refuse(name, fmt::format("{} is {}, it must be an integer from {} to {}", path_of(name), value->dump(), low, high));
    return false;
  }
  out = *n;
  return true;
}

bool FieldReader::integer(std::string_view name, int64_t low, int64_t high, uint32_t& out) {
  int64_t n = 0;
  if (!integer(name, low, high, n)) return false;
  out = static_cast<uint32_t>(n);
  return true;
}

bool FieldReader::integer(std::string_view name, int64_t low, int64_t high, uint64_t& out) {
  int64_t n = 0;
  if (!integer(name, low, high, n)) return false;
  out = static_cast<uint64_t>(n);
  return true;
}

bool FieldReader::number(std::string_view name, double low, double high, double& out) {
  const Json* value = find(name);
  if (!value) return false;
  if (!value->is_number()) {
    refuse(name, fmt::format("{} must be a number, not {}", path_of(name), type_name(*value)), "invalid_type");
    return false;
  }
  const double d = value->get<double>();
  if (!(d >= low && d <= high)) {
    refuse(name, fmt::format("{} is {}, it must be from {} to {}", path_of(name), value->dump(), low, high));
    return false;
  }
  out = d;
  return true;
}

bool FieldReader::number(std::string_view name, double low, double high, float& out) {
  double d = 0;
  if (!number(name, low, high, d)) return false;
  out = static_cast<float>(d);
  return true;
}

bool FieldReader::text(std::string_view name, size_t bytes_max, std::string& out) {
  const Json* value = find(name);
  if (!value) return false;
  if (!value->is_string()) {
    refuse(name, fmt::format("{} must be a string, not {}", path_of(name), type_name(*value)), "invalid_type");
    return false;
  }
  const std::string& given = value->get_ref<const std::string&>();
  if (given.size() > bytes_max) {
    refuse(name, fmt::format("{} has {} bytes, the limit is {}", path_of(name), given.size(), bytes_max));
    return false;
  }
  out = given;
  return true;
}

bool FieldReader::texts(std::string_view name, size_t count_max, size_t bytes_max, std::vector<std::string>& out) {
  const Json* value = find(name);
  if (!value) return false;
  if (!value->is_string() && !value->is_array()) {
    refuse(name, fmt::format("{} must be a string or a list of strings, not {}", path_of(name), type_name(*value)), "invalid_type");
    return false;
  }
  const size_t count = value->is_array() ? value->size() : 1;
  if (count > count_max) {
    refuse(name, fmt::format("{} has {} entries, the limit is {}", path_of(name), count, count_max));
    return false;
  }
  std::vector<std::string> texts;
  for (size_t i = 0; i < count; ++i) {
    const Json& entry = value->is_array() ? (*value)[i] : *value;
    const std::string where = value->is_array() ? fmt::format("{}[{}]", name, i) : std::string(name);
    if (!entry.is_string()) {
      refuse(where, fmt::format("{} must be a string, not {}", path_of(where), type_name(entry)), "invalid_type");
      return false;
    }
    const std::string& given = entry.get_ref<const std::string&>();
    if (given.empty() || given.size() > bytes_max) {
      refuse(where, fmt::format("{} has {} bytes, it must have 1 to {}", path_of(where), given.size(), bytes_max));
      return false;
    }
    texts.push_back(given);
  }
  out = std::move(texts);
  return true;
}

bool FieldReader::integers(std::string_view name, size_t count_max, int64_t low, int64_t high, std::vector<int32_t>& out) {
  const Json* list = array(name, count_max);
  if (!list) return false;
  std::vector<int32_t> numbers;
  for (size_t i = 0; i < list->size(); ++i) {
    const std::optional<int64_t> n = (*list)[i].is_number() ? as_integer((*list)[i]) : std::nullopt;
    if (!n || *n < low || *n > high) {
      const std::string where = fmt::format("{}[{}]", name, i);
      refuse(where, fmt::format("{} must be an integer from {} to {}", path_of(where), low, high));
      return false;
    }
    numbers.push_back(static_cast<int32_t>(*n));
  }
  out = std::move(numbers);
  return true;
}

bool FieldReader::word(std::string_view name, std::initializer_list<std::string_view> words, size_t& out) {
  std::string given;
  if (!text(name, limits::kNameBytesMax, given)) return false;
  const auto found = std::find(words.begin(), words.end(), given);
  if (found == words.end()) {
    refuse(name, fmt::format("{} is '{}', it must be one of: {}", path_of(name), text::shown(given), fmt::join(words, ", ")));
    return false;
  }
  out = static_cast<size_t>(found - words.begin());
  return true;
}

const Json* FieldReader::object(std::string_view name) {
  const Json* value = find(name);
  if (value && !value->is_object()) {
    refuse(name, fmt::format("{} must be an object, not {}", path_of(name), type_name(*value)), "invalid_type");
    return nullptr;
  }
  return value;
}

const Json* FieldReader::array(std::string_view name, size_t count_max) {
  const Json* value = find(name);
  if (!value) return nullptr;
  if (!value->is_array()) {
    refuse(name, fmt::format("{} must be a list, not {}", path_of(name), type_name(*value)), "invalid_type");
    return nullptr;
  }
  if (value->size() > count_max) {
    refuse(name, fmt::format("{} has {} entries, the limit is {}", path_of(name), value->size(), count_max));
    return nullptr;
  }
  return value;
}

void FieldReader::require(std::string_view name) {
  if (refused_) return;
  if (!find(name)) refuse(name, fmt::format("{} is missing", path_of(name)), "missing_required_parameter");
}

void FieldReader::ignore(std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) known_.emplace_back(name);
}

Refused FieldReader::finish() {
  if (refused_ || !object_.is_object()) return refused_;
  for (const auto& [key, value] : object_.items()) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    const std::string nearest = nearest_word(key, known_);
    const std::string hint = nearest.empty() ? "" : fmt::format("; did you mean '{}'?", nearest);
    refuse(text::shown(key), fmt::format("unknown field '{}'{}", text::shown(path_of(key)), hint), "unknown_parameter");
    break;
  }
  return refused_;
}

std::string nearest_word(std::string_view word, const std::vector<std::string>& known) {
  if (word.size() > 64) return {};
  std::string best;
  size_t best_edits = std::max<size_t>(2, word.size() / 2) + 1;
  for (const std::string& candidate : known) {
    const size_t distance = edits(word, candidate);
    if (distance < best_edits && distance < candidate.size()) {
      best_edits = distance;
      best = candidate;
    }
  }
  return best;
}

void append_json_string(std::string& out, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  size_t copied = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<uint8_t>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text, copied, i - copied);
    copied = i + 1;
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        out += "\\u00";
        out += kHex[c >> 4];
        out += kHex[c & 15];
    }
  }
  out.append(text, copied, text.size() - copied);
  out += '"';
}

}  // namespace sluice::server
