// What a schedule says: latency, rates, chips, bytes by purpose, energy, the longest context; and a roofline of the same work on the same chips.
// Energy and rates are always of a stated number of users in flight. Text forms of it: export.h.
#pragma once

#include <functional>
#include <string>

#include "lpu/schedule.h"

namespace sluice::lpu {

// What is going on in a cycle, the first of these that is: a unit works, a link is taken, something is between chips or in a unit's pipeline, or nothing.
enum class Part : uint8_t { kMatrix, kVector, kLink, kFlight, kLatency, kIdle };
inline constexpr int kPartCount = 6;
inline constexpr const char* kPartNames[kPartCount] = {"matrix", "vector", "links", "flight", "latency", "idle"};

// Of one slice of a stage's chips: bytes by purpose, and cycles of a token in which its ports are taken.
struct SliceUse {
  uint64_t weights = 0, kv = 0, state = 0, activations = 0;
  uint64_t read = 0, written = 0;
};
std::vector<SliceUse> slice_use(const Schedule& schedule, const SliceMap& map, uint32_t stage);

struct Report {
  std::string chip, model;
  bool roofline = false;
  uint64_t chips = 0, stages = 0;
  uint64_t context = 0, users = 0, in_flight = 0;  // users whose tokens are in the pipeline at one time
  double latency_s = 0;
  double user_tokens_per_s = 0;
  double total_tokens_per_s = 0;
  double energy_j = 0, idle_j = 0;  // per token at `in_flight`; idle is part of energy
  double weights = 0, kv = 0, state = 0, activations = 0, capacity = 0;  // bytes, all chips
  double utilisation[kUnitCount] = {};  // mean over chips at that rate
  double part_s[kPartCount] = {};       // of the latency
  double fullest_slice = 0;             // share of its lines in use
  double read_ports = 0, write_ports = 0;  // mean over slices at that rate
  uint64_t longest_context = 0;      // tokens a user on these chips, a multiple of 1024; 0: not asked for
  double published_tokens_per_s = 0;  // of this model on as many of these chips, a user; 0: none in the chip file
  double error() const { return user_tokens_per_s / published_tokens_per_s - 1; }
  double roofline_s = 0;  // the larger of bytes and operations over all chips at once
};

Report report_of(const Workload& work, const Schedule& schedule, const Chip& chip);
// A roofline chip file: op by op, and chips as needed (0) or given.
Report roofline_report(const Workload& work, const Chip& chip, uint64_t chips);

// The longest context, a multiple of 1024 up to `limit`, that `fits`; 0: none.
uint64_t longest_context(uint64_t limit, const std::function<bool(uint64_t)>& fits);

}  // namespace sluice::lpu
