// Runs a compiled grammar: sets of readings (a state and a stack of open rules), stepped byte by byte, and the masks that follow from them.
// Contract: single-threaded; stacks are shared and hash-consed, so equal stacks have equal numbers and copies are cheap; nothing recurses.
// Next: text/constraint.h wraps it for callers.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "text/constraint_vocabulary.h"
#include "text/grammar_compile.h"

namespace sluice::text {

// Frames of open rules: where to go on, and the frame below. Frame 0 is the bottom.
class StackPool {
 public:
  StackPool() { clear(); }
  void clear();
  // kNoState when limits::kConstraintStackMax frames are open.
  uint32_t push(uint32_t state, uint32_t below);
  uint32_t state(uint32_t frame) const { return frames_[frame].state; }
  uint32_t below(uint32_t frame) const { return frames_[frame].below; }
  uint32_t depth(uint32_t frame) const { return frames_[frame].depth; }
  uint32_t size() const { return static_cast<uint32_t>(frames_.size()); }
  // Forgets the newest frames.
  void truncate(uint32_t size);

 private:
  struct Frame {
    uint32_t state, below, depth, next;  // next: older frame in the same bucket
  };
  uint32_t bucket(uint32_t state, uint32_t below) const { return (state * 0x9E3779B1u ^ below * 0x85EBCA77u) >> shift_; }
  void rehash();

  std::vector<Frame> frames_;
  std::vector<uint32_t> buckets_;
  uint32_t shift_ = 0;
};

struct Reading {
  uint32_t state;
  uint32_t frame;
  bool operator==(const Reading&) const = default;
};

// All readings that may take a next byte, and whether the text may end here.
struct ReadingSet {
  std::vector<Reading> readings;
  bool can_end = false;
  bool dead() const { return readings.empty() && !can_end; }
};

class Matcher {
 public:
  explicit Matcher(const Pda& pda) : pda_(&pda) {}

  void rebind(const Pda& pda) { pda_ = &pda; }
  StackPool& pool() { return pool_; }
  const StackPool& pool() const { return pool_; }

  // The set of readings entered at one state.
  void enter(uint32_t state, uint32_t frame, ReadingSet& out);
  // False, and an empty set, where the byte is not allowed or there are too many readings.
  bool step(const ReadingSet& from, uint8_t byte, ReadingSet& out);
  ByteSet next_bytes(const ReadingSet& set) const;

  // What a state allows whatever is open around its rule.
  std::unique_ptr<StateMask> compute_mask(uint32_t state, const ConstraintVocabulary& vocabulary);
  // Adds the tokens of one reading whose first byte its own state takes.
  void add_mask(const Reading& reading, const StateMask& mask, const ConstraintVocabulary& vocabulary, MaskWord* words);
  // The same with the real stack all the way; slow, for stacks near their limit, where a kept mask would promise too much.
  void add_exact(const Reading& reading, const ConstraintVocabulary& vocabulary, MaskWord* words);
  uint64_t steps() const { return steps_; }

 private:
  void add(uint32_t state, uint32_t frame, ReadingSet& out);
  void expand(ReadingSet& out);
  template <class Visit>
  void walk(const TokenTrie& trie, uint32_t chars_safe, const Visit& visit);
  ReadingSet& level(size_t depth);

  const Pda* pda_;
  StackPool pool_;
  std::vector<Reading> work_;
  std::vector<Reading> seen_;
  std::vector<ReadingSet> levels_;  // one per byte of the token being tried
  std::vector<uint32_t> ends_;
  uint64_t steps_ = 0;
};

}  // namespace sluice::text
