// Turns a template's source into its Ast.
// Contract: any text gives an Ast or a sentence with the line; nesting and size are limited (base/limits.h). Next: template_ast.h.
#pragma once

#include <memory>
#include <string_view>

#include "base/result.h"
#include "text/template_ast.h"

namespace sluice::text::jinja {

Result<std::unique_ptr<Ast>> parse_template(std::string_view source);

}  // namespace sluice::text::jinja
