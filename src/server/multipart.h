// multipart/form-data (RFC 7578), as clients upload files. Contract: views into `body`; every part ends with its boundary or the whole is refused; at most
// 16 parts with headers of 4 KiB. Next: file_routes.cc.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/api_error.h"

namespace sluice::server {

struct FormPart {
  std::string name, file_name;         // valid UTF-8
  bool is_file = false;
  std::string_view content;
};

Refused parse_form(std::string_view content_type, std::string_view body, std::vector<FormPart>& out);

}  // namespace sluice::server
