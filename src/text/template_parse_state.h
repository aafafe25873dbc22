// The parser's state, shared by template_parser.cc (statements) and template_expression.cc (expressions).
// Contract: after the first failure the position is the end of the template, so every loop ends. Next: template_parser.cc.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "base/result.h"
#include "text/template_ast.h"
#include "text/template_lexer.h"

namespace sluice::text::jinja {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)), ast_(std::make_unique<Ast>()) {}
  Result<std::unique_ptr<Ast>> run();

 private:
  using EndNames = std::initializer_list<std::string_view>;

  struct Body {
    ListId list = kNone;
    unsigned height = 0;
  };

  bool ok() const { return error_.empty(); }
  const Token& token(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  bool at_name(std::string_view name) const { return token().kind == TokenKind::name && token().text == name; }
  bool skip_if(TokenKind kind);
  bool skip_if_name(std::string_view name);
  bool expect(TokenKind kind, std::string_view what);
  void expect_name(std::string_view name) {
    if (!skip_if_name(name)) fail_unexpected(name);
  }
  void fail(std::string sentence);
  void fail_unexpected(std::string_view wanted);

  NodeId add(NodeKind kind, uint32_t line, uint32_t a = kNone, uint32_t b = kNone, uint32_t c = kNone, unsigned height = 1, uint8_t op = 0);
  unsigned height_of(NodeId id) const { return id == kNone || id >= ast_->nodes.size() ? 0 : ast_->nodes[id].height; }
  unsigned height_of_list(const std::vector<uint32_t>& ids) const;
  uint32_t add_block(ListId body);
  NodeId add_constant(uint32_t line, Value value);
  bool reads_name(NodeId first, NodeId last, std::string_view name) const;
  NodeId copy_target(NodeId id);

  // statements
  Body parse_body(std::initializer_list<std::string_view> end_tags);
  Body parse_statements(std::initializer_list<std::string_view> end_tags);
  NodeId parse_statement(std::vector<uint32_t>& siblings);
  NodeId parse_if(uint32_t line);
  NodeId parse_for(uint32_t line);
  NodeId parse_set(uint32_t line);
  NodeId parse_macro(uint32_t line);
  NodeId parse_call_block(uint32_t line);
  NodeId parse_filter_block(uint32_t line);
  NodeId parse_with(uint32_t line);
  NodeId parse_print(uint32_t line, std::vector<uint32_t>& siblings);
  NodeId parse_generation(uint32_t line);
  unsigned parse_signature(Function& function);
  uint32_t parse_function_body(Function function, std::string_view end_tag, unsigned& height);

  // expressions
  NodeId parse_target(EndNames end_names, bool with_member);
  NodeId parse_names(EndNames end_names, bool parenthesised);
  NodeId parse_tuple(bool with_condition, EndNames end_names, bool explicit_parentheses = false);
  NodeId parse_expression(bool with_condition = true);
  NodeId parse_condition();
  NodeId parse_or();
  NodeId parse_and();
  NodeId parse_not();
  NodeId parse_compare();
  NodeId parse_sum();
  NodeId parse_concat();
  NodeId parse_product();
  NodeId parse_power();
  NodeId parse_unary(bool with_filter);
  NodeId parse_primary();
  NodeId parse_string();
  NodeId parse_list();
  NodeId parse_dict();
  NodeId parse_postfix(NodeId node);
  NodeId parse_postfix_filters(NodeId node);
  NodeId parse_attribute(NodeId node);
  NodeId parse_subscript(NodeId node);
  NodeId parse_subscript_key(NodeId object, bool& is_slice);
  uint32_t parse_arguments(unsigned& height);
  bool parse_argument(CallSite& site, std::vector<uint32_t>& positional, std::vector<uint32_t>& keywords, unsigned& height);
  NodeId parse_call(NodeId node);
  NodeId parse_filters(NodeId node, bool start_inline);
  NodeId parse_test(NodeId node);
  std::string parse_dotted_name();
  NodeId add_binary(Binary op, uint32_t line, NodeId left, NodeId right);

  std::vector<Token> tokens_;
  size_t at_ = 0;
  std::unique_ptr<Ast> ast_;
  unsigned depth_ = 0;       // of recursion
  unsigned loop_depth_ = 0;  // loops around, within the function
  std::string error_;
};

}  // namespace sluice::text::jinja
