#include "hub/transfer.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "platform/file.h"

namespace sluice::hub {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kBytesMax = 1ull << 43;
constexpr long kConnectTimeoutS = 30, kStallS = 60, kRedirectsMax = 5;
constexpr uint64_t kNoteBytesMax = 1u << 16;
constexpr size_t kReadBytes = 1u << 20;

struct FreeCurl {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using Handle = std::unique_ptr<CURL, FreeCurl>;

bool is_hex(std::string_view text, size_t digits) { return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos; }

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return out;
}

std::string part_of(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, 0) != CURLUE_OK || text == nullptr) return "";
  std::string out(text);
  curl_free(text);
  return out;
}

bool on_this_machine(std::string_view host) { return host == "127.0.0.1" || host == "[::1]" || host == "localhost"; }

// What the answers on the way said, the last one's for the body.
struct Answer {
  long status = 0;
  std::string etag, linked_etag, content_range;
  uint64_t length = 0;
  bool has_length = false;
};

void note_header(Answer& answer, std::string_view line) {
  if (line.starts_with("HTTP/")) {
    const std::string linked = std::move(answer.linked_etag);
    answer = {};
    answer.linked_etag = linked;
    const size_t space = line.find(' ');
    if (space != std::string_view::npos) std::from_chars(line.data() + space + 1, line.data() + line.size(), answer.status);
    return;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return;
  const std::string name = lower(line.substr(0, colon));
  std::string_view value = line.substr(colon + 1);
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && static_cast<unsigned char>(value.back()) <= ' ') value.remove_suffix(1);
  if (name == "etag") answer.etag = value;
  if (name == "x-linked-etag") answer.linked_etag = value;
  if (name == "content-range") answer.content_range = value;
  if (name == "content-length") answer.has_length = std::from_chars(value.data(), value.data() + value.size(), answer.length).ec == std::errc{};
}

size_t on_header(char* data, size_t size, size_t count, void* answer) {
  note_header(*static_cast<Answer*>(answer), {data, size * count});
  return size * count;
}

Result<Handle> handle_for(const std::string& url, const std::string& token, Answer& answer, char* error_text) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  SLUICE_TRY_VOID(check_url(url));
  Handle handle(ready == CURLE_OK ? curl_easy_init() : nullptr);
  if (!handle) return Error{"libcurl cannot be started"};
  CURL* curl = handle.get();
  const char* protocols = url.starts_with("https") ? "https" : "http,https";
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, protocols);
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, kRedirectsMax);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectTimeoutS);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, kStallS);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "sluice");
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error_text);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &answer);
  if (!token.empty()) {  // unlike a header of our own, this is not sent to where a redirect leads
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
    curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, token.c_str());
  }
  return handle;
}

std::string status_sentence(const std::string& url, long status) {
  const bool refused = status == 401 || status == 403;
  const char* hint = refused ? " (is it private or gated? HF_TOKEN holds the token)" : status == 404 ? " (no such file or repository)" : "";
  return fmt::format("{}: the server answered {}{}", url, status, hint);
}

bool worth_another_try(CURLcode code, long status) {
  switch (code) {
    case CURLE_OK: return status == 408 || status == 429 || status >= 500;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_SSL_CONNECT_ERROR: return true;
    default: return false;
  }
}

