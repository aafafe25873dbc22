// Where a step's time goes: per op and thread, what it ran and what it waited before it. Filled by Runtime::step while a profile is set; the walk without
// one is another function and pays nothing. With one, an op costs four clock reads more, or two without the CPU's clock: that one is a system call of half a
// microsecond (measured), as long as a small op, while the wall's is read in 25 ns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sluice::runtime {

class Profile {
 public:
  enum class Clocks : uint8_t { kWallAndCpu, kWall };
  struct Entry {
    uint64_t cpu_ns = 0;   // the thread's own CPU time inside the op: other processes take nothing from it; 0 if its clock is not read
    uint64_t wall_ns = 0;  // from begin to end
    uint64_t wait_ns = 0;  // at the barrier before
  };
  Profile(size_t ops, uint32_t threads, Clocks clocks = Clocks::kWallAndCpu) : threads_(threads), clocks_(clocks), entries_(ops * threads) {}

  // By index in Program::ops. Threads write to their own entries only.
  Entry& at(size_t op, uint32_t thread) { return entries_[op * threads_ + thread]; }
  const Entry& at(size_t op, uint32_t thread) const { return entries_[op * threads_ + thread]; }
  size_t ops() const { return entries_.size() / threads_; }
  uint32_t threads() const { return threads_; }
  Clocks clocks() const { return clocks_; }

 private:
  uint32_t threads_;
  Clocks clocks_;
  std::vector<Entry> entries_;
};

}  // namespace sluice::runtime
