// What a chip has to do for one step of a program, op by op: sizes, bytes by purpose, who reads whom. No chip and no cycles here: schedule.h adds both.
// Experts: every chip of a group holds its share of every expert, so whichever ones the router picks, a token's slots take the same cycles on all chips.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "program/program.h"

namespace sluice::lpu {

enum class Kind : uint8_t {
  kMatmul,     // `count` matrices [n, k] of which `uses` are multiplied with m rows each
  kAttention,  // m rows a KV head against `context` keys of k and values of n dimensions, `count` KV heads
  kLocal,      // element by element (or channel by channel): each chip on its own share; n: rows of a table
};

inline constexpr uint32_t kNone = UINT32_MAX;

// `slots` rows of `width` columns. Chips that share a value hold columns of every row: chip c the c-th part of `share_columns`. Granules stay whole up to one
// a chip; among more chips columns are split evenly, and ops that need whole granules gather them.
struct ValueShape {
  uint64_t width = 0, slots = 1;
  uint64_t granule = 1;  // columns that belong together (a head; 16 channels in exact schedules)
  bool strict = false;   // granules are never split: chips beyond their number have nothing
  uint64_t elements() const { return width * slots; }
  bool aligned(uint64_t chips) const { return strict || chips <= (width + granule - 1) / granule; }
  uint64_t share_columns(uint64_t chips) const {
    const uint64_t unit = aligned(chips) ? granule : 1, units = (width + unit - 1) / unit, most = (units + chips - 1) / chips * unit;
    return most < width ? most : width;
  }
  uint64_t share(uint64_t chips) const { return share_columns(chips) * slots; }
};

struct Work {
  std::string label;  // "blk.3.moe"
  std::string name;   // "moe_matmul"
  Kind kind = Kind::kLocal;
  uint32_t layer = 0;
  uint64_t m = 1, n = 0, k = 0, count = 1, uses = 1;
  uint64_t context = 0;
  uint64_t weight_bytes = 0;  // resident; a weight that two ops share counts at the first
  uint64_t kv_bytes = 0;      // resident, all users
  uint64_t state_bytes = 0;   // resident, all users
  uint64_t state_traffic = 0; // read and written by a step
  uint64_t macs = 0;
  uint64_t read_bytes = 0;    // weights and KV that a step reads
  uint64_t vector_ops = 0;
  bool whole = false;         // reads all of its input on every chip, and gives all of its output there (norms, the router's choice)
  bool one_row = false;       // gives a row that lies on one chip, whichever the token says (a table that the head shares is cut by rows)
  bool replicated = false;    // its weights lie on every chip, its work is split all the same (norms of heads)
  bool heads = false;         // computes whole heads: where a chip has parts of some, all of them are gathered and computed on every chip
  uint32_t home = kNone;      // op in whose place its weights lie, if not its own
  uint64_t row_granule = 1;   // rows of a table that stay on one chip
  uint32_t source = kNone;    // op of the program
  std::vector<uint32_t> reads, writes;
  std::vector<uint32_t> gathers;  // of `reads`: needed whole on every chip, whatever the op does with the others
  ValueShape table_rows() const { return {.width = n, .granule = row_granule, .strict = true}; }  // of a table that is cut by rows
};

struct Workload {
  std::string name;
  uint64_t layers = 1;
  int bits = 8;  // of the matrices
  bool exact = false;
  uint64_t context = 0, users = 1;
  uint64_t params_total = 0, params_active = 0;
  std::vector<Work> ops;
  std::vector<ValueShape> values;

  uint64_t wire_bytes() const { return exact ? 4 : 2; }   // of an activation, in SRAM and on links
  uint64_t cache_bytes() const { return exact ? 4 : 2; }  // of a key's or value's element
  uint64_t weight_bytes() const;
  uint64_t kv_bytes() const;
  uint64_t state_bytes() const;
  uint64_t macs() const;
  uint64_t read_bytes() const;
};

struct WorkOptions {
  int bits = 8;            // matrices; vectors are 16 bits
  uint64_t context = 4096;  // tokens before this one, each user
  uint64_t users = 1;
  // The program's own number types, and only splits that keep the order of every reduction, as the CPU has it: what values.h computes. Sums are never split,
  // heads and blocks of 16 channels stay on one chip, so more chips than heads stand idle in attention.
  bool exact = false;
};

// One decode step: one token of one user at the end of its context.
Workload workload_of(const program::Program& program, const WorkOptions& options);

struct EncoderShape {
  uint64_t layers, hidden, inner, heads, tokens;
};
Workload encoder_workload(const EncoderShape& shape, int bits);

}  // namespace sluice::lpu
