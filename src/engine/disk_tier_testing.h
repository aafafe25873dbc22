// For tests of the disk tier: states and pages that are functions of their tokens, kept, written, restored and compared byte for byte.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/disk_tier.h"
#include "engine/eviction.h"
#include "engine/sampler.h"

namespace sluice::engine {

namespace fs = std::filesystem;
using Tokens = std::vector<int32_t>;

inline constexpr uint64_t kPageBytes = 1024, kStateBytes = 3000;

inline bool slow_tests() { return std::getenv("SLUICE_SLOW_TESTS") != nullptr; }

inline Tokens text(uint64_t seed, size_t size) {
  Tokens out(size);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<int32_t>(uniform(seed, 7, i) * 1000);
  return out;
}

// Bytes that a token prefix stands for: a state, and a page's lines of which only the used ones are set (16 bytes a token).
inline std::vector<std::byte> state_of(std::span<const int32_t> tokens) {
  uint64_t hash = 1;
  for (const int32_t token : tokens) hash = (hash ^ static_cast<uint32_t>(token)) * 0x9e3779b97f4a7c15ull + (hash >> 47);
  std::vector<std::byte> out(kStateBytes);
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::byte>(uniform(hash, 1, i) * 256);
  return out;
}
inline void fill_page(std::byte* page, std::span<const int32_t> tokens, uint64_t index) {
  for (uint64_t i = 0; i < 64 && index * 64 + i < tokens.size(); ++i) {
    const uint64_t word = static_cast<uint64_t>(tokens[index * 64 + i]) * 0x9e3779b97f4a7c15ull | 1;
    std::memcpy(page + i * 16, &word, sizeof word);
    std::memcpy(page + i * 16 + 8, &word, sizeof word);
  }
}

struct Folder {
  Folder() {
    char name[] = "/tmp/sluice-disk-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~Folder() { fs::remove_all(path); }
  std::vector<fs::path> files() const {
    std::vector<fs::path> out;
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      if (entry.is_regular_file()) out.push_back(entry.path());
    }
    std::sort(out.begin(), out.end());
    return out;
  }
  fs::path path;
};

inline std::unique_ptr<StateStore> make_store(uint64_t budget = 4 << 20) {
  StoreOptions options;
  options.budget_bytes = budget;
  options.page_bytes = kPageBytes;
  options.state_bytes = kStateBytes;
  options.bytes_backed = true;
  auto store = StateStore::create(options, learned_evictor());
  EXPECT_TRUE(store.ok());
  return std::move(store).value();
}

inline std::unique_ptr<DiskTier> open_tier(const fs::path& folder, uint64_t cap = 1 << 30, uint64_t program = 2) {
  auto tier = DiskTier::open({.folder = folder, .cap_bytes = cap, .binding = {1, program, kPageBytes, kStateBytes, 1}});
  EXPECT_TRUE(tier.ok()) << (tier.ok() ? "" : tier.error().message);
  return std::move(tier).value();
}

inline uint32_t keep(StateStore& store, std::span<const int32_t> tokens, Kind kind = Kind::kPromptEnd) {
  std::vector<BlockId> pages;
  for (uint64_t p = 0; p * 64 < tokens.size(); ++p) {
    pages.push_back(store.take_page().value());
    fill_page(store.page_data(pages.back()), tokens, p);
  }
  const uint32_t id = store.insert({.tokens = tokens, .kind = kind, .state = state_of(tokens), .pages = pages, .always = true});
  for (const BlockId page : pages) store.release_page(page);
  EXPECT_NE(id, kNoCheckpoint);
  return id;
}

inline void persist(DiskTier& tier, StateStore& store, const Tokens& tokens, std::initializer_list<uint64_t> positions) {
  for (const uint64_t position : positions) {
    const auto prefix = std::span(tokens).first(position);
    (void)tier.persist(store, keep(store, prefix), 9, prefix);
  }
}

inline void finish(DiskTier& tier, StateStore& store, std::vector<DiskTier::Loaded>* loads = nullptr) {
  std::vector<DiskTier::Loaded> ignored;
  while (!tier.idle()) {
    tier.wait();
    tier.poll(store, loads == nullptr ? ignored : *loads);
  }
}

// Loads the deepest snapshot of `tokens` into a fresh store and compares every byte. The position, or the error.
inline std::string restore(DiskTier& tier, const Tokens& tokens, uint64_t& position) {
  const auto store = make_store();
  const std::optional<DiskHit> hit = tier.find(9, tokens, tokens.size()).hit;
  position = hit ? hit->position : 0;
  if (!hit) return "";
  const Result<uint64_t> ticket = tier.start_load(*store, *hit, 0, 0);
  if (!ticket.ok()) return ticket.error().message;
  std::vector<DiskTier::Loaded> loads;
  finish(tier, *store, &loads);
  if (loads.size() != 1 || loads[0].ticket != *ticket) return "no answer";
  if (!loads[0].error.empty()) return loads[0].error;
  Lookup found;
  store->hold(loads[0].checkpoint, found);
  std::vector<std::byte> state(kStateBytes);
  store->copy_state(loads[0].checkpoint, state);
  const auto prefix = std::span(tokens).first(position);
  if (found.resume != position || state != state_of(prefix)) return "another state came back";
  for (size_t p = 0; p < found.pages.size(); ++p) {
    std::vector<std::byte> page(kPageBytes);
    fill_page(page.data(), prefix, p);
    // Behind the position a page may hold what its conversation wrote later; nobody reads it.
    const size_t used = std::min<size_t>(64, position - p * 64) * 16;
    if (std::memcmp(page.data(), store->page_data(found.pages[p]), used) != 0) return "another page came back";
  }
  store->release(found);
  store->check();
  return "";
}

}  // namespace sluice::engine
