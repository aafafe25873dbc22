// The filters on text and numbers, found through find_filter(). Contract: as template_builtins.h. Next: template_text_filters.cc.
#pragma once

#include <string_view>

#include "text/template_builtins.h"

namespace sluice::text::jinja {

const Builtin* find_text_filter(std::string_view name);

}  // namespace sluice::text::jinja
