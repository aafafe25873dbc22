// Expressions of the template language, with Jinja's precedences (template_parse_state.h): conditional, or, and, not, comparison, + -, ~,
// * / // %, **, unary, postfix and filters. Contract: recursion is bounded by the nesting limit. Next: template_scope.cc.
#include <fmt/format.h>

#include "text/template_builtins.h"
#include "text/template_parse_state.h"

namespace sluice::text::jinja {

NodeId Parser::add_constant(uint32_t line, Value value) {
  ast_->constants.push_back(value);
  return add(NodeKind::constant, line, static_cast<uint32_t>(ast_->constants.size() - 1));
}

NodeId Parser::add_binary(Binary op, uint32_t line, NodeId left, NodeId right) {
  const unsigned height = std::max(height_of(left), height_of(right)) + 1;
  return add(NodeKind::binary, line, left, right, kNone, height, static_cast<uint8_t>(op));
}

// A name that is stored to has op 1.
NodeId Parser::parse_names(EndNames end_names, bool parenthesised) {
  const uint32_t line = token().line;
  std::vector<uint32_t> items;
  bool is_tuple = false;
  if (++depth_ > limits::kTemplateNestingMax) fail("assignment targets nest too deep");
  while (ok()) {
    if (parenthesised ? token().kind == TokenKind::right_paren : token().kind == TokenKind::assign || token().kind == TokenKind::block_end) break;
    bool ends = false;
    for (const std::string_view name : end_names) ends = ends || at_name(name);
    if (ends && !items.empty()) break;
    if (skip_if(TokenKind::left_paren)) {
      items.push_back(parse_names({}, true));
    } else if (token().kind == TokenKind::name) {
      const std::string& name = token().text;
      const std::string lower = std::string(1, static_cast<char>(name[0] | 0x20)) + name.substr(1);
      if (lower == "true" || lower == "false" || lower == "none") fail(fmt::format("cannot assign to '{}'", name));
      items.push_back(add(NodeKind::name, token().line, ast_->intern(token().text), kNone, 0, 1, 1));
      ++at_;
    } else {
      fail_unexpected("a name to assign to");
    }
    if (!skip_if(TokenKind::comma)) break;
    is_tuple = true;
  }
  if (parenthesised) expect(TokenKind::right_paren, "')'");
  --depth_;
  if (items.size() == 1 && !is_tuple) return items[0];
  if (items.empty()) fail_unexpected("a name to assign to");
  return add(NodeKind::tuple, line, kNone, ast_->add_list(items), kNone, height_of_list(items) + 1);
}

NodeId Parser::parse_target(EndNames end_names, bool with_member) {
  if (with_member && token().kind == TokenKind::name && token(1).kind == TokenKind::dot && token(2).kind == TokenKind::name) {
    const uint32_t line = token().line;
    const NodeId object = add(NodeKind::name, line, ast_->intern(token().text), kNone, 0);
    const ConstId attribute = ast_->intern(token(2).text);
    at_ += 3;
    return add(NodeKind::member, line, object, attribute, kNone, 2);
  }
  return parse_names(end_names, false);
}

NodeId Parser::parse_tuple(bool with_condition, EndNames end_names, bool explicit_parentheses) {
  const uint32_t line = token().line;
  std::vector<uint32_t> items;
  bool is_tuple = false;
  while (ok()) {
    const TokenKind kind = token().kind;
    if (kind == TokenKind::variable_end || kind == TokenKind::block_end || kind == TokenKind::right_paren) break;
    bool ends = false;
    for (const std::string_view name : end_names) ends = ends || at_name(name);
    if (ends) break;
    items.push_back(parse_expression(with_condition));
    if (!skip_if(TokenKind::comma)) break;
    is_tuple = true;
  }
  if (!is_tuple) {
    if (items.size() == 1) return items[0];
    if (!explicit_parentheses) {
      fail_unexpected("an expression");
      return kNone;
    }
  }
  return add(NodeKind::tuple, line, kNone, ast_->add_list(items), kNone, height_of_list(items) + 1);
}

NodeId Parser::parse_expression(bool with_condition) {
  if (depth_ >= limits::kTemplateNestingMax) fail(fmt::format("expressions nest more than {} deep", limits::kTemplateNestingMax));
  if (!ok()) return kNone;
  ++depth_;
  const NodeId node = with_condition ? parse_condition() : parse_or();
  --depth_;
  return node;
}

NodeId Parser::parse_condition() {
  NodeId node = parse_or();
  while (ok() && at_name("if")) {
    const uint32_t line = token().line;
    ++at_;
    const NodeId test = parse_or();
    NodeId otherwise = kNone;
    if (skip_if_name("else")) otherwise = parse_expression();
    const unsigned height = std::max({height_of(node), height_of(test), height_of(otherwise)}) + 1;
    node = add(NodeKind::conditional, line, test, node, otherwise, height);
  }
  return node;
}

NodeId Parser::parse_or() {
  NodeId left = parse_and();
  while (ok() && skip_if_name("or")) {
    const uint32_t line = token().line;
    const NodeId right = parse_and();
    left = add(NodeKind::or_, line, left, right, kNone, std::max(height_of(left), height_of(right)) + 1);
  }
  return left;
}

NodeId Parser::parse_and() {
  NodeId left = parse_not();
  while (ok() && skip_if_name("and")) {
    const uint32_t line = token().line;
    const NodeId right = parse_not();
    left = add(NodeKind::and_, line, left, right, kNone, std::max(height_of(left), height_of(right)) + 1);
  }
  return left;
}

NodeId Parser::parse_not() {
  unsigned count = 0;
  const uint32_t line = token().line;
  while (skip_if_name("not")) ++count;
  NodeId node = parse_compare();
  for (; count > 0 && ok(); --count) node = add(NodeKind::not_, line, node, kNone, kNone, height_of(node) + 1);
  return node;
}

namespace {

bool comparison_of(TokenKind kind, Comparison& out) {
  switch (kind) {
    case TokenKind::equal: out = Comparison::equal; return true;
    case TokenKind::not_equal: out = Comparison::not_equal; return true;
    case TokenKind::less: out = Comparison::less; return true;
    case TokenKind::less_equal: out = Comparison::less_equal; return true;
    case TokenKind::greater: out = Comparison::greater; return true;
    case TokenKind::greater_equal: out = Comparison::greater_equal; return true;
    default: return false;
  }
}

}  // namespace

NodeId Parser::parse_compare() {
  const uint32_t line = token().line;
  const NodeId first = parse_sum();
  std::vector<uint32_t> pairs;
  unsigned height = height_of(first);
  while (ok()) {
    Comparison op = Comparison::in;
    if (comparison_of(token().kind, op) || at_name("in")) {
      ++at_;
    } else if (at_name("not") && token(1).kind == TokenKind::name && token(1).text == "in") {
      at_ += 2;
      op = Comparison::not_in;
    } else {
      break;
    }
    const NodeId right = parse_sum();
    pairs.push_back(static_cast<uint32_t>(op));
    pairs.push_back(right);
    height = std::max(height, height_of(right));
  }
  if (pairs.empty()) return first;
  return add(NodeKind::compare, line, first, ast_->add_list(pairs), kNone, height + 1);
}

NodeId Parser::parse_sum() {
  NodeId left = parse_concat();
  while (ok() && (token().kind == TokenKind::add || token().kind == TokenKind::sub)) {
    const Binary op = token().kind == TokenKind::add ? Binary::add : Binary::subtract;
    const uint32_t line = token().line;
    ++at_;
    left = add_binary(op, line, left, parse_concat());
  }
  return left;
}

NodeId Parser::parse_concat() {
  const uint32_t line = token().line;
  std::vector<uint32_t> parts{parse_product()};
  while (ok() && skip_if(TokenKind::tilde)) parts.push_back(parse_product());
  if (parts.size() == 1) return parts[0];
  return add(NodeKind::concat, line, kNone, ast_->add_list(parts), kNone, height_of_list(parts) + 1);
}

NodeId Parser::parse_product() {
  NodeId left = parse_power();
  while (ok()) {
    Binary op;
    switch (token().kind) {
      case TokenKind::mul: op = Binary::multiply; break;
      case TokenKind::div: op = Binary::divide; break;
      case TokenKind::floor_div: op = Binary::floor_divide; break;
      case TokenKind::mod: op = Binary::modulo; break;
      default: return left;
    }
    const uint32_t line = token().line;
    ++at_;
    left = add_binary(op, line, left, parse_power());
  }
  return left;
}

NodeId Parser::parse_power() {
  NodeId left = parse_unary(true);
  while (ok() && token().kind == TokenKind::pow) {
    const uint32_t line = token().line;
    ++at_;
    left = add_binary(Binary::power, line, left, parse_unary(true));
  }
  return left;
}

NodeId Parser::parse_unary(bool with_filter) {
  if (!ok()) return kNone;
  NodeId node = kNone;
  const Token& t = token();
  if (t.kind == TokenKind::sub || t.kind == TokenKind::add) {
    if (++depth_ > limits::kTemplateNestingMax) fail(fmt::format("expressions nest more than {} deep", limits::kTemplateNestingMax));
    ++at_;
    const NodeId operand = parse_unary(false);
    node = add(t.kind == TokenKind::sub ? NodeKind::negative : NodeKind::positive, t.line, operand, kNone, kNone, height_of(operand) + 1);
    --depth_;
  } else {
    node = parse_primary();
  }
  node = parse_postfix(node);
  return with_filter ? parse_postfix_filters(node) : node;
}

NodeId Parser::parse_primary() {
  const Token& t = token();
  switch (t.kind) {
    case TokenKind::name:
      ++at_;
      if (t.text == "true" || t.text == "True") return add_constant(t.line, Value::of(true));
      if (t.text == "false" || t.text == "False") return add_constant(t.line, Value::of(false));
      if (t.text == "none" || t.text == "None") return add_constant(t.line, Value::none());
      return add(NodeKind::name, t.line, ast_->intern(t.text), kNone, 0);
    case TokenKind::string: return parse_string();
    case TokenKind::integer: ++at_; return add_constant(t.line, Value::of(t.integer));
    case TokenKind::real: ++at_; return add_constant(t.line, Value::of(t.real));
    case TokenKind::left_paren: {
      ++at_;
      const NodeId node = parse_tuple(true, {}, true);
      expect(TokenKind::right_paren, "')'");
      return node;
    }
    case TokenKind::left_bracket: return parse_list();
    case TokenKind::left_brace: return parse_dict();
    default: fail_unexpected("an expression"); return kNone;
  }
}

NodeId Parser::parse_string() {
  const uint32_t line = token().line;
  std::string text;
  for (; token().kind == TokenKind::string; ++at_) text += token().text;
  return add_constant(line, Value::of(ast_->string(ast_->intern(text))));
}

NodeId Parser::parse_list() {
  const uint32_t line = token().line;
  ++at_;
  std::vector<uint32_t> items;
  while (ok() && token().kind != TokenKind::right_bracket) {
    if (!items.empty() && !expect(TokenKind::comma, "','")) break;
    if (token().kind == TokenKind::right_bracket) break;
    items.push_back(parse_expression());
  }
  expect(TokenKind::right_bracket, "']'");
  return add(NodeKind::list, line, kNone, ast_->add_list(items), kNone, height_of_list(items) + 1);
}

NodeId Parser::parse_dict() {
  const uint32_t line = token().line;
  ++at_;
  std::vector<uint32_t> items;
  while (ok() && token().kind != TokenKind::right_brace) {
    if (!items.empty() && !expect(TokenKind::comma, "','")) break;
    if (token().kind == TokenKind::right_brace) break;
    items.push_back(parse_expression());
    expect(TokenKind::colon, "':'");
    items.push_back(parse_expression());
  }
  expect(TokenKind::right_brace, "'}'");
  return add(NodeKind::dict, line, kNone, ast_->add_list(items), kNone, height_of_list(items) + 1);
}

NodeId Parser::parse_postfix(NodeId node) {
  while (ok()) {
    if (token().kind == TokenKind::dot) node = parse_attribute(node);
    else if (token().kind == TokenKind::left_bracket) node = parse_subscript(node);
    else if (token().kind == TokenKind::left_paren) node = parse_call(node);
    else break;
  }
  return node;
}

NodeId Parser::parse_postfix_filters(NodeId node) {
  while (ok()) {
    if (token().kind == TokenKind::pipe) node = parse_filters(node, false);
    else if (at_name("is")) node = parse_test(node);
    else if (token().kind == TokenKind::left_paren) node = parse_call(node);
    else break;
  }
  return node;
}

NodeId Parser::parse_attribute(NodeId node) {
  const uint32_t line = token().line;
  ++at_;
  const Token& t = token();
  if (t.kind == TokenKind::name) {
    ++at_;
    return add(NodeKind::attribute, line, node, ast_->intern(t.text), kNone, height_of(node) + 1);
  }
  if (t.kind == TokenKind::integer) {
    ++at_;
    const NodeId key = add_constant(line, Value::of(t.integer));
    return add(NodeKind::item, line, node, key, kNone, height_of(node) + 1);
  }
  fail_unexpected("a name or a number");
  return kNone;
}

// One key of a subscript; a slice becomes a slice node of `object` at once.
NodeId Parser::parse_subscript_key(NodeId object, bool& is_slice) {
  const uint32_t line = token().line;
  std::vector<uint32_t> bounds(3, kNone);
  if (token().kind != TokenKind::colon) {
    bounds[0] = parse_expression();
    if (token().kind != TokenKind::colon) return bounds[0];
  }
  for (size_t i = 1; i < 3 && skip_if(TokenKind::colon); ++i) {
    const TokenKind kind = token().kind;
    if (kind != TokenKind::right_bracket && kind != TokenKind::comma && kind != TokenKind::colon) bounds[i] = parse_expression();
  }
  is_slice = true;
  const unsigned height = std::max(height_of(object), height_of_list(bounds)) + 1;
  return add(NodeKind::slice, line, object, ast_->add_list(bounds), kNone, height);
}

NodeId Parser::parse_subscript(NodeId node) {
  const uint32_t line = token().line;
  ++at_;
  std::vector<uint32_t> keys;
  bool is_slice = false;
  while (ok() && token().kind != TokenKind::right_bracket) {
    if (!keys.empty() && !expect(TokenKind::comma, "','")) break;
    keys.push_back(parse_subscript_key(node, is_slice));
  }
  expect(TokenKind::right_bracket, "']'");
  if (!ok()) return kNone;
  if (is_slice && keys.size() > 1) {
    fail("a slice among several subscripts is not supported");
    return kNone;
  }
  if (is_slice) return keys[0];
  NodeId key = keys.size() == 1 ? keys[0] : add(NodeKind::tuple, line, kNone, ast_->add_list(keys), kNone, height_of_list(keys) + 1);
  return add(NodeKind::item, line, node, key, kNone, std::max(height_of(node), height_of(key)) + 1);
}

bool Parser::parse_argument(CallSite& site, std::vector<uint32_t>& positional, std::vector<uint32_t>& keywords, unsigned& height) {
  NodeId value = kNone;
  if (token().kind == TokenKind::mul) {
    if (site.rest != kNone || site.rest_keywords != kNone) return false;
    ++at_;
    value = site.rest = parse_expression();
  } else if (token().kind == TokenKind::pow) {
    if (site.rest_keywords != kNone) return false;
    ++at_;
    value = site.rest_keywords = parse_expression();
  } else if (token().kind == TokenKind::name && token(1).kind == TokenKind::assign) {
    if (site.rest_keywords != kNone) return false;
    const ConstId name = ast_->intern(token().text);
    for (size_t i = 0; i < keywords.size(); i += 2) {
      if (keywords[i] == name) return false;
    }
    if (keywords.size() / 2 >= limits::kTemplateParametersMax) fail(fmt::format("more than {} keyword arguments", limits::kTemplateParametersMax));
    at_ += 2;
    value = parse_expression();
    keywords.push_back(name);
    keywords.push_back(value);
  } else {
    if (site.rest != kNone || site.rest_keywords != kNone || !keywords.empty()) return false;
    value = parse_expression();
    positional.push_back(value);
  }
  height = std::max(height, height_of(value));
  return true;
}

uint32_t Parser::parse_arguments(unsigned& height) {
  CallSite site;
  std::vector<uint32_t> positional;
  std::vector<uint32_t> keywords;
  bool first = true;
  if (skip_if(TokenKind::left_paren)) {
    while (ok() && token().kind != TokenKind::right_paren) {
      if (!first && !expect(TokenKind::comma, "','")) break;
      if (token().kind == TokenKind::right_paren) break;
      if (!parse_argument(site, positional, keywords, height)) fail("invalid order of call arguments");
      first = false;
    }
    expect(TokenKind::right_paren, "')'");
  }
  site.positional = ast_->add_list(positional);
  site.keywords = ast_->add_list(keywords);
  ast_->calls.push_back(site);
  return static_cast<uint32_t>(ast_->calls.size() - 1);
}

NodeId Parser::parse_call(NodeId node) {
  const uint32_t line = token().line;
  unsigned height = height_of(node);
  const uint32_t arguments = parse_arguments(height);
  return add(NodeKind::call, line, node, arguments, kNone, height + 1);
}

std::string Parser::parse_dotted_name() {
  std::string name;
  do {
    if (!name.empty()) name += '.';
    if (token().kind != TokenKind::name) {
      fail_unexpected("a name");
      break;
    }
    name += token().text;
    ++at_;
  } while (skip_if(TokenKind::dot));
  return name;
}

NodeId Parser::parse_filters(NodeId node, bool start_inline) {
  while (ok() && (start_inline || token().kind == TokenKind::pipe)) {
    if (!start_inline) ++at_;
    start_inline = false;
    const uint32_t line = token().line;
    const std::string name = parse_dotted_name();
    unsigned height = height_of(node);
    const uint32_t arguments = parse_arguments(height);
    ast_->calls[arguments].builtin = find_filter(name);
    node = add(NodeKind::filter, line, node, arguments, ast_->intern(name), height + 1);
  }
  return node;
}

NodeId Parser::parse_test(NodeId node) {
  const uint32_t line = token().line;
  ++at_;
  const bool negated = skip_if_name("not");
  const std::string name = parse_dotted_name();
  unsigned height = height_of(node);
  uint32_t arguments = kNone;
  const TokenKind kind = token().kind;
  const bool takes_one = kind == TokenKind::name || kind == TokenKind::string || kind == TokenKind::integer || kind == TokenKind::real ||
                         kind == TokenKind::left_bracket || kind == TokenKind::left_brace;
  if (ok() && takes_one && !at_name("else") && !at_name("or") && !at_name("and")) {
    if (at_name("is")) fail("tests cannot be chained with 'is'");
    const NodeId argument = parse_postfix(parse_primary());
    height = std::max(height, height_of(argument));
    CallSite site;
    site.positional = ast_->add_list({argument});
    site.keywords = ast_->add_list({});
    ast_->calls.push_back(site);
    arguments = static_cast<uint32_t>(ast_->calls.size() - 1);
  } else {
    arguments = parse_arguments(height);
  }
  ast_->calls[arguments].builtin = find_test(name);
  node = add(NodeKind::test, line, node, arguments, ast_->intern(name), height + 1);
  return negated ? add(NodeKind::not_, line, node, kNone, kNone, height + 2) : node;
}

}  // namespace sluice::text::jinja
