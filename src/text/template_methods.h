// Methods of strings, found through find_method(). Contract: as template_builtins.h. Next: template_methods.cc.
#pragma once

#include <string_view>

#include "text/template_builtins.h"

namespace sluice::text::jinja {

const Builtin* find_string_method(std::string_view name);

}  // namespace sluice::text::jinja
