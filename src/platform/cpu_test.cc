#include "platform/cpu.h"

#include <gtest/gtest.h>

namespace sluice::platform {
namespace {

constexpr uint32_t kLeaf1Ecx = (1u << 12) | (1u << 27) | (1u << 28) | (1u << 29);          // FMA, OSXSAVE, AVX, F16C
constexpr uint32_t kLeaf7EbxAvx512 = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);    // F, DQ, BW, VL
constexpr uint32_t kLeaf7EbxAvx2 = 1u << 5;
constexpr uint32_t kVnni = 1u << 11;

CpuRecord machine(uint32_t ecx1, uint32_t ebx7, uint32_t ecx7, uint64_t xcr0) {
  CpuRecord record;
  record.entries.push_back({0, 0, {7, 0x756E6547, 0x6C65746E, 0x49656E69}});
  record.entries.push_back({1, 0, {0, 0, ecx1, 0}});
  record.entries.push_back({7, 0, {0, ebx7, ecx7, 0}});
  record.xcr0 = xcr0;
  return record;
}

std::vector<Isa> isas(const CpuRecord& record) {
  std::vector<Isa> found;
  const CpuInfo info = decode(record);
  for (size_t i = 0; i < kIsaCount; ++i) {
    if (info.isas[i]) found.push_back(static_cast<Isa>(i));
  }
  return found;
}

TEST(Cpu, AnEmptyRecordIsTheBaseline) { EXPECT_EQ(isas(CpuRecord{}), std::vector<Isa>{Isa::kBaseline}); }

TEST(Cpu, AllBitsAndSavedRegistersGiveEverySet) {
  const auto all = machine(kLeaf1Ecx, kLeaf7EbxAvx2 | kLeaf7EbxAvx512, kVnni, 0xE7);
  EXPECT_EQ(isas(all), (std::vector<Isa>{Isa::kBaseline, Isa::kAvx2, Isa::kAvx512}));
  EXPECT_EQ(decode(all).vendor, "GenuineIntel");
}

TEST(Cpu, ASystemThatDoesNotSaveTheRegistersGivesNone) {
  EXPECT_EQ(isas(machine(kLeaf1Ecx, kLeaf7EbxAvx2 | kLeaf7EbxAvx512, kVnni, 0x3)), std::vector<Isa>{Isa::kBaseline});
  EXPECT_EQ(isas(machine(kLeaf1Ecx, kLeaf7EbxAvx2 | kLeaf7EbxAvx512, kVnni, 0x7)), (std::vector<Isa>{Isa::kBaseline, Isa::kAvx2}));
  // xcr0 means nothing without OSXSAVE.
  EXPECT_EQ(isas(machine(kLeaf1Ecx & ~(1u << 27), kLeaf7EbxAvx2 | kLeaf7EbxAvx512, kVnni, 0xE7)), std::vector<Isa>{Isa::kBaseline});
}

TEST(Cpu, EveryBitOfASetIsNeeded) {
  for (const uint32_t index : {12u, 28u, 29u}) {
    EXPECT_EQ(isas(machine(kLeaf1Ecx & ~(1u << index), kLeaf7EbxAvx2 | kLeaf7EbxAvx512, kVnni, 0xE7)).size(), 1u) << "leaf 1 ecx " << index;
  }
  for (const uint32_t index : {16u, 17u, 30u, 31u}) {
    const uint32_t ebx = (kLeaf7EbxAvx2 | kLeaf7EbxAvx512) & ~(1u << index);
    EXPECT_EQ(isas(machine(kLeaf1Ecx, ebx, kVnni, 0xE7)).size(), 2u) << "leaf 7 ebx " << index;
  }
  EXPECT_EQ(isas(machine(kLeaf1Ecx, kLeaf7EbxAvx2 | kLeaf7EbxAvx512, 0, 0xE7)).size(), 2u) << "Skylake-X has no VNNI";
}

TEST(Cpu, CachesAndBrandComeFromTheirLeaves) {
  CpuRecord record;
  record.entries.push_back({0x80000000u, 0, {0x80000020u, 0, 0, 0}});
  record.entries.push_back({0x80000002u, 0, {0x20444D41, 0x43595045, 0x00000000, 0}});  // "AMD EPYC"
  // Zen 4: 32 KiB 8-way L1, 1 MiB 8-way L2, 32 MiB 16-way L3, lines of 64 bytes.
  record.entries.push_back({0x8000001Du, 0, {0x121, (7u << 22) | 63u, 63, 0}});
  record.entries.push_back({0x8000001Du, 1, {0x122, (7u << 22) | 63u, 63, 0}});
  record.entries.push_back({0x8000001Du, 2, {0x143, (7u << 22) | 63u, 2047, 0}});
  record.entries.push_back({0x8000001Du, 3, {0x163, (15u << 22) | 63u, 32767, 0}});
  const CpuInfo info = decode(record);
  EXPECT_EQ(info.brand, "AMD EPYC");
  EXPECT_EQ(info.l1_data_bytes, 32u << 10);
  EXPECT_EQ(info.l2_bytes, 1u << 20);
  EXPECT_EQ(info.l3_bytes, 32u << 20);
}

TEST(Cpu, ThisMachineHasTheBaselineAndACpu) {
  EXPECT_TRUE(supports(Isa::kBaseline));
  EXPECT_TRUE(supports(best_isa()));
  EXPECT_GE(usable_cpus(), 1u);
#if defined(__x86_64__)
  // The compiler's own detection as the second opinion.
  __builtin_cpu_init();
  EXPECT_EQ(supports(Isa::kAvx2), __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
#endif
}

TEST(Cpu, QuotasRoundUp) {
  EXPECT_EQ(cpus_of_quota("max 100000"), 0u);
  EXPECT_EQ(cpus_of_quota("150000 100000"), 2u);
  EXPECT_EQ(cpus_of_quota("200000 100000"), 2u);
  EXPECT_EQ(cpus_of_quota("50000 100000"), 1u);
  EXPECT_EQ(cpus_of_quota("5 0"), 0u);
  EXPECT_EQ(cpus_of_quota(""), 0u);
}

}  // namespace
}  // namespace sluice::platform
