// Names that come out of files: which ones are taken, and how they are shown in messages (a file cannot write control codes to a terminal).
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::weights {

// Well-formed UTF-8: no overlong forms, surrogates or values above U+10FFFF (Unicode 15, table 3-7).
bool is_utf8(std::string_view text);
// The same text with every malformed byte replaced by U+FFFD.
std::string to_utf8(std::string_view text);

// "text", shortened and with anything unprintable as \xNN.
std::string shown(std::string_view text);

// Tensor names: 1 to limits::kTensorNameBytesMax bytes of UTF-8 without control characters.
Status check_tensor_name(std::string_view name);

// A file name in the folder that names it: no separator, no "..", no control character, not hidden, at most 255 bytes.
Status check_file_name(std::string_view name);

}  // namespace sluice::weights
