// Partition, placement and the static schedule of one step. Layers are cut into stages (a pipeline); the chips of a stage split every op evenly and run
// the same cycles in lockstep, so one representative chip per stage is scheduled and the cost is linear in ops, whatever the number of chips.
// Checked by verify.h; what comes out of it: report.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "lpu/chip.h"
#include "lpu/slices.h"
#include "lpu/work.h"

namespace sluice::lpu {

// Free parameters, fitted in fit.cc and nowhere else.
struct Latencies {
  uint64_t tile_overhead = 0;  // cycles a matrix tile costs beside its rows
  uint64_t chain = 0;          // cycles from the end of an op to the first use of its result, beside the slice fill
};

enum class Unit : uint8_t { kMatrix, kVector, kLink };
inline constexpr int kUnitCount = 3;
inline constexpr const char* kUnitNames[kUnitCount] = {"matrix", "vector", "link"};

struct Slot {
  uint32_t op = 0;
  uint32_t stage = 0;   // whose unit is busy
  Unit unit = Unit::kMatrix;
  uint64_t start = 0;
  uint64_t busy = 0;    // cycles
  uint64_t ready = 0;   // its output may be read from here on
  uint64_t streams = 0;
  uint64_t bytes = 0;   // fed to the matrix unit, or sent by one chip
  uint64_t hops = 0;    // links
  uint32_t peer = kNone;  // stage that receives, if not its own: its links are taken for as long, a flight later
  std::vector<uint32_t> reads;   // placed values
  uint32_t writes = kNone;
  std::vector<Access> accesses;  // ports of SRAM slices, of its stage's chips and of the peer's
};

// A value in the SRAM of each chip of a stage: its share, or all of it.
struct Placed {
  uint32_t value = kNone;
  uint32_t stage = 0;
  bool whole = false;
  bool partial = false;  // of every column on every chip, but not yet the value: sums to be added, or a row that one chip has
  Region at;
  uint64_t from = 0, ready = 0, until = 0;  // cycles: being written, readable, free again
};

struct Stage {
  uint32_t first_layer = 0, layers = 0;
  uint64_t chips = 1;
  uint64_t weights = 0, kv = 0, state = 0, activations = 0;  // bytes of one chip
  std::vector<uint64_t> strip_bytes;                         // of activations, in each strip of the chip's map
  uint64_t lines = 0;                                        // of the fullest slice: weights from the bottom; from the top KV and state, then activations
  uint64_t occupied = 0;                                     // cycles that a token keeps it
  uint64_t used() const { return weights + kv + state + activations; }
};

// What an op keeps from step to step in each chip of its stage (bytes 0: nothing), in all slices.
struct Resident {
  Region weights, kv, state;
};

struct Schedule {
  std::vector<Stage> stages;
  std::vector<Slot> slots;
  std::vector<Placed> placed;
  std::vector<Resident> resident;      // of each op
  std::vector<uint32_t> stage_of_op;
  uint64_t cycles = 0;
  uint64_t interval = 0;               // cycles after which the next token (of another user) may start: nothing of the two ever meets
  uint64_t chips() const;
};

struct ScheduleOptions {
  uint64_t chips = 0;      // 0: as few as hold it
  uint64_t split_max = 0;  // chips that share a layer at most; 0: no limit
  uint64_t stages = 0;     // 0: search
  bool check = true;       // verify what is returned
};

// The best schedule found: with chips 0 the fewest chips, then the shortest time; else the shortest time on that many. An error says what would fit.
Result<Schedule> make_schedule(const Workload& work, const Chip& chip, const Latencies& latencies, const ScheduleOptions& options);

// Cycles of `count` independent products of m rows with [n, k] matrices on one chip, weights or rows standing in the unit, whichever is faster.
uint64_t matmul_cycles(const Chip& chip, const Latencies& latencies, int bits, uint64_t m, uint64_t k, uint64_t n, uint64_t count);

// Of `bytes` of weights, KV or state that an op holds, what lies on one chip among `chips`, in whole words: whole heads or positions; of a matrix the mean,
// as chips with one column more of this one have one less of another. `column_bytes` is by how much a chip may be above the mean, once.
uint64_t resident_share(const Workload& work, const Work& op, uint64_t bytes, uint64_t chips);
uint64_t column_bytes(const Workload& work, const Work& op, uint64_t chips);

// The cycles in which a token keeps a stage's units, links or memory, as spans in order. Of every stage.
struct Span {
  uint64_t from = 0, until = 0;
};
std::vector<std::vector<Span>> visits(const Schedule& schedule);
// Cycles in which the links of a chip send one share of `bytes` to each of its group's others.
uint64_t exchange_cycles(const Chip& chip, uint64_t bytes, uint64_t chips);

}  // namespace sluice::lpu
