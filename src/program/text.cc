#include "program/text.h"

#include <fmt/format.h>

#include <charconv>
#include <unordered_map>

#include "base/limits.h"

namespace sluice::program {
namespace {

constexpr std::string_view kElements[] = {"f32", "i32", "q8"};
constexpr std::string_view kRows[] = {"step", "logits", "slots"};
constexpr std::string_view kForms[] = {"matrix", "vector", "conv", "scan_a", "frequencies"};
constexpr std::string_view kTransforms[] = {"none", "neg_exp", "add_one"};
constexpr std::string_view kHeader = "sluice-program 1";

template <class Enum, size_t N>
std::string_view text_of(const std::string_view (&names)[N], Enum value) {
  return names[static_cast<size_t>(value)];
}

// Names from files may hold anything: all but plain characters become %XX.
std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-' || c == '/';
    if (plain) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

Result<std::string> unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned value = 0;
    if (i + 2 >= text.size()) return Error{"program text: cut escape"};
    const auto [end, error] = std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16);
    if (error != std::errc{} || end != text.data() + i + 3) return Error{"program text: bad escape"};
    out += static_cast<char>(value);
    i += 2;
  }
  return out;
}

std::string print_weight(const Value& v) {
  std::string line = fmt::format("weight {} form={} dtype={} n={} k={} count={} transform={} row={} rows={}", v.name, text_of(kForms, v.form),
                                 info(v.dtype).name, v.n, v.k, v.count, text_of(kTransforms, v.transform), v.source_row, v.source_rows);
  for (const std::string& source : v.sources) line += fmt::format(" from={}", escape(source));
  for (const double literal : v.literals) line += fmt::format(" literal={}", literal);
  return line;
}

std::string print_value(const Value& v) {
  std::string line;
  switch (v.kind) {
    case ValueKind::kActivation:
      line = fmt::format("value {} element={} width={} rows={} slots={}", v.name, text_of(kElements, v.element), v.width, text_of(kRows, v.rows), v.slots);
      break;
    case ValueKind::kWeight: line = print_weight(v); break;
    case ValueKind::kState: line = fmt::format("state {} floats={}", v.name, v.floats); break;
    case ValueKind::kKv: line = fmt::format("kv {} heads={} dim_k={} dim_v={}", v.name, v.kv_heads, v.head_dim_k, v.head_dim_v); break;
  }
  if (v.offset != kNoOffset) line += fmt::format(" offset={} bytes={}", v.offset, v.bytes);
  return line;
}

std::string print_op(const Program& program, const Op& op) {
  const OpSchema& s = schema(op.code);
  std::string line = fmt::format("op {}", s.name);
  for (size_t i = 0; i < s.operands.size(); ++i) {
    if (op.operands[i] != kNoValue) line += fmt::format(" {}={}", s.operands[i].name, program.value(op.operands[i]).name);
  }
  for (size_t i = 0; i < s.attributes.size(); ++i) {
    line += s.attributes[i].is_integer ? fmt::format(" @{}={}", s.attributes[i].name, op.attributes[i].integer)
                                       : fmt::format(" @{}={}", s.attributes[i].name, op.attributes[i].number);
  }
  return line + fmt::format(" label={}", escape(op.label));
}

// One line, cut into words; every field must be asked for by name and none may be left over.
class Line {
 public:
  explicit Line(std::string_view text, size_t number) : number_(number) {
    while (!text.empty()) {
      const size_t space = text.find(' ');
      const std::string_view word = text.substr(0, space);
      if (!word.empty()) words_.push_back(word);
      if (space == std::string_view::npos) break;
      text.remove_prefix(space + 1);
    }
    used_.resize(words_.size());
  }

  std::string_view word(size_t i) {
    if (i >= words_.size()) return {};
    used_[i] = true;
    return words_[i];
  }
  // The next unused field called `name`; empty data() when there is none.
  std::string_view field(std::string_view name) {
    for (size_t i = 2; i < words_.size(); ++i) {
      if (!used_[i] && words_[i].size() > name.size() && words_[i].starts_with(name) && words_[i][name.size()] == '=') {
        used_[i] = true;
        return words_[i].substr(name.size() + 1);
      }
    }
    return {};
  }
  Error error(std::string_view what) const { return Error{fmt::format("program text: line {}: {}", number_, what)}; }

