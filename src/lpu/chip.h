// A chip file: what is published of a machine, every value with its source and grade. Read and checked here; the schema stands in docs/lpu.md.
// Bandwidths are per pair of units: SRAM to the matrix unit is not SRAM to the streams. Next: schedule.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::lpu {

// One line a number: name in the file and in Chip, smallest and largest value taken.
#define SLUICE_LPU_CHIP_NUMBERS(X)        \
  X(clock_hz, 1e6, 1e11)                  \
  X(sram_bytes, 1e3, 1e15)                \
  X(sram_slices, 1, 4096)                 \
  X(sram_banks, 1, 16)                    \
  X(sram_bytes_per_s, 1e6, 1e18)          \
  X(feed_bytes_per_s, 1e6, 1e18)          \
  X(streams, 1, 1e6)                      \
  X(vector_bytes, 1, 1e6)                 \
  X(fill_cycles, 0, 1e9)                  \
  X(ops_8bit_per_s, 1e6, 1e19)            \
  X(ops_16bit_per_s, 1e6, 1e19)           \
  X(tile_k_8bit, 0, 1e6)                  \
  X(tile_k_16bit, 0, 1e6)                 \
  X(tile_n, 1, 1e6)                       \
  X(planes_8bit, 1, 1e6)                  \
  X(planes_16bit, 1, 1e6)                 \
  X(vector_alus, 1, 1e9)                  \
  X(links, 1, 1e4)                        \
  X(link_bytes_per_s, 1e3, 1e15)          \
  X(hop_s, 0, 1)                          \
  X(host_s, 0, 10)                        \
  X(idle_w, 0, 1e6)                       \
  X(pj_per_mac, 0, 1e6)                   \
  X(pj_per_sram_byte, 0, 1e6)

struct Reach {
  uint64_t chips;  // groups up to this many
  uint64_t hops;   // are this many links apart at most
};

struct Provenance {
  std::string field;
  std::string value;
  std::string grade;   // P page read, N notes, S press, C computed, I inference or assumption, R recalled, M measured here
  std::string source;
};

// A speed that was published of this machine: the error column of a comparison.
struct Published {
  std::string model;
  uint64_t params = 0;  // of the model, by which it is recognised
  uint64_t chips = 0;
  double tokens_per_s_user = 0;
  std::string grade, source;
};

struct Chip {
  std::string name;
  bool roofline = false;  // no schedule: the larger of bytes and operations, and a cost a kernel (fill_cycles)
#define X(field, low, high) double field = 0;
  SLUICE_LPU_CHIP_NUMBERS(X)
#undef X
  std::vector<Reach> reach;
  std::vector<Provenance> provenance;
  std::vector<Published> published;

  double ops_per_s(int bits) const { return bits <= 8 ? ops_8bit_per_s : ops_16bit_per_s; }
  double tile_k(int bits) const { return bits <= 8 ? tile_k_8bit : tile_k_16bit; }
  double planes(int bits) const { return bits <= 8 ? planes_8bit : planes_16bit; }
  double feed_bytes_per_cycle() const { return feed_bytes_per_s / clock_hz; }
  uint64_t hop_cycles() const;
  uint64_t hops(uint64_t chips) const;  // between the two that are furthest apart in a group of so many
  double vector_cycles() const { return vector_bytes * clock_hz / link_bytes_per_s; }  // a vector on a link
};

// A roofline file of a machine that was measured (`sluice bench --limits --chip-file`); what was not measured is graded as an assumption.
struct MeasuredMachine {
  std::string name;
  double int8_ops_per_s = 0, float_ops_per_s = 0, read_bytes_per_s = 0, memory_bytes = 0;
};
std::string roofline_file(const MeasuredMachine& machine);

Result<Chip> parse_chip(std::string_view text);
Result<Chip> read_chip(const std::string& path);

}  // namespace sluice::lpu
