// Learned value of keeping a checkpoint: how often checkpoints of a class are used again, by how long they have been idle. The value of a class at an
// idle time is the best ratio, over all horizons, of expected uses to expected ticks of waiting (Gittins' index; hit density in Beckmann et al.,
// NSDI 2018). Counts are integers, the table comes from additions, multiplications and divisions of doubles in one order: same run, same decisions.
// Next: eviction.h.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace sluice::engine {

class ReuseRates {
 public:
  // A class is a kind (its prior stands for classes that were seen little) and a variant of it: row kind * variants + variant.
  ReuseRates(uint32_t kinds, uint32_t variants);

  // A checkpoint of this class was kept, unused, from idle time `from` to `to` (ticks, checkpoint.h).
  void waited(uint32_t row, uint64_t from, uint64_t to);
  void used(uint32_t row, uint64_t idle);
  // Call once a request: the table follows the counts at powers of two, then every 64 requests.
  void tick();

  // Uses per tick of keeping.
  double index(uint32_t row, uint64_t idle) {
    if (built_[row] != epoch_) build(row);
    return table_[row * kBuckets + bucket(idle)];
  }

  static constexpr uint32_t kBuckets = 40;  // half octaves: 0, 1, 2, 3, 4-5, 6-7, 8-11, 12-15 ...
  static uint32_t bucket(uint64_t idle);
  static uint64_t bucket_begin(uint32_t bucket);

 private:
  struct Counts {
    uint64_t waited = 0;
    uint64_t used = 0;
  };
  void sum_up();
  void build(uint32_t row);

  uint32_t kinds_, variants_;
  std::vector<Counts> counts_;  // (kind, variant, bucket)
  std::vector<double> table_, kind_rate_;  // (row, bucket); (kind, bucket)
  std::vector<Counts> kind_counts_;
  std::vector<uint32_t> built_;            // epoch of each row of the table: rows are made when asked for
  uint32_t epoch_ = 0;
  uint64_t ticks_ = 0;
};

}  // namespace sluice::engine
