#include "cli/output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace sluice::cli {

int fail(const Error& error) {
  std::fflush(stdout);
  fmt::print(stderr, "sluice: {}\n", error.message);
  return 1;
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
