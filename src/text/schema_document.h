// One JSON Schema as read: its draft, its references, and the promise that every keyword in it is one we know.
// Contract: keywords that restrict and are not supported are refused by name here or where they are used; annotations are the only thing
// ignored. Next: text/schema_scalars.h, text/schema_shapes.h, text/json_schema.h.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "text/constraint_budget.h"
#include "text/schema_value.h"

namespace sluice::text {

class SchemaDocument {
 public:
  static Result<std::unique_ptr<SchemaDocument>> parse(std::string_view text, Allowance& allowance);

  const SchemaValue& root() const { return root_; }
  bool draft7() const { return draft7_; }
  // The schema that a `$ref` of this document means.
  Result<const SchemaValue*> resolve(const std::string& reference) const;
  // Every keyword of one schema object (not of its parts) is known and has a value of the right type.
  Status check(const SchemaValue& schema) const;

 private:
  Status collect_anchors(const SchemaValue& schema, bool at_root, Allowance& allowance);
  Status read_draft();

  SchemaValue root_;
  bool draft7_ = false;
  std::string base_;  // the root's $id
  std::map<std::string, const SchemaValue*, std::less<>> anchors_;
  mutable std::map<const SchemaValue*, bool> checked_;
};

// A count such as minLength: an integer from 0 to limits::kConstraintRepeatMax.
Result<uint64_t> count_keyword(const SchemaValue& schema, std::string_view keyword, uint64_t otherwise);

}  // namespace sluice::text
