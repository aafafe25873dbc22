// `sluice constrain check FILE`: is a schema, a grammar or a regular expression supported, what does it cost, what does it accept.
#include <fmt/format.h>

#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "platform/file.h"
#include "text/constraint_check.h"

namespace sluice::cli {
namespace {

using nlohmann::ordered_json;
using text::ConstraintKind;

// By the file's name, else by what it looks like.
Result<std::string> kind_of(const ConstrainCheckOptions& options, const std::string& text) {
  if (!options.kind.empty()) return options.kind;
  if (options.file.ends_with(".json")) return std::string("schema");
  if (options.file.ends_with(".gbnf") || options.file.ends_with(".ebnf")) return std::string("grammar");
  if (options.file.ends_with(".regex")) return std::string("regex");
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && text[first] == '{' && text.find('"') != std::string::npos) return std::string("schema");
  if (text.find("::=") != std::string::npos) return std::string("grammar");
  return Error{fmt::format("{}: neither .json, .gbnf nor .regex; say --kind schema, grammar or regex", options.file)};
}

Result<text::ConstraintSpec> spec_of(const ConstrainCheckOptions& options, std::string& kind) {
  text::ConstraintSpec spec;
  if (options.file == "-") {
    spec.text.assign(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  } else {
    SLUICE_TRY(spec.text, platform::read_whole_file(options.file, limits::kConstraintSourceBytesMax));
  }
  SLUICE_TRY(kind, kind_of(options, spec.text));
  spec.kind = kind == "schema" ? ConstraintKind::kJsonSchema : kind == "grammar" ? ConstraintKind::kGrammar : ConstraintKind::kRegex;
  if (spec.kind == ConstraintKind::kRegex) {
    while (!spec.text.empty() && (spec.text.back() == '\n' || spec.text.back() == '\r')) spec.text.pop_back();  // the file's last line break
  }
  if (options.space == "spaced") spec.space = text::JsonSpace::kSpaced;
  if (options.space == "flexible") spec.space = text::JsonSpace::kFlexible;
  return spec;
}

void print_json(const ordered_json& out) { fmt::print("{}\n", out.dump(2, ' ', false, ordered_json::error_handler_t::replace)); }

}  // namespace

int constrain_check(const ConstrainCheckOptions& options) {
  std::string kind;
  const Result<text::ConstraintSpec> spec = spec_of(options, kind);
  if (!spec.ok()) return fail(spec.error());
  const text::ConstraintBudget budget;
  const Result<text::ConstraintReport> report = text::check_constraint(*spec, budget, options.samples, options.seed);
  if (!report.ok()) {
    if (!options.json) return fail(Error{fmt::format("{}: {}", options.file, report.error().message)});
    print_json({{"file", options.file}, {"kind", kind}, {"supported", false}, {"error", report.error().message}});
    return 1;
  }
  if (options.json) {
    print_json({{"file", options.file}, {"kind", kind}, {"supported", true}, {"states", report->states}, {"bytes", report->bytes},
                {"steps", report->steps}, {"steps_max", budget.steps_max}, {"samples", report->samples}});
    return 0;
  }
  fmt::print("{}: a {} that can be enforced: {} states, {}, {:.1f} % of the steps that compiling may take\n", options.file, kind, report->states,
             bytes_text(report->bytes), 100.0 * static_cast<double>(report->steps) / static_cast<double>(budget.steps_max));
  if (!report->samples.empty()) fmt::print("It accepts, for example (... where a text has no end in sight):\n");
  for (const std::string& sample : report->samples) fmt::print("  {}\n", sample);
  return 0;
}

}  // namespace sluice::cli
