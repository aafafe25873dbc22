// What this machine's CPU is: which instruction sets of base/isa.h may run (the CPU has them AND the system saves their registers), caches,
// brand and how many CPUs this process may use. Decoding is a pure function of recorded cpuid values, so other machines are tested here.
// Next: base/isa.h for the sets, kernels/ for the tables they choose from.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/isa.h"

namespace sluice::platform {

struct CpuidRegisters {
  uint32_t eax = 0;
  uint32_t ebx = 0;
  uint32_t ecx = 0;
  uint32_t edx = 0;
};

struct CpuidEntry {
  uint32_t leaf = 0;
  uint32_t subleaf = 0;
  CpuidRegisters registers;
};

// Everything that decode() looks at. A leaf that is not recorded reads as zeros, as an absent feature does.
struct CpuRecord {
  std::vector<CpuidEntry> entries;
  uint64_t xcr0 = 0;  // xgetbv(0), zero where OSXSAVE is off

  CpuidRegisters at(uint32_t leaf, uint32_t subleaf) const;
};

struct CpuInfo {
  std::string vendor;
  std::string brand;
  std::array<bool, kIsaCount> isas{};
  uint64_t l1_data_bytes = 0;  // of one core; 0 = not reported
  uint64_t l2_bytes = 0;       // of one core or module
  uint64_t l3_bytes = 0;       // of one shared slice
};

// This machine's record; on a CPU without cpuid it is empty and decodes to the baseline.
CpuRecord record_cpu();
CpuInfo decode(const CpuRecord& record);

// This machine, decoded once.
const CpuInfo& cpu();
bool supports(Isa isa);
Isa best_isa();

// CPUs that this process may run on: its affinity mask, cut by the cgroup's quota (rounded up). At least 1.
uint32_t usable_cpus();

// "max 100000" or "150000 100000" (cgroup v2 cpu.max) to CPUs, rounded up; 0 = no limit or not understood.
uint32_t cpus_of_quota(const std::string& cpu_max);

}  // namespace sluice::platform
