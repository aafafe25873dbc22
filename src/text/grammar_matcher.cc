// Stepping, entering and walking. Contract: text/grammar_matcher.h. The hot path is one reading in a state without calls that is not the
// end of its rule: no search, no stack. Next: text/grammar_compile.h for the tables.
#include "text/grammar_matcher.h"

#include <algorithm>

namespace sluice::text {

void StackPool::clear() {
  frames_.assign(1, {kNoState, 0, 0, kNoState});
  buckets_.assign(64, kNoState);
  shift_ = 26;
}

uint32_t StackPool::push(uint32_t state, uint32_t below) {
  uint32_t& head = buckets_[bucket(state, below)];
  for (uint32_t f = head; f != kNoState; f = frames_[f].next) {
    if (frames_[f].state == state && frames_[f].below == below) return f;
  }
  const uint32_t depth = frames_[below].depth + 1;
  if (depth > limits::kConstraintStackMax) return kNoState;
  const uint32_t fresh = size();
  frames_.push_back({state, below, depth, head});
  head = fresh;
  if (frames_.size() > buckets_.size()) rehash();
  return fresh;
}

void StackPool::truncate(uint32_t size) {
  while (frames_.size() > size) {
    const Frame& frame = frames_.back();
    buckets_[bucket(frame.state, frame.below)] = frame.next;  // newest first: it is its bucket's head
    frames_.pop_back();
  }
}

void StackPool::rehash() {
  --shift_;
  buckets_.assign(buckets_.size() * 2, kNoState);
  for (uint32_t f = 1; f < frames_.size(); ++f) {
    uint32_t& head = buckets_[bucket(frames_[f].state, frames_[f].below)];
    frames_[f].next = head;
    head = f;
  }
}

void Matcher::add(uint32_t state, uint32_t frame, ReadingSet& out) {
  const PdaState& s = pda_->states[state];
  if (s.calls == 0 && !s.accept) [[likely]] {
    const Reading reading{state, frame};
    if (std::find(out.readings.begin(), out.readings.end(), reading) == out.readings.end()) out.readings.push_back(reading);
    return;
  }
  work_.push_back({state, frame});
}

// Follows ends of rules and calls from the readings in work_ until only readings that wait for a byte are left.
void Matcher::expand(ReadingSet& out) {
  seen_.clear();
  while (!work_.empty()) {
    const Reading reading = work_.back();
    work_.pop_back();
    if (std::find(seen_.begin(), seen_.end(), reading) != seen_.end()) continue;
    if (seen_.size() > limits::kConstraintReadingsMax) continue;
    seen_.push_back(reading);
    const PdaState& s = pda_->states[reading.state];
    if (s.edges > 0 && std::find(out.readings.begin(), out.readings.end(), reading) == out.readings.end()) out.readings.push_back(reading);
    if (s.accept) {
      if (reading.frame == 0) {
        out.can_end = true;
      } else {
        add(pool_.state(reading.frame), pool_.below(reading.frame), out);
      }
    }
    for (uint32_t i = 0; i < s.calls; ++i) {
      const PdaCall& call = pda_->calls[s.calls_begin + i];
      const uint32_t frame = call.tail ? reading.frame : pool_.push(call.target, reading.frame);
      if (frame != kNoState) add(call.callee, frame, out);
    }
  }
}

void Matcher::enter(uint32_t state, uint32_t frame, ReadingSet& out) {
  out.readings.clear();
  out.can_end = false;
  add(state, frame, out);
  if (!work_.empty()) expand(out);
}

bool Matcher::step(const ReadingSet& from, uint8_t byte, ReadingSet& out) {
  if (from.readings.size() == 1) [[likely]] {
    ++steps_;
    const Reading only = from.readings[0];
    const uint32_t to = pda_->step(only.state, byte);
    if (to == kNoState) {
      out.readings.clear();
      out.can_end = false;
      return false;
    }
    const PdaState& s = pda_->states[to];
    if (s.calls == 0 && !s.accept) [[likely]] {
      out.readings.resize(1);
      out.readings[0] = {to, only.frame};
      out.can_end = false;
      return true;
    }
  }
  out.readings.clear();
  out.can_end = false;
  steps_ += from.readings.size();
  for (const Reading& reading : from.readings) {
    const uint32_t to = pda_->step(reading.state, byte);
    if (to != kNoState) add(to, reading.frame, out);
  }
  if (!work_.empty()) expand(out);
  if (out.readings.size() > limits::kConstraintReadingsMax) {
    out.readings.clear();
    out.can_end = false;
  }
  return !out.dead();
}

ByteSet Matcher::next_bytes(const ReadingSet& set) const {
  ByteSet bytes;
  for (const Reading& reading : set.readings) {
    const PdaState& s = pda_->states[reading.state];
    for (uint32_t i = 0; i < s.edges; ++i) bytes.add_range(pda_->edges[s.edges_begin + i].low, pda_->edges[s.edges_begin + i].high);
  }
  return bytes;
}

ReadingSet& Matcher::level(size_t depth) {
  while (levels_.size() <= depth) levels_.emplace_back();
  return levels_[depth];
}

// Tries all words of the trie from the readings in levels_[0]. Subtrees whose tokens all have at most chars_safe plain characters are known
// already and skipped.
template <class Visit>
void Matcher::walk(const TokenTrie& trie, uint32_t chars_safe, const Visit& visit) {
  if (trie.empty()) return;
  const uint32_t count = trie.size();
  const TrieNode* nodes = trie.nodes.data();
  level(limits::kConstraintTokenBytesMax + 4);
  if (ends_.size() < levels_.size()) ends_.resize(levels_.size());
  size_t depth = 0;
  ends_[0] = count;
  for (uint32_t at = 1; at < count;) {
    while (at >= ends_[depth]) --depth;
    const TrieNode& node = nodes[at];
    if (node.chars_max <= chars_safe || !step(levels_[depth], node.byte, levels_[depth + 1])) {
      at = node.subtree_end;
      continue;
    }
    visit(at, levels_[depth + 1]);
    if (node.subtree_end > at + 1) ends_[++depth] = node.subtree_end;
    ++at;
  }
}

std::unique_ptr<StateMask> Matcher::compute_mask(uint32_t state, const ConstraintVocabulary& vocabulary) {
  auto mask = std::make_unique<StateMask>();
  const PdaState& s = pda_->states[state];
  const uint32_t frames = pool_.size();
  mask->plain = s.safe == kSafeForever ? kSafeMax + 1u : s.safe;
  const uint32_t chars_safe = s.safe == kSafeForever ? 254 : s.safe;
  const ByteSet& follow = pda_->rule_follow[s.rule];
  bool follows[256];
  for (uint32_t b = 0; b < 256; ++b) follows[b] = follow.has(static_cast<uint8_t>(b));
  std::vector<std::pair<const TokenTrie*, uint32_t>> ends;
  for (const TokenTrie* trie : {&vocabulary.plain(), &vocabulary.hard()}) {
    if (trie == &vocabulary.plain() && s.safe == kSafeForever) continue;
    ReadingSet& start = level(0);
    start.readings.assign(1, {state, 0});
    start.can_end = false;
    walk(*trie, trie == &vocabulary.plain() ? chars_safe : 0, [&](uint32_t node, const ReadingSet& after) {
      const uint32_t first = trie->nodes[node].tokens_begin, last = trie->nodes[node + 1].tokens_begin;
      mask->tokens.insert(mask->tokens.end(), trie->tokens.begin() + first, trie->tokens.begin() + last);
      if (after.can_end && trie->has_children(node)) ends.emplace_back(trie, node);
    });
  }
  pool_.truncate(frames);
  if (!ends.empty()) mask->rest = merge_subtrees(ends, follows);
  if (mask->tokens.size() > vocabulary.mask_words() * 2) {
    mask->words.assign(vocabulary.mask_words(), 0);
    for (const uint32_t token : mask->tokens) mask->words[token / 64] |= MaskWord{1} << (token % 64);
    mask->tokens.clear();
  }
  mask->tokens.shrink_to_fit();
  return mask;
}

void Matcher::add_mask(const Reading& reading, const StateMask& mask, const ConstraintVocabulary& vocabulary, MaskWord* words) {
  const size_t count = vocabulary.mask_words();
  if (mask.plain != 0) {
    const MaskWord* plain = vocabulary.plain_mask(mask.plain).data();
    for (size_t i = 0; i < count; ++i) words[i] |= plain[i];
  }
  for (size_t i = 0; i < mask.words.size(); ++i) words[i] |= mask.words[i];
  for (const uint32_t token : mask.tokens) words[token / 64] |= MaskWord{1} << (token % 64);
  if (reading.frame == 0 || mask.rest.empty()) return;
  const uint32_t frames = pool_.size();
  enter(pool_.state(reading.frame), pool_.below(reading.frame), level(0));
  const TokenTrie& rest = mask.rest;
  walk(rest, 0, [&](uint32_t node, const ReadingSet&) {
    for (uint32_t i = rest.nodes[node].tokens_begin; i < rest.nodes[node + 1].tokens_begin; ++i) {
      words[rest.tokens[i] / 64] |= MaskWord{1} << (rest.tokens[i] % 64);
    }
  });
  pool_.truncate(frames);
}

void Matcher::add_exact(const Reading& reading, const ConstraintVocabulary& vocabulary, MaskWord* words) {
  const uint32_t frames = pool_.size();
  for (const TokenTrie* trie : {&vocabulary.plain(), &vocabulary.hard()}) {
    level(0).readings.assign(1, reading);
    level(0).can_end = false;
    walk(*trie, 0, [&](uint32_t node, const ReadingSet&) {
      for (uint32_t i = trie->nodes[node].tokens_begin; i < trie->nodes[node + 1].tokens_begin; ++i) {
        words[trie->tokens[i] / 64] |= MaskWord{1} << (trie->tokens[i] % 64);
      }
    });
  }
  pool_.truncate(frames);
}

}  // namespace sluice::text