  template <class Int>
  Status integer(std::string_view name, Int& out) {
    const std::string_view text = field(name);
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (text.empty() || failure != std::errc{} || end != text.data() + text.size()) return error(fmt::format("{} is not a number in range", name));
    return {};
  }
  Status number(std::string_view text, double& out) const {
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (text.empty() || failure != std::errc{} || end != text.data() + text.size()) return error("bad number");
    return {};
  }
  template <class Enum, size_t N>
  Status choice(std::string_view name, const std::string_view (&names)[N], Enum& out) {
    const std::string_view text = field(name);
    for (size_t i = 0; i < N; ++i) {
      if (names[i] == text) {
        out = static_cast<Enum>(i);
        return {};
      }
    }
    return error(fmt::format("unknown {} '{}'", name, text.substr(0, 32)));
  }
  Status all_used() const {
    for (size_t i = 0; i < words_.size(); ++i) {
      if (!used_[i]) return error(fmt::format("unknown field '{}'", words_[i].substr(0, 64)));
    }
    return {};
  }

 private:
  size_t number_;
  std::vector<std::string_view> words_;
  std::vector<bool> used_;
};

Status read_strings(Line& line, std::string_view name, std::vector<std::string>& out) {
  for (std::string_view text = line.field(name); text.data() != nullptr; text = line.field(name)) {
    SLUICE_TRY(std::string plain, unescape(text));
    out.push_back(std::move(plain));
  }
  return {};
}

Status read_weight(Line& line, Value& v) {
  v.kind = ValueKind::kWeight;
  SLUICE_TRY_VOID(line.choice("form", kForms, v.form));
  const std::optional<DType> dtype = dtype_from_name(line.field("dtype"));
  if (!dtype) return line.error("unknown dtype");
  v.dtype = *dtype;
  SLUICE_TRY_VOID(line.integer("n", v.n));
  SLUICE_TRY_VOID(line.integer("k", v.k));
  SLUICE_TRY_VOID(line.integer("count", v.count));
  SLUICE_TRY_VOID(line.choice("transform", kTransforms, v.transform));
  SLUICE_TRY_VOID(line.integer("row", v.source_row));
  SLUICE_TRY_VOID(line.integer("rows", v.source_rows));
  SLUICE_TRY_VOID(read_strings(line, "from", v.sources));
  for (std::string_view text = line.field("literal"); text.data() != nullptr; text = line.field("literal")) {
    v.literals.emplace_back();
    SLUICE_TRY_VOID(line.number(text, v.literals.back()));
  }
  return {};
}

Status read_value(Line& line, std::string_view kind, Value& v) {
  v.name = std::string(line.word(1));
  if (v.name.empty() || v.name.size() > limits::kTensorNameBytesMax) return line.error("a value needs a name");
  if (kind == "weight") {
    SLUICE_TRY_VOID(read_weight(line, v));
  } else if (kind == "state") {
    v.kind = ValueKind::kState;
    SLUICE_TRY_VOID(line.integer("floats", v.floats));
  } else if (kind == "kv") {
    v.kind = ValueKind::kKv;
    SLUICE_TRY_VOID(line.integer("heads", v.kv_heads));
    SLUICE_TRY_VOID(line.integer("dim_k", v.head_dim_k));
    SLUICE_TRY_VOID(line.integer("dim_v", v.head_dim_v));
  } else {
    v.kind = ValueKind::kActivation;
    SLUICE_TRY_VOID(line.choice("element", kElements, v.element));
    SLUICE_TRY_VOID(line.integer("width", v.width));
    SLUICE_TRY_VOID(line.choice("rows", kRows, v.rows));
    SLUICE_TRY_VOID(line.integer("slots", v.slots));
  }
  if (const std::string_view offset = line.field("offset"); offset.data() != nullptr) {
    const auto [end, failure] = std::from_chars(offset.data(), offset.data() + offset.size(), v.offset);
    if (failure != std::errc{} || end != offset.data() + offset.size()) return line.error("bad offset");
    SLUICE_TRY_VOID(line.integer("bytes", v.bytes));
  }
  return line.all_used();
}

