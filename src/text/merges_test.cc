// Merging against the plainest reference, and its time on long runs.
#include "text/merges.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <random>

namespace sluice::text {
namespace {

using Pairs = std::map<std::pair<uint32_t, uint32_t>, MergeResult>;

MergeTable table_of(const Pairs& pairs) {
  MergeTable table(pairs.size());
  for (const auto& [pair, result] : pairs) table.insert(pair.first, pair.second, result);
  return table;
}

std::vector<uint32_t> merged_plainly(const Pairs& pairs, std::vector<uint32_t> symbols) {
  while (true) {
    MergeResult best;
    size_t at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = pairs.find({symbols[i], symbols[i + 1]});
      if (found != pairs.end() && found->second.rank < best.rank) {
        best = found->second;
        at = i;
      }
    }
    if (best.rank == kNoRank) return symbols;
    symbols[at] = best.symbol;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

// Random tables: ranks in any order, several pairs of one rank, pairs whose result makes a pair of lower rank.
TEST(Merges, EqualThePlainReferenceOnRandomTables) {
  std::mt19937 random(7);
  const auto next = [&] { return static_cast<uint32_t>(random()); };
  for (int round = 0; round < 300; ++round) {
    const uint32_t alphabet = 1 + next() % 4;
    const uint32_t symbols = alphabet + 1 + next() % 12;
    Pairs pairs;
    for (uint32_t i = 0; i < 30; ++i) {
      pairs[{next() % symbols, next() % symbols}] = {next() % 20, next() % symbols};
    }
    const MergeTable table = table_of(pairs);
    Merger merger;
    for (const size_t length : {0u, 1u, 2u, 3u, 10u, 47u, 48u, 49u, 50u, 200u, 400u}) {
      std::vector<uint32_t> text(length);
      for (auto& symbol : text) symbol = next() % 50 == 0 ? kNoSymbol : next() % alphabet;
      std::vector<uint32_t> got = text;
      merger.merge(table, got);
      ASSERT_EQ(got, merged_plainly(pairs, text)) << "round " << round << ", length " << length;
    }
  }
}

// Reliability K5: four million equal symbols in well under a second of work per million.
TEST(Merges, K5ALongRunOfOneSymbolTakesLinearTime) {
  Pairs pairs;
  for (uint32_t i = 0; i < 6; ++i) pairs[{i, i}] = {i, i + 1};  // a a -> aa, aa aa -> aaaa ...
  const MergeTable table = table_of(pairs);
  Merger merger;
  std::vector<uint32_t> text(4'000'000, 0);
  const auto start = std::chrono::steady_clock::now();
  merger.merge(table, text);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(4));
  EXPECT_EQ(text.size(), 4'000'000u / 64);
}

}  // namespace
}  // namespace sluice::text
