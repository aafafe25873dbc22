// Chip files and small programs for this room's tests.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "lpu/chip.h"
#include "lpu/work.h"

namespace sluice::lpu {

inline std::string chip_path(const std::string& name) { return std::string(SLUICE_SOURCE_DIR) + "/lpu/chips/" + name + ".json"; }

inline Chip chip_of(const std::string& name) {
  const Result<Chip> chip = read_chip(chip_path(name));
  EXPECT_TRUE(chip.ok()) << (chip.ok() ? "" : chip.error().message);
  return chip.ok() ? *chip : Chip{};
}

inline Workload small_encoder(uint64_t layers) { return encoder_workload({.layers = layers, .hidden = 256, .inner = 1024, .heads = 4, .tokens = 1}, 8); }

}  // namespace sluice::lpu
