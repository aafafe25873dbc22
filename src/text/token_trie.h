// A vocabulary as a trie in preorder: one pass over an array visits all tokens, and a refused byte skips a whole subtree.
// Contract: immutable after build; tokens with equal bytes share a node. Next: text/grammar_matcher.h walks it.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::text {

struct TrieNode {
  uint8_t byte = 0;
  uint8_t chars_max = 0;      // code points of the longest token in the subtree, saturated at 255; 255 where tokens are not plain
  uint32_t subtree_end = 0;   // node behind the last descendant
  uint32_t tokens_begin = 0;  // own tokens: up to the next node's tokens_begin
};

struct TokenTrie {
  std::vector<TrieNode> nodes;   // nodes[0] is the root; one extra node at the end closes the ranges
  std::vector<uint32_t> tokens;  // ids in the order of their nodes

  bool empty() const { return tokens.empty(); }
  uint32_t size() const { return nodes.empty() ? 0 : static_cast<uint32_t>(nodes.size() - 1); }
  bool has_children(uint32_t node) const { return nodes[node].subtree_end > node + 1; }
  uint64_t bytes() const { return nodes.size() * sizeof(TrieNode) + tokens.size() * 4; }

  // The words need not be sorted. chars: code points of each word, or empty where that does not matter.
  static TokenTrie build(std::vector<std::pair<std::string_view, uint32_t>> words);
};

// Several subtrees laid over each other: what may follow the places where a rule can end inside a token.
TokenTrie merge_subtrees(const std::vector<std::pair<const TokenTrie*, uint32_t>>& subtrees, const bool* first_bytes);

}  // namespace sluice::text
