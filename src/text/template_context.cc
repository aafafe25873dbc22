// The context on its way in: JSON to values (template_eval.h). Strings are borrowed from the JSON, which outlives the render.
// Contract: what is not valid UTF-8, too deep, or an integer beyond 64 bits is refused with a sentence. Next: chat_template.cc.
#include <array>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "text/template_eval.h"

namespace sluice::text::jinja {

namespace {

using Json = nlohmann::ordered_json;

// Templates build tokens from these, as in '<|' + role + '|>'. They are words of the protocol, not a client's text.
constexpr std::array<std::string_view, 10> kProtocolRoles = {"system", "user",    "assistant", "tool",  "developer",
                                                             "model",  "ipython", "function",  "tools", "observation"};

Value import_value(Heap& heap, const Json& json, bool input, uint32_t depth, bool is_message);

Value import_string(Heap& heap, const std::string& text, bool input) {
  if (!heap.walk_bytes(text.size())) return Value::failure();
  if (!is_valid_utf8(text)) return fail_type(heap, "the context holds a string that is not valid UTF-8");
  return Value::of(borrow_string(heap, text, input));
}

Value import_object(Heap& heap, const Json& json, bool input, uint32_t depth, bool is_message) {
  Dict* dict = heap.make<Dict>();
  for (const auto& [key, value] : json.items()) {
    bool value_is_input = input;
    if (is_message && key == "role" && value.is_string()) {
      for (const std::string_view role : kProtocolRoles) value_is_input = value_is_input && value.get_ref<const std::string&>() != role;
    }
    const Value k = import_string(heap, key, input);
    const Value v = k.failed() ? k : import_value(heap, value, value_is_input, depth + 1, false);
    if (v.failed() || !dict->set(heap, k, v)) return Value::failure();
  }
  return Value::of(dict);
}

Value import_value(Heap& heap, const Json& json, bool input, uint32_t depth, bool is_message) {
  if (!heap.work(1)) return Value::failure();
  if (depth > limits::kJsonDepthMax) {
    return fail_type(heap, fmt::format("the context nests more than {} deep", limits::kJsonDepthMax));
  }
  switch (json.type()) {
    case Json::value_t::null: return Value::none();
    case Json::value_t::boolean: return Value::of(json.get<bool>());
    case Json::value_t::number_integer: return Value::of(json.get<int64_t>(), input);
    case Json::value_t::number_unsigned: {
      const auto number = json.get<uint64_t>();
      if (number > static_cast<uint64_t>(INT64_MAX)) return fail_type(heap, fmt::format("the integer {} is beyond {}", number, INT64_MAX));
      return Value::of(static_cast<int64_t>(number), input);
    }
    case Json::value_t::number_float: return Value::of(json.get<double>(), input);
    case Json::value_t::string: return import_string(heap, json.get_ref<const std::string&>(), input);
    case Json::value_t::object: return import_object(heap, json, input, depth, is_message);
    case Json::value_t::array: {
      Sequence* list = make_sequence(heap, Flavor::list);
      if (!list->items.reserve(heap, json.size())) return Value::failure();
      for (const Json& item : json) {
        const Value v = import_value(heap, item, input, depth + 1, is_message);
        if (v.failed() || !list->items.push(heap, v)) return Value::failure();
      }
      return Value::of(list);
    }
    default: return fail_type(heap, "the context holds a value that is not JSON");
  }
}

}  // namespace

Value import_json(Heap& heap, const Json& json, bool input) { return import_value(heap, json, input, 0, false); }
Value import_messages(Heap& heap, const Json& json) { return import_value(heap, json, true, 0, true); }

}  // namespace sluice::text::jinja
