// Recursive descent over the tokens, by Jinja's grammar (template_parser.h): statements here, expressions in template_expression.cc.
// Contract: recursion is bounded by the nesting limit. Next: template_scope.cc.
#include "text/template_parser.h"

#include <utility>

#include <fmt/format.h>

#include "text/template_parse_state.h"

namespace sluice::text::jinja {

ConstId Ast::intern(std::string_view text) {
  if (const auto found = ids_.find(text); found != ids_.end()) return found->second;
  const std::string& stored = storage_.emplace_back(text);
  Str& s = strings.emplace_back();
  s.data = stored.data();
  s.size = stored.size();
  (void)count_chars(s);  // now, because renders on several threads share it
  const auto id = static_cast<ConstId>(strings.size() - 1);
  ids_.emplace(stored, id);
  return id;
}

ListId Ast::add_list(const std::vector<uint32_t>& items) {
  const auto id = static_cast<ListId>(lists.size());
  lists.push_back(static_cast<uint32_t>(items.size()));
  lists.insert(lists.end(), items.begin(), items.end());
  return id;
}

void Parser::fail(std::string sentence) {
  if (error_.empty()) error_ = fmt::format("template line {}: {}", token().line, sentence);
  at_ = tokens_.size() - 1;  // eof
}

void Parser::fail_unexpected(std::string_view wanted) {
  const Token& t = token();
  const bool ends_tag = t.kind == TokenKind::variable_end || t.kind == TokenKind::block_end;
  const std::string got = t.kind == TokenKind::eof ? "the end of the template" : ends_tag ? "the end of the tag" : fmt::format("'{}'", t.text);
  fail(fmt::format("expected {}, got {}", wanted, got));
}

bool Parser::skip_if(TokenKind kind) {
  if (token().kind != kind) return false;
  ++at_;
  return true;
}

bool Parser::skip_if_name(std::string_view name) {
  if (!at_name(name)) return false;
  ++at_;
  return true;
}

bool Parser::expect(TokenKind kind, std::string_view what) {
  if (skip_if(kind)) return true;
  fail_unexpected(what);
  return false;
}

NodeId Parser::add(NodeKind kind, uint32_t line, uint32_t a, uint32_t b, uint32_t c, unsigned height, uint8_t op) {
  if (height > limits::kTemplateNestingMax) {
    fail(fmt::format("nests more than {} deep", limits::kTemplateNestingMax));
    height = limits::kTemplateNestingMax;
  }
  ast_->nodes.push_back(Node{kind, op, static_cast<uint16_t>(height), line, a, b, c});
  return static_cast<NodeId>(ast_->nodes.size() - 1);
}

unsigned Parser::height_of_list(const std::vector<uint32_t>& ids) const {
  unsigned height = 0;
  for (const uint32_t id : ids) height = std::max(height, height_of(id));
  return height;
}

Parser::Body Parser::parse_body(std::initializer_list<std::string_view> end_tags) {
  skip_if(TokenKind::colon);  // `{% if x: %}` is allowed
  Body body;
  if (!expect(TokenKind::block_end, "'%}'")) return body;
  return parse_statements(end_tags);
}

Parser::Body Parser::parse_statements(std::initializer_list<std::string_view> end_tags) {
  Body body;
  std::vector<uint32_t> ids;
  if (++depth_ > limits::kTemplateNestingMax) fail(fmt::format("blocks nest more than {} deep", limits::kTemplateNestingMax));
  while (ok()) {
    const Token& t = token();
    NodeId id = kNone;
    if (t.kind == TokenKind::eof) {
      if (end_tags.size() > 0) fail(fmt::format("the template ends inside a block: '{}' is missing", *std::prev(end_tags.end())));
      break;
    }
    if (t.kind == TokenKind::data) {
      id = add(NodeKind::text, t.line, ast_->intern(t.text));
      ++at_;
    } else if (skip_if(TokenKind::variable_begin)) {
      const NodeId value = parse_tuple(true, {});
      id = add(NodeKind::output, t.line, value, kNone, kNone, height_of(value) + 1);
      expect(TokenKind::variable_end, "'}}'");
    } else {
      ++at_;  // block_begin
      bool ends = false;
      for (const std::string_view tag : end_tags) ends = ends || at_name(tag);
      if (ends) break;
      id = parse_statement(ids);
      expect(TokenKind::block_end, "'%}'");
    }
    if (id != kNone) ids.push_back(id);
  }
  --depth_;
  body.height = height_of_list(ids);
  body.list = ast_->add_list(ids);
  return body;
}

NodeId Parser::parse_statement(std::vector<uint32_t>& siblings) {
  const Token& t = token();
  if (t.kind != TokenKind::name) {
    fail_unexpected("a tag name");
    return kNone;
  }
  ++at_;
  if (t.text == "if") return parse_if(t.line);
  if (t.text == "for") return parse_for(t.line);
  if (t.text == "set") return parse_set(t.line);
  if (t.text == "macro") return parse_macro(t.line);
  if (t.text == "call") return parse_call_block(t.line);
  if (t.text == "filter") return parse_filter_block(t.line);
  if (t.text == "with") return parse_with(t.line);
  if (t.text == "print") return parse_print(t.line, siblings);
  if (t.text == "generation") return parse_generation(t.line);
  if (t.text == "break" || t.text == "continue") {
    if (loop_depth_ == 0) fail(fmt::format("'{}' outside of a loop", t.text));
    return add(t.text == "break" ? NodeKind::break_ : NodeKind::continue_, t.line);
  }
  --at_;
  fail(fmt::format("the tag '{}' is not supported", t.text));
  return kNone;
}

NodeId Parser::parse_if(uint32_t line) {
  std::vector<uint32_t> branches;
  ListId otherwise = kNone;
  unsigned height = 0;
  while (ok()) {
    const NodeId test = parse_tuple(false, {});
    const Body body = parse_body({"elif", "else", "endif"});
    branches.push_back(test);
    branches.push_back(body.list);
    height = std::max({height, height_of(test), body.height});
    if (skip_if_name("elif")) continue;
    if (skip_if_name("else")) {
      const Body last = parse_body({"endif"});
      otherwise = last.list;
      height = std::max(height, last.height);
    }
    expect_name("endif");
    break;
  }
  return add(NodeKind::if_, line, ast_->add_list(branches), otherwise, kNone, height + 1);
}

// Nodes are copied so that each copy can be bound to variables of its own.
NodeId Parser::copy_target(NodeId id) {
  Node copy = ast_->nodes[id];
  if (copy.kind == NodeKind::tuple) {
    std::vector<uint32_t> items;
    for (uint32_t i = 0; i < ast_->list_size(copy.b); ++i) items.push_back(copy_target(ast_->list_item(copy.b, i)));
    copy.b = ast_->add_list(items);
  }
  ast_->nodes.push_back(copy);
  return static_cast<NodeId>(ast_->nodes.size() - 1);
}

bool Parser::reads_name(NodeId first, NodeId last, std::string_view name) const {
  for (NodeId id = first; id < last; ++id) {
    const Node& node = ast_->nodes[id];
    if (node.kind == NodeKind::name && ast_->string(node.a)->view() == name) return node.op == 0;
  }
  return false;
}

NodeId Parser::parse_for(uint32_t line) {
  Loop loop;
  const auto first = static_cast<NodeId>(ast_->nodes.size());
  loop.target = parse_target({"in"}, false);
  if (!skip_if_name("in")) fail_unexpected("'in'");
  loop.iterable = parse_tuple(false, {"recursive"});
  if (skip_if_name("if")) {
    if (ok()) loop.test_target = copy_target(loop.target);
    loop.test = parse_expression();
  }
  if (at_name("recursive")) fail("recursive loops are not supported");
  ++loop_depth_;
  const auto body_first = static_cast<NodeId>(ast_->nodes.size());
  const Body body = parse_body({"else", "endfor"});
  const auto body_last = static_cast<NodeId>(ast_->nodes.size());
  --loop_depth_;
  loop.body = body.list;
  unsigned height = std::max({height_of(loop.iterable), height_of(loop.target), height_of(loop.test), body.height});
  if (skip_if_name("else")) {
    const Body otherwise = parse_body({"endfor"});
    loop.otherwise = otherwise.list;
    height = std::max(height, otherwise.height);
  }
  expect_name("endfor");
  // The scope pass gives it a slot; here only: is it read at all?
  loop.loop_slot = reads_name(body_first, body_last, "loop") ? 0 : kNone;
  for (NodeId id = first; id < ast_->nodes.size() && ok(); ++id) {
    const Node& node = ast_->nodes[id];
    if (node.kind == NodeKind::name && node.op != 0 && ast_->string(node.a)->view() == "loop") fail("cannot assign to the variable 'loop' in a loop");
  }
  ast_->loops.push_back(std::move(loop));
  return add(NodeKind::for_, line, static_cast<uint32_t>(ast_->loops.size() - 1), kNone, kNone, height + 1);
}

uint32_t Parser::add_block(ListId body) {
  ast_->blocks.push_back(Block{body, {}});
  return static_cast<uint32_t>(ast_->blocks.size() - 1);
}

NodeId Parser::parse_set(uint32_t line) {
  const NodeId target = parse_target({}, true);
  if (skip_if(TokenKind::assign)) {
    const NodeId value = parse_tuple(true, {});
    return add(NodeKind::set, line, target, value, kNone, std::max(height_of(target), height_of(value)) + 1);
  }
  NodeId filter = kNone;
  if (token().kind == TokenKind::pipe) filter = parse_filters(add(NodeKind::captured, line), false);
  const Body body = parse_body({"endset"});
  expect_name("endset");
  return add(NodeKind::set_block, line, target, filter, add_block(body.list), std::max(body.height, height_of(filter)) + 1);
}

// (a, b=1): parameters of a macro or a call block.
unsigned Parser::parse_signature(Function& function) {
  unsigned height = 0;
  bool has_fallback = false;
  expect(TokenKind::left_paren, "'('");
  while (ok() && token().kind != TokenKind::right_paren) {
    if (!function.parameters.empty() && !expect(TokenKind::comma, "','")) break;
    if (token().kind != TokenKind::name) {
      fail_unexpected("a parameter name");
      break;
    }
    Parameter parameter{ast_->intern(token().text), kNone};
    ++at_;
    if (skip_if(TokenKind::assign)) {
      parameter.fallback = parse_expression();
      height = std::max(height, height_of(parameter.fallback));
      has_fallback = true;
    } else if (has_fallback) {
      fail("a parameter without a default follows one with a default");
    }
    for (const Parameter& other : function.parameters) {
      if (other.name == parameter.name) fail(fmt::format("two parameters are called '{}'", ast_->string(other.name)->view()));
    }
    function.parameters.push_back(parameter);
    if (function.parameters.size() > limits::kTemplateParametersMax) fail(fmt::format("more than {} parameters", limits::kTemplateParametersMax));
  }
  expect(TokenKind::right_paren, "')'");
  return height;
}

uint32_t Parser::parse_function_body(Function function, std::string_view end_tag, unsigned& height) {
  const unsigned outer_loops = std::exchange(loop_depth_, 0);
  function.first = static_cast<NodeId>(ast_->nodes.size());
  const Body body = parse_body({end_tag});
  function.last = static_cast<NodeId>(ast_->nodes.size());
  expect_name(end_tag);
  loop_depth_ = outer_loops;
  function.body = body.list;
  height = std::max(height, body.height);
  for (const auto& [name, slot] : {std::pair{"caller", &function.caller_slot}, std::pair{"kwargs", &function.keywords_slot},
                                   std::pair{"varargs", &function.rest_slot}}) {
    bool declared = false;
    for (const Parameter& p : function.parameters) declared = declared || ast_->string(p.name)->view() == name;
    if (!declared && reads_name(function.first, function.last, name)) *slot = 0;  // numbered by the scope pass
  }
  for (const Parameter& p : function.parameters) {
    if (p.fallback == kNone && ast_->string(p.name)->view() == "caller" && reads_name(function.first, function.last, "caller")) {
      fail("a parameter called 'caller' needs a default");
    }
  }
  ast_->functions.push_back(std::move(function));
  return static_cast<uint32_t>(ast_->functions.size() - 1);
}

NodeId Parser::parse_macro(uint32_t line) {
  if (token().kind != TokenKind::name) {
    fail_unexpected("the macro's name");
    return kNone;
  }
  Function function;
  function.name = ast_->intern(token().text);
  ++at_;
  const NodeId target = add(NodeKind::name, line, function.name, kNone, 0, 1, 1);
  unsigned height = parse_signature(function);
  const uint32_t index = parse_function_body(std::move(function), "endmacro", height);
  return add(NodeKind::macro, line, index, target, kNone, height + 1);
}

NodeId Parser::parse_call_block(uint32_t line) {
  Function function;
  unsigned height = 0;
  if (token().kind == TokenKind::left_paren) height = parse_signature(function);
  const NodeId call = parse_expression();
  if (ok() && ast_->nodes[call].kind != NodeKind::call) fail("a call block must call something");
  height = std::max(height, height_of(call));
  const uint32_t index = parse_function_body(std::move(function), "endcall", height);
  return add(NodeKind::call_block, line, index, call, kNone, height + 1);
}

NodeId Parser::parse_filter_block(uint32_t line) {
  const NodeId filter = parse_filters(add(NodeKind::captured, line), true);
  const Body body = parse_body({"endfilter"});
  expect_name("endfilter");
  return add(NodeKind::filter_block, line, kNone, filter, add_block(body.list), std::max(body.height, height_of(filter)) + 1);
}

NodeId Parser::parse_with(uint32_t line) {
  std::vector<uint32_t> pairs;
  while (ok() && token().kind != TokenKind::block_end) {
    if (!pairs.empty() && !expect(TokenKind::comma, "','")) break;
    pairs.push_back(parse_target({}, false));
    expect(TokenKind::assign, "'='");
    pairs.push_back(parse_expression());
  }
  const Body body = parse_body({"endwith"});
  expect_name("endwith");
  const unsigned height = std::max(body.height, height_of_list(pairs)) + 1;
  return add(NodeKind::with, line, ast_->add_list(pairs), kNone, add_block(body.list), height);
}

NodeId Parser::parse_print(uint32_t line, std::vector<uint32_t>& siblings) {
  NodeId last = kNone;
  while (ok() && token().kind != TokenKind::block_end) {
    if (last != kNone) {
      siblings.push_back(last);
      if (!expect(TokenKind::comma, "','")) break;
    }
    const NodeId value = parse_expression();
    last = add(NodeKind::output, line, value, kNone, kNone, height_of(value) + 1);
  }
  return last;
}

// Hugging Face marks the assistant's part with {% generation %} for training; rendering, it is a scope of its own.
NodeId Parser::parse_generation(uint32_t line) {
  const unsigned outer_loops = std::exchange(loop_depth_, 0);
  const Body body = parse_body({"endgeneration"});
  expect_name("endgeneration");
  loop_depth_ = outer_loops;
  return add(NodeKind::scope, line, kNone, kNone, add_block(body.list), body.height + 1);
}

Result<std::unique_ptr<Ast>> Parser::run() {
  ast_->functions.emplace_back();
  const Body body = parse_statements({});
  if (!ok()) return Error{error_};
  ast_->functions[0].body = body.list;
  bind_names(*ast_);
  return std::move(ast_);
}

Result<std::unique_ptr<Ast>> parse_template(std::string_view source) {
  SLUICE_TRY(std::vector<Token> tokens, lex(source));
  return Parser(std::move(tokens)).run();
}

}  // namespace sluice::text::jinja
