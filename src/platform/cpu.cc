// cpuid leaves and bits: Intel SDM volume 2A (CPUID) and AMD APM volume 3, appendix E.
#include "platform/cpu.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <thread>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace sluice::platform {
namespace {

constexpr uint32_t kExtended = 0x80000000u;
constexpr uint32_t kIntelCaches = 4;
constexpr uint32_t kAmdCaches = 0x8000001Du;
constexpr uint32_t kCacheSubleaves = 8;

constexpr bool bit(uint32_t value, uint32_t index) { return ((value >> index) & 1u) != 0; }

#if defined(__x86_64__)
void record_leaf(CpuRecord& record, uint32_t leaf, uint32_t subleaf) {
  CpuidEntry entry{leaf, subleaf, {}};
  CpuidRegisters& r = entry.registers;
  __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
  record.entries.push_back(entry);
}

uint64_t read_xcr0() {
  uint32_t low = 0;
  uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}
#endif

void append(std::string& text, uint32_t word) {
  char bytes[4];
  std::memcpy(bytes, &word, 4);
  for (const char c : bytes) {
    if (c != '\0') text += c;
  }
}

std::string brand_of(const CpuRecord& record) {
  std::string brand;
  if (record.at(kExtended, 0).eax < kExtended + 4) return brand;
  for (uint32_t leaf = kExtended + 2; leaf <= kExtended + 4; ++leaf) {
    const CpuidRegisters r = record.at(leaf, 0);
    for (const uint32_t word : {r.eax, r.ebx, r.ecx, r.edx}) append(brand, word);
  }
  const size_t first = brand.find_first_not_of(' ');
  const size_t last = brand.find_last_not_of(' ');
  return first == std::string::npos ? std::string() : brand.substr(first, last - first + 1);
}

void decode_caches(const CpuRecord& record, CpuInfo& info) {
  const bool amd = record.at(kExtended, 0).eax >= kAmdCaches && record.at(kAmdCaches, 0).eax != 0;
  const uint32_t leaf = amd ? kAmdCaches : kIntelCaches;
  for (uint32_t subleaf = 0; subleaf < kCacheSubleaves; ++subleaf) {
    const CpuidRegisters r = record.at(leaf, subleaf);
    const uint32_t type = r.eax & 31u;  // 0 none, 1 data, 2 instructions, 3 both
    if (type == 0) break;
    const uint32_t level = (r.eax >> 5) & 7u;
    const uint64_t ways = (r.ebx >> 22) + 1u;
    const uint64_t partitions = ((r.ebx >> 12) & 0x3FFu) + 1u;
    const uint64_t line_bytes = (r.ebx & 0xFFFu) + 1u;
    const uint64_t bytes = ways * partitions * line_bytes * (static_cast<uint64_t>(r.ecx) + 1u);
    if (level == 1 && type == 1) info.l1_data_bytes = bytes;
    if (level == 2) info.l2_bytes = bytes;
    if (level == 3) info.l3_bytes = bytes;
  }
}

void decode_isas(const CpuRecord& record, CpuInfo& info) {
  const CpuidRegisters one = record.at(1, 0);
  const CpuidRegisters seven = record.at(7, 0);
  const bool os_saves = bit(one.ecx, 27);  // OSXSAVE
  const bool ymm = os_saves && (record.xcr0 & 0x6u) == 0x6u;
  const bool zmm = ymm && (record.xcr0 & 0xE0u) == 0xE0u;  // opmask, upper half of ZMM0-15, ZMM16-31
  const bool avx2 = bit(one.ecx, 28) && bit(seven.ebx, 5);
  const bool fma = bit(one.ecx, 12);
  const bool f16c = bit(one.ecx, 29);
  const bool f = bit(seven.ebx, 16);
  const bool dq = bit(seven.ebx, 17);
  const bool bw = bit(seven.ebx, 30);
  const bool vl = bit(seven.ebx, 31);
  const bool vnni = bit(seven.ecx, 11);
  const bool has_avx2 = ymm && avx2 && fma && f16c;
  info.isas[static_cast<size_t>(Isa::kBaseline)] = true;
  info.isas[static_cast<size_t>(Isa::kAvx2)] = has_avx2;
  info.isas[static_cast<size_t>(Isa::kAvx512)] = has_avx2 && zmm && f && dq && bw && vl && vnni;
}

uint32_t affinity_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    const int count = CPU_COUNT(&set);
    if (count > 0) return static_cast<uint32_t>(count);
  }
  return std::max(1u, std::thread::hardware_concurrency());  // more than 1024 CPUs: the mask does not fit
}

}  // namespace

CpuidRegisters CpuRecord::at(uint32_t leaf, uint32_t subleaf) const {
  for (const CpuidEntry& entry : entries) {
    if (entry.leaf == leaf && entry.subleaf == subleaf) return entry.registers;
  }
  return {};
}

CpuRecord record_cpu() {
  CpuRecord record;
#if defined(__x86_64__)
  record_leaf(record, 0, 0);
  const uint32_t last = record.at(0, 0).eax;
  record_leaf(record, 1, 0);
  if (last >= 7) record_leaf(record, 7, 0);
  record_leaf(record, kExtended, 0);
  const uint32_t last_extended = record.at(kExtended, 0).eax;
  for (uint32_t leaf = kExtended + 2; leaf <= kExtended + 4 && leaf <= last_extended; ++leaf) record_leaf(record, leaf, 0);
  for (uint32_t subleaf = 0; subleaf < kCacheSubleaves; ++subleaf) {
    if (last >= kIntelCaches) record_leaf(record, kIntelCaches, subleaf);
    if (last_extended >= kAmdCaches) record_leaf(record, kAmdCaches, subleaf);
  }
  if (bit(record.at(1, 0).ecx, 27)) record.xcr0 = read_xcr0();
#endif
  return record;
}

CpuInfo decode(const CpuRecord& record) {
  CpuInfo info;
  const CpuidRegisters zero = record.at(0, 0);
  for (const uint32_t word : {zero.ebx, zero.edx, zero.ecx}) append(info.vendor, word);
  info.brand = brand_of(record);
  decode_caches(record, info);
  decode_isas(record, info);
  return info;
}

const CpuInfo& cpu() {
  static const CpuInfo info = decode(record_cpu());
  return info;
}

bool supports(Isa isa) { return cpu().isas[static_cast<size_t>(isa)]; }

Isa best_isa() {
  Isa best = Isa::kBaseline;
  for (size_t i = 0; i < kIsaCount; ++i) {
    if (cpu().isas[i]) best = static_cast<Isa>(i);
  }
  return best;
}

uint32_t cpus_of_quota(const std::string& cpu_max) {
  unsigned long long quota = 0;
  unsigned long long period = 0;
  if (std::sscanf(cpu_max.c_str(), "%19llu %19llu", &quota, &period) != 2 || period == 0 || quota == 0) return 0;
  const unsigned long long cpus = quota / period + (quota % period != 0 ? 1 : 0);
  return cpus > 0xFFFFFFFFull ? 0 : static_cast<uint32_t>(cpus);
}

uint32_t usable_cpus() {
  const uint32_t cpus = affinity_cpus();
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string line;
  if (!file || !std::getline(file, line)) return cpus;
  const uint32_t quota = cpus_of_quota(line);
  return quota == 0 ? cpus : std::min(cpus, quota);
}

}  // namespace sluice::platform
