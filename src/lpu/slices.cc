#include "lpu/slices.h"

#include <algorithm>
#include <cmath>

namespace sluice::lpu {
namespace {

bool overlap(uint64_t a_from, uint64_t a_until, uint64_t b_from, uint64_t b_until) { return a_from < b_until && b_from < a_until; }

bool meet(const Strip& a, const Strip& b) { return overlap(a.slice, a.slice + a.slices, b.slice, b.slice + b.slices); }

// `count` neighbours out of `whole`, as even as it goes.
std::vector<Strip> parts_of(const Strip& whole, uint32_t count) {
  std::vector<Strip> parts;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t begin = whole.slices * i / count, end = whole.slices * (i + 1) / count;
    parts.push_back({whole.slice + begin, end - begin});
  }
  return parts;
}

}  // namespace

SliceMap::SliceMap(const Chip& chip) : slices(static_cast<uint32_t>(chip.sram_slices)) {
  const double banks = chip.sram_banks;
  lines = static_cast<uint64_t>(chip.sram_bytes / slices) / kWordBytes;
  bank_lines = static_cast<uint64_t>(std::ceil(static_cast<double>(lines) / banks));
  port_bytes = chip.sram_bytes_per_s / chip.clock_hz / slices / banks;
  all = {0, slices};
  const auto feeding = static_cast<uint32_t>(std::ceil(chip.feed_bytes_per_cycle() / port_bytes - 1e-3));
  groups = parts_of(all, std::max<uint32_t>(slices / std::max<uint32_t>(feeding, 1), 1));
  const auto narrow = std::max<uint32_t>(static_cast<uint32_t>(chip.streams) / 8, 1);
  for (const Strip& group : groups) {
    for (const Strip& strip : parts_of(group, std::max<uint32_t>(group.slices / narrow, 1))) strips.push_back(strip);
  }
}

uint32_t SliceMap::banks(const Region& at) const {
  if (at.bytes == 0) return 0;
  const auto bank = [&](uint64_t line) { return std::min<uint64_t>(line / bank_lines, 31); };
  uint32_t mask = 0;
  for (uint64_t b = bank(at.first_line()); b <= bank(at.end_line() - 1); ++b) mask |= 1u << b;
  return mask;
}

uint64_t SliceMap::cycles(const Strip& strip, uint64_t bytes) const {
  return std::max<uint64_t>(static_cast<uint64_t>(std::ceil(static_cast<double>(bytes) / (port_bytes * strip.slices) - 1e-9)), 1);
}

bool conflict(const Access& a, const Access& b) {
  if (a.stage != b.stage || !meet(a.strip, b.strip) || !overlap(a.from, a.until, b.from, b.until)) return false;
  return a.write == b.write || (a.banks & b.banks) != 0;
}

uint64_t Ports::earliest(uint64_t start, const std::vector<Access>& wanted) const {
  for (bool moved = true; moved;) {
    moved = false;
    for (Access a : wanted) {
      const std::vector<Access>& taken = taken_[a.stage];
      a.from += start;
      a.until += start;
      for (size_t i = taken.size(); i-- > 0 && taken[i].until > a.from;) {
        if (!conflict(a, taken[i])) continue;
        start += taken[i].until - a.from;
        moved = true;
        break;
      }
    }
  }
  return start;
}

void Ports::take(const Access& access) {
  std::vector<Access>& taken = taken_[access.stage];
  const auto at = std::upper_bound(taken.begin(), taken.end(), access, [](const Access& a, const Access& b) { return a.until < b.until; });
  taken.insert(at, access);
}

SlotAccess reading(const SliceMap& map, uint32_t stage, const std::vector<Region>& inputs, const std::vector<Region>& kept, uint64_t busy, bool in_turns) {
  SlotAccess out{.accesses = {}, .busy = busy};
  for (const Region& at : inputs) {
    if (at.bytes == 0) continue;
    Access access{.stage = stage, .strip = at.strip, .banks = map.banks(at)};
    for (const Access& before : out.accesses) {
      if (meet(before.strip, at.strip)) access.from = std::max(access.from, before.until);
    }
    access.until = access.from + map.cycles(at.strip, at.bytes);
    out.busy = std::max(out.busy, access.until);
    out.accesses.push_back(access);
  }
  uint32_t banks = 0;
  for (const Region& at : kept) banks |= map.banks(at);
  if (banks == 0) return out;
  const std::vector<Strip> turns = in_turns ? map.groups : std::vector<Strip>{map.all};
  const auto free_from = [&](const Strip& turn) {
    uint64_t from = 0;
    for (const Access& a : out.accesses) from = meet(a.strip, turn) ? std::max(from, a.until) : from;
    return from;
  };
  const size_t inputs_read = out.accesses.size(), count = turns.size();
  size_t first = 0;
  for (size_t g = 1; g < count; ++g) first = free_from(turns[g]) < free_from(turns[first]) ? g : first;
  uint64_t delay = 0;
  for (size_t k = 0; k < count; ++k) {
    const uint64_t from = free_from(turns[(first + k) % count]), turn = busy * k / count;
    delay = std::max(delay, from - std::min(from, turn));
  }
  for (size_t k = 0; k < count; ++k) {
    const Access turn{stage, turns[(first + k) % count], banks, false, delay + busy * k / count, delay + busy * (k + 1) / count};
    if (turn.from < turn.until) out.accesses.push_back(turn);
  }
  if (out.accesses.size() > inputs_read) out.busy = std::max(out.busy, out.accesses.back().until);
  return out;
}

}  // namespace sluice::lpu