// One file on its way: NAME.part, its size, and the note that says of what it is a part.
class Part {
 public:
  static Result<Part> open(const FileRequest& request) {
    Part part(request);
    part.descriptor_ = ::open(part.path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (part.descriptor_ < 0) return part.error("create");
    if (::flock(part.descriptor_, LOCK_EX | LOCK_NB) != 0) return Error{fmt::format("{}: another `sluice pull` is at it", part.path_.string())};
    struct stat status {};
    if (::fstat(part.descriptor_, &status) != 0) return part.error("read");
    part.bytes_ = static_cast<uint64_t>(status.st_size);
    part.read_note();
    return part;
  }
  Part(Part&& other) noexcept : request_(other.request_), path_(std::move(other.path_)), note_(std::move(other.note_)), etag_(std::move(other.etag_)),
        descriptor_(std::exchange(other.descriptor_, -1)), bytes_(other.bytes_), total_(other.total_) {}
  ~Part() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  uint64_t bytes() const { return bytes_; }
  uint64_t total() const { return total_; }
  const std::string& etag() const { return etag_; }
  const fs::path& path() const { return path_; }
  int descriptor() const { return descriptor_; }

  Status restart() {
    if (::ftruncate(descriptor_, 0) != 0) return error("empty");
    bytes_ = 0;
    return {};
  }
  // What the server says of the file, before the first byte of this answer.
  Status expect(uint64_t total, const std::string& etag) {
    if (request_.bytes != 0 && total != 0 && total != request_.bytes) {
      return Error{fmt::format("{}: the server sends {} bytes, {} were announced", request_.url, total, request_.bytes)};
    }
    if (total > kBytesMax) return Error{fmt::format("{}: {} bytes; the limit is {}", request_.url, total, kBytesMax)};
    total_ = total;
    etag_ = etag;
    const nlohmann::json note = {{"url", request_.url}, {"etag", etag_}, {"bytes", total_}};
    SLUICE_TRY(platform::AtomicFile file, platform::AtomicFile::create(note_));
    SLUICE_TRY_VOID(file.write(note.dump() + "\n"));
    SLUICE_TRY_VOID(file.commit());
    if (total_ > bytes_ && ::fallocate(descriptor_, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(total_)) != 0 && errno == ENOSPC) {
      return Error{fmt::format("{}: the disk has no room for {} bytes", path_.string(), total_)};
    }
    return {};
  }
  Status append(std::string_view data) {
    if (bytes_ + data.size() > (total_ != 0 ? total_ : kBytesMax)) return Error{fmt::format("{}: the server sends more than it announced", request_.url)};
    while (!data.empty()) {
      const ssize_t done = ::pwrite(descriptor_, data.data(), data.size(), static_cast<off_t>(bytes_));
      if (done < 0 && errno == EINTR) continue;
      if (done <= 0) return error("write");
      bytes_ += static_cast<uint64_t>(done);
      data.remove_prefix(static_cast<size_t>(done));
    }
    return {};
  }
  Status put_in_place() {
    if (::fsync(descriptor_) != 0) return error("sync");
    if (::rename(path_.c_str(), request_.path.c_str()) != 0) return error("put in place");
    std::error_code ignored;
    fs::remove(note_, ignored);
    const int folder = ::open(request_.path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) {
      ::fsync(folder);
      ::close(folder);
    }
    return {};
  }
  void discard() {
    std::error_code ignored;
    fs::remove(path_, ignored);
    fs::remove(note_, ignored);
  }

 private:
  explicit Part(const FileRequest& request) : request_(request), path_(request.path.string() + ".part"), note_(request.path.string() + ".part.json") {}
  Error error(std::string_view doing) const { return Error{fmt::format("cannot {} {}: {}", doing, path_.string(), std::strerror(errno))}; }
  void read_note() {
    std::error_code ignored;
    if (!fs::exists(note_, ignored)) return;
    const Result<std::string> text = platform::read_whole_file(note_, kNoteBytesMax);
    const nlohmann::json note = nlohmann::json::parse(text.ok() ? *text : "", nullptr, false);
    if (!note.is_object() || note.value("url", "") != request_.url) return;
    if (note.contains("etag") && note["etag"].is_string()) etag_ = note["etag"].get<std::string>();
    if (note.contains("bytes") && note["bytes"].is_number_unsigned()) total_ = note["bytes"].get<uint64_t>();
  }

  const FileRequest& request_;
  fs::path path_, note_;
  std::string etag_;
  int descriptor_ = -1;
  uint64_t bytes_ = 0, total_ = 0;
};

struct Receiving {
  Part& part;
  const FileRequest& request;
  Answer answer;
  Status failed;
  bool begun = false;
};

// "bytes 5-99/100" that goes on where the part ends: the whole size.
bool continues(const std::string& range, uint64_t from, uint64_t& total) {
  uint64_t begin = 0, end = 0;
  if (!range.starts_with("bytes ")) return false;
  const char* at = range.data() + 6;
  const char* stop = range.data() + range.size();
  const auto number = [&](uint64_t& out, char after) {
    const auto [next, error] = std::from_chars(at, stop, out);
    if (error != std::errc{} || (after != 0 && (next == stop || *next != after))) return false;
    at = next + (after != 0);
    return true;
  };
  return number(begin, '-') && number(end, '/') && number(total, 0) && begin == from && end >= begin && end + 1 == total;
}

Status begin_body(Receiving& receiving) {
  uint64_t total = receiving.answer.has_length ? receiving.answer.length : 0;
  if (receiving.answer.status == 206) {
    if (!continues(receiving.answer.content_range, receiving.part.bytes(), total)) {
      return Error{fmt::format("{}: asked for the bytes from {}, the server sends '{}'", receiving.request.url, receiving.part.bytes(),
                               receiving.answer.content_range)};
    }
  } else if (receiving.part.bytes() != 0) {
    SLUICE_TRY_VOID(receiving.part.restart());
  }
  return receiving.part.expect(total, receiving.answer.etag);
}

size_t on_body(char* data, size_t size, size_t count, void* context) {
  Receiving& receiving = *static_cast<Receiving*>(context);
  const size_t bytes = size * count;
  if (receiving.answer.status != 200 && receiving.answer.status != 206) return bytes;  // the page of an error
  if (!std::exchange(receiving.begun, true)) receiving.failed = begin_body(receiving);
  if (receiving.failed.ok()) receiving.failed = receiving.part.append({data, bytes});
  if (receiving.failed.ok() && receiving.request.progress) receiving.request.progress(receiving.part.bytes(), receiving.part.total());
  return receiving.failed.ok() ? bytes : 0;
}

struct Attempt {
  bool done = false;
  bool again = false;
  Error why;
  std::string linked_etag;
};

Attempt attempt(const FileRequest& request, Part& part, bool checksum_known) {
  char error_text[CURL_ERROR_SIZE] = "";
  Receiving receiving{part, request, {}, {}, false};
  Attempt out;
  Result<Handle> handle = handle_for(request.url, request.token, receiving.answer, error_text);
  if (!handle.ok()) return {false, false, handle.error(), ""};
  CURL* curl = handle->get();
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &receiving);
  const bool strong = part.etag().starts_with('"');
  std::unique_ptr<curl_slist, FreeCurl> headers;
  const std::string range = fmt::format("{}-", part.bytes());
  if (part.bytes() != 0 && (strong || checksum_known)) {
    curl_easy_setopt(curl, CURLOPT_RANGE, range.c_str());
    if (strong) headers.reset(curl_slist_append(nullptr, ("If-Range: " + part.etag()).c_str()));
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
  } else if (part.bytes() != 0) {
    const Status empty = part.restart();
    if (!empty.ok()) return {false, false, empty.error(), ""};
  }
  const CURLcode code = curl_easy_perform(curl);
  out.linked_etag = receiving.answer.linked_etag.empty() ? receiving.answer.etag : receiving.answer.linked_etag;
  const long status = receiving.answer.status;
  if (!receiving.failed.ok()) return {false, false, receiving.failed.error(), ""};
  if (code == CURLE_OK && status == 416) {  // there is nothing after what we have: either it is whole, or it is of another file
    if (part.total() != 0 && part.bytes() == part.total()) {
      out.done = true;
      return out;
    }
    const Status empty = part.restart();
    return {false, empty.ok(), empty.ok() ? Error{fmt::format("{}: what was here is no part of it", request.url)} : empty.error(), ""};
  }
  if (code == CURLE_OK && (status == 200 || status == 206)) {
    if (!receiving.begun) receiving.failed = begin_body(receiving);  // an empty file
    if (!receiving.failed.ok()) return {false, false, receiving.failed.error(), ""};
    out.done = true;
    return out;
  }
  out.again = worth_another_try(code, status);
  out.why = Error{code == CURLE_OK ? status_sentence(request.url, status)
                                   : fmt::format("{}: {}", request.url, *error_text != 0 ? error_text : curl_easy_strerror(code))};
  return out;
}

