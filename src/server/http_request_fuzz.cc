// Any bytes as HTTP requests, offered whole and in two pieces: the parser gives the same requests, holds no more than its limits, and never goes on behind
// a request that it refused.
#include <algorithm>
#include <string>
#include <string_view>

#include "base/check.h"
#include "server/http_parser.h"
#include "server/limits.h"

using namespace sluice::server;

namespace {

constexpr uint64_t kBodyMax = 4096;

// What was understood, as text.
std::string read_all(std::string_view bytes, size_t first_piece) {
  std::string out, held;
  RequestParser parser;
  for (const std::string_view piece : {bytes.substr(0, first_piece), bytes.substr(first_piece)}) {
    held += piece;
    while (true) {
      held.erase(0, parser.feed(held));
      SLUICE_CHECK(parser.request().body.size() <= kBodyMax && parser.request().headers.size() <= limits::kHttpFieldsMax);
      if (parser.state() == RequestParser::State::kHead) {
        out += parser.request().method + " " + parser.request().path + "\n";
        parser.read_body(kBodyMax);
        continue;
      }
      if (parser.state() == RequestParser::State::kDone) {
        out += parser.request().body + "\n";
        parser.reset();
        if (!held.empty()) continue;
      }
      break;
    }
    if (parser.state() == RequestParser::State::kFailed) {
      SLUICE_CHECK(parser.failure().status >= 400 && !parser.failure().message.empty());
      SLUICE_CHECK(parser.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n") == 0);
      return out;
    }
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  SLUICE_CHECK(read_all(bytes, size) == read_all(bytes, size / 2));
  return 0;
}
