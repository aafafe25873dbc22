#include "library/amounts.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace sluice::library {

std::string bytes_text(uint64_t bytes) {
  constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} bytes", bytes) : fmt::format("{:.2f} {}", value, kUnits[unit]);
}

Result<uint64_t> parse_bytes(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string unit(end, text.data() + text.size());
  for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const Error bad{fmt::format("'{}' is not an amount of memory; write it like 4G, 512M or 1.5GiB", text)};
  if (error != std::errc{} || !(value > 0)) return bad;
  if (unit.ends_with("ib")) unit.resize(unit.size() - 2);
  else if (unit.ends_with("b")) unit.resize(unit.size() - 1);
  const std::string_view letters = "kmgt";
  if (unit.size() > 1 || (unit.size() == 1 && letters.find(unit[0]) == std::string_view::npos)) return bad;
  if (unit.size() == 1) value = std::ldexp(value, 10 * static_cast<int>(letters.find(unit[0]) + 1));
  if (value >= 0x1p62) return bad;
  return static_cast<uint64_t>(value);
}

}  // namespace sluice::library
