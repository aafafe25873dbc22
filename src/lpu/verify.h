// Proves of a schedule what the hardware does not arbitrate: no two users of a unit or of the links in one cycle, no value read before it is there, no
// SRAM byte with two owners. Independent of how the schedule was made. One test a rule breaks a schedule on purpose (verify_test.cc).
#pragma once

#include "lpu/schedule.h"

namespace sluice::lpu {

// The rules, as the messages begin:
//   unit: two slots of a stage's matrix or vector unit overlap       link: two slots of its links overlap
//   order: a slot starts before one of its inputs is ready            place: a slot reads a value of another stage
//   flight: a transfer arrives sooner than its hops take              feed: the matrix unit is fed faster than the SRAM gives
//   streams: more stream registers in use than there are              capacity: a region ends beyond the SRAM
//   overlap: two values (or a value and weights) share bytes while both live
//   missing: an op has no slot, or a value has no writer             wire: a transfer carries more than its links do, or less than the value
//   rate: more multiply-adds than the unit makes in those cycles     whole: an op reads a share, or parts not yet exchanged, where it needs all
//   slice: two slots read, or write, one SRAM slice in a cycle, or read and write one of its banks
//   port: a slot reads or writes more of a place than its accesses to the slices move
//   pipeline: the next token, an interval later, meets this one in a unit, a link or a stage's memory
Status verify(const Schedule& schedule, const Workload& work, const Chip& chip);

}  // namespace sluice::lpu
