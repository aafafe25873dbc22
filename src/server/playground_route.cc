#include "server/playground_route.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>

#include "base/check.h"

extern "C" {
extern const char sluice_playground_begin[];
extern const char sluice_playground_end[];
}

namespace sluice::server {
namespace {

// 'sha256-...' of the text between <TAG> and </TAG>, as Content-Security-Policy names the one inline element that may run.
std::string hash_of(std::string_view page, std::string_view tag) {
  const std::string open = fmt::format("<{}>", tag), close = fmt::format("</{}>", tag);
  const size_t begin = page.find(open) + open.size();
  const std::string_view text = page.substr(begin, page.find(close) - begin);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  SLUICE_CHECK(EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr) == 1);
  std::array<unsigned char, 2 * EVP_MAX_MD_SIZE> encoded{};
  const int length = EVP_EncodeBlock(encoded.data(), digest.data(), static_cast<int>(size));
  return fmt::format("'sha256-{}'", std::string_view(reinterpret_cast<const char*>(encoded.data()), static_cast<size_t>(length)));
}

}  // namespace

Route playground_route() {
  const std::string_view page(sluice_playground_begin, static_cast<size_t>(sluice_playground_end - sluice_playground_begin));
  auto response = std::make_shared<HttpResponse>();
  response->content_type = "text/html; charset=utf-8";
  response->body = page;
  response->headers = {{"content-security-policy",
                        fmt::format("default-src 'none'; img-src data:; connect-src 'self'; script-src {}; style-src {}; style-src-attr 'unsafe-inline'; "
                                    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                                    hash_of(page, "script"), hash_of(page, "style"))},
                       {"referrer-policy", "no-referrer"}};
  return {.method = "GET",
          .pattern = "/",
          .handler = [response](const std::shared_ptr<Exchange>& exchange) { exchange->respond(*response); },
          .fast = true,
          .body_bytes_max = 0,
          .page = response,
          .summary = "The playground: a page to talk with the model"};
}

}  // namespace sluice::server