std::string hex(std::span<const unsigned char> bytes) {
  std::string out;
  for (const unsigned char byte : bytes) out += fmt::format("{:02x}", byte);
  return out;
}

Result<std::string> digest_of(const Part& part, const EVP_MD* kind, const std::string& before) {
  const std::unique_ptr<EVP_MD_CTX, FreeCurl> context(EVP_MD_CTX_new());
  EVP_DigestInit_ex(context.get(), kind, nullptr);
  EVP_DigestUpdate(context.get(), before.data(), before.size());
  std::vector<char> buffer(kReadBytes);
  for (uint64_t at = 0; at < part.bytes();) {
    const ssize_t got = ::pread(part.descriptor(), buffer.data(), buffer.size(), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Error{fmt::format("cannot read {} back: {}", part.path().string(), got == 0 ? "it has become shorter" : std::strerror(errno))};
    EVP_DigestUpdate(context.get(), buffer.data(), static_cast<size_t>(got));
    at += static_cast<uint64_t>(got);
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_DigestFinal_ex(context.get(), digest, &length);
  return hex({digest, length});
}

}  // namespace

Status check_url(std::string_view url) {
  const std::string text(url);
  const std::unique_ptr<CURLU, FreeCurl> parsed(curl_url());
  if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) return Error{fmt::format("'{}' is no address", text)};
  const std::string scheme = part_of(parsed.get(), CURLUPART_SCHEME), host = part_of(parsed.get(), CURLUPART_HOST);
  if (!part_of(parsed.get(), CURLUPART_PASSWORD).empty()) return Error{"an address with a password in it is not taken"};
  if (scheme == "https" || (scheme == "http" && on_this_machine(host))) return {};
  return Error{fmt::format("'{}': models come by https:// (http:// only from this machine)", text)};
}

