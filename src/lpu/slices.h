// The SRAM of a chip: slices side by side, each with a read port and a write port of a vector a cycle, which may be used at once in different banks only.
// A place is a strip of neighbouring slices, and bytes lie in it word by word, the next word in the next slice: a strip gives a vector a slice and cycle.
// What a step keeps (weights, KV, state) is spread over all slices; a value over a narrow strip, so that several are read and written at once.
#pragma once

#include <cstdint>
#include <vector>

#include "lpu/chip.h"

namespace sluice::lpu {

inline constexpr uint64_t kWordBytes = 16;  // of a slice: places begin and end on one

struct Strip {
  uint32_t slice = 0, slices = 1;
  bool operator==(const Strip&) const = default;
};

// Bytes of a strip, from `offset` of it: word o / 16 lies in slice (o / 16) % slices, line o / 16 / slices.
struct Region {
  uint64_t offset = 0, bytes = 0;
  Strip strip;
  uint64_t end() const { return offset + bytes; }
  uint64_t first_line() const { return offset / kWordBytes / strip.slices; }
  uint64_t end_line() const { return (end() + kWordBytes * strip.slices - 1) / kWordBytes / strip.slices; }
};

struct SliceMap {
  uint32_t slices = 1;
  uint64_t lines = 0;          // words of a slice
  uint64_t bank_lines = 0;
  double port_bytes = 0;       // a cycle, of one slice, one way
  Strip all;
  std::vector<Strip> groups;   // neighbours that feed the matrix unit at its full rate, in turn
  std::vector<Strip> strips;   // for values; each within one group
  explicit SliceMap(const Chip& chip);

  uint32_t banks(const Region& at) const;                     // one bit each
  uint64_t cycles(const Strip& strip, uint64_t bytes) const;  // through one port of each of its slices, 1 at least
};

// Ports of a strip's slices, taken for some cycles.
struct Access {
  uint32_t stage = 0;
  Strip strip;
  uint32_t banks = 0;
  bool write = false;
  uint64_t from = 0, until = 0;
};
// Both at once: one port twice, or one bank both ways.
bool conflict(const Access& a, const Access& b);

// What has been granted so far.
class Ports {
 public:
  explicit Ports(size_t stages) : taken_(stages) {}
  // The first start, not before `start`, at which all of `wanted` (cycles from the start) meet nothing that is taken.
  uint64_t earliest(uint64_t start, const std::vector<Access>& wanted) const;
  void take(const Access& access);

 private:
  std::vector<std::vector<Access>> taken_;  // of each stage, by the cycle in which they end
};

// Cycles of one slot within which its own accesses meet nothing of each other.
struct SlotAccess {
  std::vector<Access> accesses;  // from the slot's start
  uint64_t busy = 0;
};
// A slot that keeps its unit for `busy` cycles, reads `inputs` at its beginning, and `kept` (of all slices) as long as it runs: group after group if
// `in_turns`, the groups without inputs first, later where a group's inputs take longer.
SlotAccess reading(const SliceMap& map, uint32_t stage, const std::vector<Region>& inputs, const std::vector<Region>& kept, uint64_t busy, bool in_turns);

}  // namespace sluice::lpu
