#include "server/config_file.h"

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_HEADER_ONLY 1
#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <numeric>
#include <optional>

namespace sluice::server {
namespace {

std::string as_flag(std::string_view name) {
  std::string flag(name);
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

// Letters put in, left out, changed or swapped with their neighbour.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
  std::iota(last.begin(), last.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) now[j] = std::min(now[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(now);
  }
  return last[b.size()];
}

uint32_t line_of(const toml::node& node) { return node.source().begin.line; }

std::string shown(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 64)) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return text.size() > 64 ? out + "..." : out;
}

std::optional<std::string> scalar(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return fmt::format("{}", number->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
  if (const auto* truth = node.as_boolean()) return truth->get() ? "true" : "false";
  return std::nullopt;
}

Result<std::vector<std::string>> values_of(const toml::node& node, std::string_view where) {
  const Error wrong{fmt::format("{}: must be a text, a number, true, false, or a list of those", where)};
  const toml::array* list = node.as_array();
  if (list == nullptr) {
    std::optional<std::string> one = scalar(node);
    if (!one) return wrong;
    return std::vector<std::string>{std::move(*one)};
  }
  std::vector<std::string> values;
  for (const toml::node& element : *list) {
    std::optional<std::string> one = scalar(element);
    if (!one) return wrong;
    values.push_back(std::move(*one));
  }
  return values;
}

}  // namespace

std::string_view nearest_name(std::string_view name, std::span<const std::string> names) {
  std::string_view best;
  size_t best_distance = std::max<size_t>(2, name.size() / 3) + 1;
  for (const std::string& one : names) {
    if (one.size() > name.size() + best_distance || name.size() > one.size() + best_distance) continue;
    const size_t d = distance(name, one);
    if (d < best_distance) {
      best = one;
      best_distance = d;
    }
  }
  return best;
}

Result<std::vector<Setting>> parse_config(std::string_view text, std::string_view source, std::span<const std::string> names) {
  if (text.size() > kConfigFileBytesMax) {
    return Error{fmt::format("{}: {} bytes; a configuration file has at most {}", source, text.size(), kConfigFileBytesMax)};
  }
  const toml::parse_result parsed = toml::parse(text);
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    return Error{fmt::format("{}:{}: {}", source, error.source().begin.line, shown(error.description()))};
  }
  std::vector<Setting> settings;
  for (const auto& [key, node] : parsed.table()) {
    const std::string name = as_flag(key.str());
    const uint32_t line = line_of(node);
    const std::string where = fmt::format("{}:{}: {}", source, line, shown(key.str()));
    if (node.is_table()) return Error{fmt::format("{}: there are no sections; write `flag = value` lines only", where)};
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      const std::string_view near = nearest_name(name, names);
      return Error{fmt::format("{}: no such setting{}", where, near.empty() ? " (`sluice serve --help` lists them)" : fmt::format("; did you mean {}?", near))};
    }
    for (const Setting& other : settings) {
      if (as_flag(other.name) == name) return Error{fmt::format("{}: set twice, also on line {} as {}", where, other.line, shown(other.name))};
    }
    SLUICE_TRY(std::vector<std::string> values, values_of(node, where));
    settings.push_back({std::string(key.str()), std::move(values), line});
  }
  std::sort(settings.begin(), settings.end(), [](const Setting& a, const Setting& b) { return a.line < b.line; });
  return settings;
}

}  // namespace sluice::server
