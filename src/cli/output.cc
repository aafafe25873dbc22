#include "cli/output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <cmath>
#include <cstdio>

namespace sluice::cli {

int fail(const Error& error) {
  std::fflush(stdout);
  fmt::print(stderr, "sluice: {}\n", error.message);
  return 1;
}

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

ProgressBar::ProgressBar(std::string label, uint64_t total)
    : label_(std::move(label)), total_(total), visible_(isatty(STDERR_FILENO) != 0), started_(std::chrono::steady_clock::now()), drawn_(started_) {}

ProgressBar::~ProgressBar() {
  if (visible_) fmt::print(stderr, "\r\033[K");
}

void ProgressBar::update(uint64_t done) {
  if (!visible_) return;
  const auto now = std::chrono::steady_clock::now();
  if (now - drawn_ < std::chrono::milliseconds(100) && done != total_) return;
  drawn_ = now;
  draw(done);
}

void ProgressBar::draw(uint64_t done) {
  const double share = total_ == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total_);
  const double seconds = std::chrono::duration<double>(drawn_ - started_).count();
  const size_t filled = static_cast<size_t>(share * 30);
  const double left = share > 0 ? seconds / share - seconds : 0;
  fmt::print(stderr, "\r\033[K{} [{}{}] {:3.0f} %  {:.0f} s left", label_, std::string(filled, '#'), std::string(30 - filled, '.'), 100 * share, left);
  std::fflush(stderr);
}

}  // namespace sluice::cli