std::string percent_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    const bool plain = letter || std::string_view("-._~/").find(c) != std::string_view::npos;
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

Result<std::string> fetch_text(const std::string& url, const std::string& token, uint64_t bytes_max) {
  struct Body {
    std::string text;
    uint64_t max;
  } body{"", bytes_max};
  char error_text[CURL_ERROR_SIZE] = "";
  Answer answer;
  SLUICE_TRY(const Handle handle, handle_for(url, token, answer, error_text));
  const auto append = +[](char* data, size_t size, size_t count, void* context) -> size_t {
    Body& into = *static_cast<Body*>(context);
    if (into.text.size() + size * count > into.max) return 0;
    into.text.append(data, size * count);
    return size * count;
  };
  curl_easy_setopt(handle.get(), CURLOPT_WRITEFUNCTION, append);
  curl_easy_setopt(handle.get(), CURLOPT_WRITEDATA, &body);
  const CURLcode code = curl_easy_perform(handle.get());
  if (code == CURLE_WRITE_ERROR) return Error{fmt::format("{}: the answer has more than {} bytes", url, bytes_max)};
  if (code != CURLE_OK) return Error{fmt::format("{}: {}", url, *error_text != 0 ? error_text : curl_easy_strerror(code))};
  if (answer.status != 200) return Error{status_sentence(url, answer.status)};
  return std::move(body.text);
}

Result<FileResult> fetch_file(const FileRequest& request) {
  std::string expected = lower(request.sha256);
  if (!expected.empty() && !is_hex(expected, 64)) return Error{fmt::format("--sha256 {}: must be 64 hex digits", request.sha256)};
  SLUICE_TRY_VOID(check_url(request.url));
  SLUICE_TRY(Part part, Part::open(request));
  FileResult result{.resumed_at = part.bytes()};
  uint32_t tries_left = std::max(1u, request.attempts);
  uint32_t wait_ms = request.wait_ms;
  const bool whole = request.bytes != 0 && part.bytes() == request.bytes && !expected.empty();  // all was there but the check
  for (bool done = whole; !done;) {
    const uint64_t before = part.bytes();
    const Attempt tried = attempt(request, part, !expected.empty());
    done = tried.done;
    std::string said = tried.linked_etag;
    std::erase(said, '"');
    if (expected.empty() && is_hex(said, 64)) expected = said;
    if (done) break;
    if (!tried.again) return tried.why;
    if (part.bytes() > before) {
      tries_left = std::max(1u, request.attempts);
      wait_ms = request.wait_ms;
    }
    if (--tries_left == 0) {
      return Error{fmt::format("{}; {} bytes are kept and the next pull goes on from there", tried.why.message, part.bytes())};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(wait_ms));
    wait_ms = std::min(wait_ms * 2, 30'000u);
  }
  if (part.total() != 0 && part.bytes() != part.total()) {
    return Error{fmt::format("{}: {} of {} bytes came; the next pull goes on from there", request.url, part.bytes(), part.total())};
  }
  result.bytes = part.bytes();
  SLUICE_TRY(result.sha256, digest_of(part, EVP_sha256(), ""));
  std::string actual = result.sha256;
  if (expected.empty() && is_hex(request.git_sha1, 40)) {
    expected = request.git_sha1;
    SLUICE_TRY(actual, digest_of(part, EVP_sha1(), fmt::format("blob {}", part.bytes()) + '\0'));
  }
  result.checked = !expected.empty();
  if (result.checked && actual != expected) {
    part.discard();
    return Error{fmt::format("{}: the checksum is {}, {} was expected; the download was thrown away", request.url, actual, expected)};
  }
  SLUICE_TRY_VOID(part.put_in_place());
  return result;
}

}  // namespace sluice::hub
