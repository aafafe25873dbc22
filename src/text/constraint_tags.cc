// Free text, triggers, structures, and back to free text. Contract: text/constraint_tags.h. Next: text/grammar_free_text.cc.
#include "text/constraint_tags.h"

#include <algorithm>

#include "text/grammar_free_text.h"
#include "text/grammar_gbnf.h"
#include "text/json_schema.h"
#include "text/regex.h"
#include "text/schema_value.h"

namespace sluice::text {
namespace {

using Kind = SchemaValue::Kind;

Status check_triggers(const std::vector<TagStructure>& structures, const std::vector<std::string>& triggers) {
  for (const std::string& trigger : triggers) {
    if (trigger.empty()) return Error{"a structural tag has an empty trigger or begin"};
    for (const std::string& other : triggers) {
      if (&other != &trigger && other.find(trigger) != std::string::npos) {
        return Error{"the trigger '" + trigger + "' occurs inside the trigger '" + other + "'"};
      }
    }
  }
  for (const TagStructure& structure : structures) {
    const bool triggered =
        std::any_of(triggers.begin(), triggers.end(), [&](const std::string& trigger) { return structure.begin.starts_with(trigger); });
    if (!triggered) return Error{"no trigger begins the structure '" + structure.begin.substr(0, 60) + "'"};
  }
  return {};
}

Result<std::string> string_member(const SchemaValue& object, std::string_view name) {
  const SchemaValue* value = object.find(name);
  if (value == nullptr || !value->is(Kind::kString)) return Error{"a structural tag needs '" + std::string(name) + "' to be a string"};
  return value->string;
}

Result<RuleId> content_rule(const SchemaValue& structure, JsonSpace space, Grammar& grammar) {
  const SchemaValue *schema = structure.find("schema"), *regex = structure.find("regex"), *rules = structure.find("grammar");
  if ((schema != nullptr) + (regex != nullptr) + (rules != nullptr) != 1) {
    return Error{"a structural tag needs exactly one of 'schema', 'regex' and 'grammar'"};
  }
  if (schema != nullptr) {
    SLUICE_TRY_VOID(build_json_schema(canonical_json(*schema), space, grammar));
    return grammar.root;
  }
  if (!(regex != nullptr ? regex : rules)->is(Kind::kString)) return Error{"'regex' and 'grammar' of a structural tag must be strings"};
  if (rules != nullptr) {
    SLUICE_TRY_VOID(build_gbnf(rules->string, grammar));
    return grammar.root;
  }
  SLUICE_TRY(const CharDfa dfa, compile_regex(regex->string, RegexMatch::kWhole, grammar.allowance()));
  const RuleId rule = grammar.add_rule();
  grammar.empty(rule, grammar.text(rule, kRuleStart, dfa, TextForm::kRaw), kRuleEnd);
  return rule;
}

Status check_members(const SchemaValue& object, std::initializer_list<std::string_view> known) {
  if (!object.is(Kind::kObject)) return Error{"structural tags and their structures must be JSON objects"};
  for (const auto& [name, value] : object.members) {
    if (std::find(known.begin(), known.end(), name) == known.end())
      return Error{"unsupported member '" + name.substr(0, 60) + "' of structural tags"};
  }
  return {};
}

Result<bool> flag(const SchemaValue& object, std::string_view name) {
  const SchemaValue* value = object.find(name);
  if (value == nullptr) return false;
  if (!value->is(Kind::kBool)) return Error{"'" + std::string(name) + "' of structural tags must be true or false"};
  return value->boolean;
}

}  // namespace

Status add_tags(Grammar& grammar, const std::vector<TagStructure>& structures, const TagOptions& options) {
  std::vector<std::string> triggers = options.triggers;
  for (const TagStructure& structure : structures) {
    if (options.triggers.empty() && std::find(triggers.begin(), triggers.end(), structure.begin) == triggers.end()) {
      triggers.push_back(structure.begin);
    }
  }
  SLUICE_TRY_VOID(check_triggers(structures, triggers));
  const RuleId rule = grammar.add_rule();
  const StateId later = grammar.add_state(rule);  // free text behind a structure
  const auto text = [&](StateId from, bool may_end) -> Status {
    SLUICE_TRY(const FreeText free, add_free_text(grammar, rule, from, triggers));
    for (const StateId state : free.text) {
      if (may_end) grammar.empty(rule, state, kRuleEnd);
    }
    for (const TagStructure& structure : structures) {
      for (size_t t = 0; t < triggers.size(); ++t) {
        if (!structure.begin.starts_with(triggers[t])) continue;
        const StateId inside = grammar.literal(rule, free.after[t], std::string_view(structure.begin).substr(triggers[t].size()));
        const StateId behind = grammar.add_state(rule);
        grammar.call(rule, inside, behind, structure.content);
        const StateId end = structure.end.empty() ? behind : grammar.marker(rule, behind, structure.end);
        grammar.empty(rule, end, options.stop_after_first ? kRuleEnd : later);
      }
    }
    return grammar.status();
  };
  SLUICE_TRY_VOID(text(kRuleStart, !options.at_least_one));
  if (!options.stop_after_first) SLUICE_TRY_VOID(text(later, true));
  grammar.root = rule;
  return {};
}

Status build_structural_tags(std::string_view text, JsonSpace space, Grammar& grammar) {
  SLUICE_TRY(const SchemaValue tags, parse_schema_value(text));
  SLUICE_TRY_VOID(check_members(tags, {"type", "structures", "triggers", "at_least_one", "stop_after_first"}));
  const SchemaValue *list = tags.find("structures"), *triggers = tags.find("triggers");
  if (list == nullptr || !list->is(Kind::kArray) || list->items.empty()) return Error{"structural tags need a list of 'structures'"};
  TagOptions options;
  SLUICE_TRY(options.at_least_one, flag(tags, "at_least_one"));
  SLUICE_TRY(options.stop_after_first, flag(tags, "stop_after_first"));
  if (triggers != nullptr && !triggers->is(Kind::kArray)) return Error{"'triggers' of structural tags must be a list of strings"};
  for (size_t i = 0; triggers != nullptr && i < triggers->items.size(); ++i) {
    if (!triggers->items[i].is(Kind::kString)) return Error{"'triggers' of structural tags must be a list of strings"};
    options.triggers.push_back(triggers->items[i].string);
  }
  std::vector<TagStructure> structures;
  for (const SchemaValue& item : list->items) {
    SLUICE_TRY_VOID(check_members(item, {"begin", "end", "schema", "regex", "grammar"}));
    TagStructure structure;
    SLUICE_TRY(structure.begin, string_member(item, "begin"));
    SLUICE_TRY(structure.end, string_member(item, "end"));
    SLUICE_TRY(structure.content, content_rule(item, space, grammar));
    structures.push_back(std::move(structure));
  }
  return add_tags(grammar, structures, options);
}

}  // namespace sluice::text