using Names = std::unordered_map<std::string, ValueId>;

Status read_op(Line& line, const Names& names, Op& op) {
  const std::optional<OpCode> code = op_from_name(line.word(1));
  if (!code) return line.error("unknown op");
  op.code = *code;
  const OpSchema& s = schema(op.code);
  for (const OperandSpec& operand : s.operands) {
    const std::string_view text = line.field(operand.name);
    if (text.data() == nullptr) {
      op.operands.push_back(kNoValue);
      continue;
    }
    const auto found = names.find(std::string(text));
    if (found == names.end()) return line.error(fmt::format("no value is called '{}'", text.substr(0, 64)));
    op.operands.push_back(found->second);
  }
  for (const AttributeSpec& attribute : s.attributes) {
    Attribute value;
    const std::string name = "@" + std::string(attribute.name);
    if (attribute.is_integer) {
      SLUICE_TRY_VOID(line.integer(name, value.integer));
    } else {
      SLUICE_TRY_VOID(line.number(line.field(name), value.number));
    }
    op.attributes.push_back(value);
  }
  SLUICE_TRY(op.label, unescape(line.field("label")));
  return line.all_used();
}

Status read_facts(Line& line, ModelFacts& facts) {
  SLUICE_TRY(facts.family, unescape(line.word(1)));
  SLUICE_TRY(facts.name, unescape(line.field("name")));
  SLUICE_TRY_VOID(line.integer("layers", facts.layers));
  SLUICE_TRY_VOID(line.integer("vocabulary", facts.vocabulary));
  SLUICE_TRY_VOID(line.integer("context", facts.context_max));
  SLUICE_TRY_VOID(line.integer("hidden", facts.hidden));
  SLUICE_TRY_VOID(line.integer("params", facts.params_total));
  SLUICE_TRY_VOID(line.integer("active", facts.params_active));
  return line.all_used();
}

}  // namespace

std::string print(const Program& program) {
  const ModelFacts& f = program.facts;
  std::string out = fmt::format("{}\nmodel {} name={} layers={} vocabulary={} context={} hidden={} params={} active={}\n", kHeader, escape(f.family),
                                escape(f.name), f.layers, f.vocabulary, f.context_max, f.hidden, f.params_total, f.params_active);
  for (const Value& value : program.values) out += print_value(value) + "\n";
  for (const Op& op : program.ops) out += print_op(program, op) + "\n";
  out += fmt::format("logits {}\n", program.value(program.logits).name);
  return out;
}

Result<Program> parse(std::string_view text) {
  Program program;
  Names names;
  size_t number = 0;
  bool has_header = false, has_logits = false;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view raw = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    ++number;
    if (raw.empty() || raw[0] == '#') continue;
    Line line(raw, number);
    const std::string_view kind = line.word(0);
    if (!has_header) {
      if (raw != kHeader) return line.error(fmt::format("expected '{}'", kHeader));
      has_header = true;
    } else if (kind == "model") {
      SLUICE_TRY_VOID(read_facts(line, program.facts));
    } else if (kind == "op") {
      SLUICE_TRY_VOID(read_op(line, names, program.ops.emplace_back()));
    } else if (kind == "logits") {
      const auto found = names.find(std::string(line.word(1)));
      if (found == names.end()) return line.error("the logits are no value");
      program.logits = found->second;
      has_logits = true;
    } else if (kind == "value" || kind == "weight" || kind == "state" || kind == "kv") {
      if (program.values.size() >= limits::kTensorsMax) return line.error("too many values");
      Value value;
      SLUICE_TRY_VOID(read_value(line, kind, value));
      if (!names.emplace(value.name, static_cast<ValueId>(program.values.size())).second) return line.error("the name is taken");
      program.values.push_back(std::move(value));
    } else {
      return line.error("unknown kind of line");
    }
  }
  if (!has_logits) return Error{"program text: it ends before the logits"};
  return program;
}

}  // namespace sluice::program
