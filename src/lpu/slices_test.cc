// The slices' geometry, which accesses meet, and that a schedule waits for them.
#include "lpu/slices.h"

#include <gtest/gtest.h>

#include "lpu/fit.h"
#include "lpu/lpu_test_support.h"

namespace sluice::lpu {
namespace {

TEST(SliceMap, IsTheChips) {
  const SliceMap map(chip_of("lpu-v1"));
  EXPECT_EQ(map.slices, 88u);
  EXPECT_EQ(map.lines * kWordBytes, 5u << 19);  // 2.5 MiB
  EXPECT_EQ(map.bank_lines * 2, map.lines);
  EXPECT_NEAR(map.port_bytes, 320, 0.1);
  ASSERT_EQ(map.groups.size(), 2u);  // hemispheres: 32 of the 44 slices feed the matrix unit in a cycle
  EXPECT_EQ(map.groups[1], (Strip{44, 44}));
  uint32_t next = 0;
  for (const Strip& strip : map.strips) {
    EXPECT_EQ(strip.slice, next);
    EXPECT_GE(strip.slices, 8u);
    next += strip.slices;
  }
  EXPECT_EQ(next, 88u);
  EXPECT_EQ(map.cycles({0, 8}, 8 * 320 * 3), 3u);
  EXPECT_EQ(map.cycles({0, 8}, 1), 1u);
}

TEST(SliceMap, BanksAreHalvesOfEverySlice) {
  const SliceMap map(chip_of("lpu-v1"));
  const uint64_t half = map.bank_lines * kWordBytes * 8;
  EXPECT_EQ(map.banks({0, half, {16, 8}}), 1u);
  EXPECT_EQ(map.banks({half, 16, {16, 8}}), 2u);
  EXPECT_EQ(map.banks({half - 16, 32, {16, 8}}), 3u);
  EXPECT_EQ(map.banks({half, 0, {16, 8}}), 0u);
}

TEST(Access, MeetsWhereOnePortOrOneBankIsUsedTwice) {
  const Access read{0, {8, 8}, 1, false, 10, 20};
  const auto with = [&](auto change) {
    Access other = read;
    change(other);
    return conflict(read, other) && conflict(other, read);
  };
  EXPECT_TRUE(with([](Access&) {}));
  EXPECT_TRUE(with([](Access& a) { a.strip = {15, 8}; }));
  EXPECT_TRUE(with([](Access& a) { a.from = 19; }));
  EXPECT_TRUE(with([](Access& a) { a.banks = 2; }));  // one port to read with, whatever the bank
  EXPECT_TRUE(with([](Access& a) { a.write = true; }));
  EXPECT_FALSE(with([](Access& a) { a.write = true, a.banks = 2; }));
  EXPECT_FALSE(with([](Access& a) { a.strip = {16, 8}; }));
  EXPECT_FALSE(with([](Access& a) { a.from = 20, a.until = 30; }));
  EXPECT_FALSE(with([](Access& a) { a.stage = 1; }));
}

TEST(Ports, GrantTheFirstStartWithoutAMeeting) {
  Ports ports(1);
  ports.take({0, {0, 8}, 1, false, 10, 20});
  ports.take({0, {0, 8}, 1, false, 25, 30});
  const auto start = [&](uint64_t from, uint64_t length) { return ports.earliest(from, {{0, {4, 8}, 1, false, 0, length}}); };
  EXPECT_EQ(start(0, 10), 0u);
  EXPECT_EQ(start(1, 10), 30u);
  EXPECT_EQ(start(12, 5), 20u);
  EXPECT_EQ(start(12, 6), 30u);
  EXPECT_EQ(ports.earliest(0, {{0, {4, 8}, 1, false, 0, 2}, {0, {0, 1}, 1, false, 2, 12}}), 30u);
}

TEST(Reading, TakesTheGroupWithoutInputsFirst) {
  const SliceMap map(chip_of("lpu-v1"));
  const Region weights{0, 1 << 20, map.all}, input{1 << 21, 8 * 320 * 4, map.strips[0]};
  const SlotAccess one = reading(map, 3, {input}, {weights}, 100, true);
  ASSERT_EQ(one.accesses.size(), 3u);
  EXPECT_EQ(one.busy, 100u);
  EXPECT_EQ(one.accesses[0].until, 4u);
  EXPECT_EQ(one.accesses[1].strip, map.groups[1]);
  EXPECT_EQ(one.accesses[2].strip, map.groups[0]);
  EXPECT_EQ(one.accesses[2].from, 50u);
  const Region other{1 << 21, 8 * 320 * 2, map.strips.back()};
  EXPECT_EQ(reading(map, 3, {input, other}, {weights}, 100, true).busy, 102u);  // the shorter input is waited for
  EXPECT_EQ(reading(map, 3, {input, input}, {}, 1, false).busy, 8u);            // one after the other
}

// The same chip with one slice of one bank: whatever reads waits for whatever else reads or writes.
TEST(Schedule, WaitsForSlices) {
  const Workload work = small_encoder(3);
  const Chip many = chip_of("lpu-v1");
  Chip one = many;
  one.sram_slices = one.sram_banks = 1;
  const Result<Schedule> fast = make_schedule(work, many, kFitted, {.chips = 4, .stages = 1});
  const Result<Schedule> slow = make_schedule(work, one, kFitted, {.chips = 4, .stages = 1});
  ASSERT_TRUE(fast.ok() && slow.ok()) << (slow.ok() ? fast : slow).error().message;
  EXPECT_GT(slow->cycles, fast->cycles);
}

}  // namespace
}  // namespace sluice::lpu
