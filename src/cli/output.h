// What a person sees: errors as one sentence on standard error, progress bars on a terminal, numbers with units.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "library/amounts.h"

namespace sluice::cli {

// "sluice: <message>" on standard error; returns 1.
int fail(const Error& error);

using library::bytes_text;
using library::parse_bytes;

// A bar on standard error while it is a terminal; nothing otherwise. update() is cheap to call often.
class ProgressBar {
 public:
  ProgressBar(std::string label, uint64_t total);
  ~ProgressBar();
  void update(uint64_t done);

 private:
  void draw(uint64_t done);
  std::string label_;
  uint64_t total_;
  bool visible_;
  std::chrono::steady_clock::time_point started_;
  std::chrono::steady_clock::time_point drawn_;
};

}  // namespace sluice::cli
