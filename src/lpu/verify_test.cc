// A schedule that passes is broken in one rule at a time; the verifier names the rule.
#include "lpu/verify.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "lpu/fit.h"
#include "lpu/lpu_test_support.h"

namespace sluice::lpu {
namespace {

struct Broken {
  const char* rule;
  std::function<void(Schedule&, const Chip&)> how;
};

// The n-th slot of a unit.
Slot& slot_of(Schedule& s, Unit unit, size_t n) {
  for (Slot& slot : s.slots) {
    if (slot.unit == unit && n-- == 0) return slot;
  }
  ADD_FAILURE() << "no such slot";
  return s.slots[0];
}

// The slices that a slot of a unit reads weights from first.
Access& read_of(Schedule& s, Unit unit, size_t n) {
  for (Access& a : slot_of(s, unit, n).accesses) {
    if (!a.write && a.strip.slices > 16) return a;
  }
  ADD_FAILURE() << "no such access";
  return s.slots[0].accesses[0];
}

TEST(Verify, NamesTheRuleThatIsBroken) {
  const Chip chip = chip_of("lpu-v1");
  const Workload work = small_encoder(2);
  const Result<Schedule> made = make_schedule(work, chip, kFitted, {.chips = 8, .stages = 2});
  ASSERT_TRUE(made.ok()) << made.error().message;
  const Broken cases[] = {
      {"unit", [](Schedule& s, const Chip&) { slot_of(s, Unit::kMatrix, 0).busy = 1 << 30; }},
      {"link", [](Schedule& s, const Chip&) { slot_of(s, Unit::kLink, 0).busy = 1 << 30; }},
      {"order", [](Schedule& s, const Chip&) { s.placed[slot_of(s, Unit::kMatrix, 1).reads[0]].ready += 1 << 20; }},
      {"place", [](Schedule& s, const Chip&) { s.placed[slot_of(s, Unit::kMatrix, 1).reads[0]].stage ^= 1; }},
      {"flight", [](Schedule& s, const Chip& c) { slot_of(s, Unit::kLink, 0).ready -= c.hop_cycles() / 2; }},
      {"feed", [](Schedule& s, const Chip&) { slot_of(s, Unit::kMatrix, 0).bytes *= 1000; }},
      {"streams", [](Schedule& s, const Chip&) { slot_of(s, Unit::kVector, 0).streams = 65; }},
      {"capacity", [](Schedule& s, const Chip& c) { s.placed[0].at.offset = static_cast<uint64_t>(c.sram_bytes); }},
      {"capacity", [](Schedule& s, const Chip& c) { s.placed[0].at.strip.slice = static_cast<uint32_t>(c.sram_slices); }},
      {"overlap", [](Schedule& s, const Chip&) { s.placed[0].at.offset = 0; }},
      {"overlap", [](Schedule& s, const Chip&) { s.resident[1].weights.offset += 16; }},
      {"overlap", [](Schedule& s, const Chip&) { s.placed[1].at = s.placed[0].at; }},
      {"slice", [](Schedule& s, const Chip&) { read_of(s, Unit::kMatrix, 3) = read_of(s, Unit::kMatrix, 0); }},
      {"slice", [](Schedule& s, const Chip&) { (read_of(s, Unit::kMatrix, 3) = read_of(s, Unit::kMatrix, 0)).write = true; }},
      {"port", [](Schedule& s, const Chip&) { slot_of(s, Unit::kMatrix, 0).accesses.clear(); }},
      {"port", [](Schedule& s, const Chip&) { slot_of(s, Unit::kMatrix, 1).accesses.pop_back(); }},
      {"port", [](Schedule& s, const Chip&) { read_of(s, Unit::kMatrix, 0).until = 0; }},
      {"wire", [](Schedule& s, const Chip&) { slot_of(s, Unit::kLink, 0).bytes *= 1000; }},
      {"wire", [](Schedule& s, const Chip&) { slot_of(s, Unit::kLink, 0).bytes = 1; }},
      {"whole", [](Schedule& s, const Chip&) { s.placed[slot_of(s, Unit::kMatrix, 0).reads[0]].whole = false; }},
      {"whole", [](Schedule& s, const Chip&) { s.placed[slot_of(s, Unit::kVector, 2).reads[0]].partial = true; }},
      {"pipeline", [](Schedule& s, const Chip&) { s.interval /= 2; }},
      {"pipeline", [](Schedule& s, const Chip&) { s.interval = 0; }},
      {"missing", [](Schedule& s, const Chip&) { std::erase_if(s.slots, [](const Slot& slot) { return slot.op == 3; }); }},
  };
  for (const Broken& c : cases) {
    Schedule broken = *made;
    c.how(broken, chip);
    const Status status = verify(broken, work, chip);
    ASSERT_FALSE(status.ok()) << c.rule;
    EXPECT_TRUE(status.error().message.starts_with(c.rule)) << c.rule << ": " << status.error().message;
  }
}

TEST(Verify, CountsMultiplyAdds) {
  const Chip chip = chip_of("lpu-v1");
  const Workload work = encoder_workload({.layers = 1, .hidden = 256, .inner = 1024, .heads = 4, .tokens = 128}, 8);
  Result<Schedule> made = make_schedule(work, chip, kFitted, {.chips = 1, .stages = 1});
  ASSERT_TRUE(made.ok()) << made.error().message;
  Slot& slot = slot_of(*made, Unit::kMatrix, 0);
  slot.busy = 1;
  slot.bytes = 0;
  const Status status = verify(*made, work, chip);
  ASSERT_FALSE(status.ok());
  EXPECT_TRUE(status.error().message.starts_with("rate")) << status.error().message;
}

TEST(Verify, TakesEveryChipFile) {
  const Workload work = small_encoder(3);
  for (const char* name : {"lpu-v1", "lp30", "wse-3", "corsair"}) {
    for (const uint64_t chips : {1, 3, 7, 20}) {
      const Chip chip = chip_of(name);
      const Result<Schedule> made = make_schedule(work, chip, kFitted, {.chips = chips});
      EXPECT_TRUE(made.ok()) << name << ": " << made.error().message;
    }
  }
}

}  // namespace
}  // namespace sluice::lpu
