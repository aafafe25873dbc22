// `sluice lpu plan|simulate`: the program on chips that hold it in SRAM. See docs/lpu.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::cli {

struct LpuOptions {
  std::vector<std::string> models;  // none: the embedded one
  std::vector<std::string> chips;  // chip files
  std::string count = "auto";
  uint64_t context = 4096;
  uint64_t users = 1;
  int bits = 8;
  uint64_t split_max = 0;
  uint64_t stages = 0;
  uint64_t values = 0;     // tokens to compute on the chips and on the CPU
  bool plan_only = false;  // say what fits, not how fast
  bool json = false;
  std::string csv, trace, svg, report;  // files to write, of the first model and chip file
};
int lpu(const LpuOptions& options);

}  // namespace sluice::cli
