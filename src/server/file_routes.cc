#include "server/file_routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <stdexcept>

#include "server/kept_limits.h"
#include "server/limits.h"
#include "server/multipart.h"
#include "server/openai_json.h"
#include "server/openai_routes.h"
#include "server/paging.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

constexpr uint64_t kFormBytes = 64 * 1024;  // around the file
constexpr uint64_t kPieceBytes = 128 * 1024;
constexpr int64_t kExpiryMin = 3600, kExpiryMax = 2'592'000;  // as OpenAI's

constexpr std::string_view kFileSchema = R"(multipart/form-data {"type":"object","required":["file","purpose"],"properties":{
"file":{"type":"string","format":"binary"},"purpose":{"enum":["batch"]},"expires_after[anchor]":{"enum":["created_at"]},
"expires_after[seconds]":{"type":"integer","minimum":3600,"maximum":2592000}},"additionalProperties":false})";

Json file_json(const KeptFile& file) {
  return {{"id", file.id}, {"object", "file"}, {"bytes", file.bytes}, {"created_at", file.created_s},
          {"expires_at", file.expires_s > 0 ? Json(file.expires_s) : Json()}, {"filename", file.name}, {"purpose", file.purpose}, {"status", "processed"},
          {"status_details", nullptr}};
}

Refused read_upload(const std::vector<FormPart>& parts, int64_t now_s, KeptFile& file, std::string_view& content) {
  bool has_file = false;
  for (const FormPart& part : parts) {
    const std::string_view text = part.content;
    if (part.name == "file") {
      if (has_file) return bad_request("file", "one file at a time");
      has_file = true;
      content = text;
      file.name = part.file_name.empty() ? "file.jsonl" : part.file_name.substr(0, limits::kNameBytesMax);
    } else if (part.name == "purpose") {
      if (text != "batch") return bad_request("purpose", fmt::format("purpose is '{}': this server takes files for 'batch'", text::shown(text)));
      file.purpose = text;
    } else if (part.name == "expires_after[anchor]") {
      if (text != "created_at") return bad_request(part.name, "expires_after[anchor] must be created_at");
    } else if (part.name == "expires_after[seconds]") {
      int64_t seconds = 0;
      const auto read = std::from_chars(text.data(), text.data() + text.size(), seconds);
      if (read.ec != std::errc() || read.ptr != text.data() + text.size() || seconds < kExpiryMin || seconds > kExpiryMax) {
        return bad_request(part.name, fmt::format("expires_after[seconds] must be {} to {}", kExpiryMin, kExpiryMax));
      }
      file.expires_s = now_s + seconds;
    } else {
      const std::string near = nearest_word(part.name, {"file", "purpose", "expires_after[anchor]", "expires_after[seconds]"});
      return bad_request(part.name, fmt::format("there is no field '{}' here{}", text::shown(part.name), near.empty() ? "" : "; did you mean " + near + "?"),
                         "unknown_parameter");
    }
  }
  if (!has_file) return bad_request("file", "file is missing", "missing_required_parameter");
  if (file.purpose.empty()) return bad_request("purpose", "purpose is missing", "missing_required_parameter");
  if (content.empty()) return bad_request("file", "the file is empty");
  if (content.size() > limits::kFileBytesMax) {
    return ApiError{.status = 413, .code = "file_too_large", .param = "file",
                    .message = fmt::format("the file has {} bytes, the limit is {}", content.size(), limits::kFileBytesMax)};
  }
  return {};
}

Refused upload(Kept& kept, const std::shared_ptr<Exchange>& exchange) {
  const std::string body = exchange->take_body();
  std::vector<FormPart> parts;
  SLUICE_REFUSE(parse_form(exchange->request().header("content-type"), body, parts));
  KeptFile file{.id = answer_id("file-", *exchange), .tenant = exchange->identity().tenant};
  std::string_view content;
  SLUICE_REFUSE(read_upload(parts, kept.now_s(), file, content));
  SLUICE_REFUSE(kept.files().add(file, content));
  respond_json(exchange, file_json(file));
  return {};
}

Refused list(Kept& kept, const std::shared_ptr<Exchange>& exchange) {
  Page page;
  SLUICE_REFUSE(read_page(exchange->request(), limits::kPageMax, limits::kFilesMax, {"purpose"}, page));
  std::vector<KeptFile> files;
  bool more = false;
  SLUICE_REFUSE(kept.files().list(exchange->identity().tenant, exchange->request().query_value("purpose"), page, files, more));
  Json data = Json::array();
  for (const KeptFile& file : files) data.push_back(file_json(file));
  respond_json(exchange, list_json(std::move(data), more, "id"));
  return {};
}

Refused get(Kept& kept, const std::shared_ptr<Exchange>& exchange) {
  KeptFile file;
  SLUICE_REFUSE(kept.files().get(exchange->identity().tenant, exchange->request().path_values.at(0), file));
  respond_json(exchange, file_json(file));
  return {};
}

Refused remove(Kept& kept, const std::shared_ptr<Exchange>& exchange) {
  const std::string& id = exchange->request().path_values.at(0);
  SLUICE_REFUSE(kept.files().remove(exchange->identity().tenant, id));
  respond_json(exchange, {{"id", id}, {"object", "file"}, {"deleted", true}});
  return {};
}

// A file in pieces: one is read, on the keeper's thread, while the one before is sent.
class FileSource final : public AnswerSource, public std::enable_shared_from_this<FileSource> {
 public:
  FileSource(Kept& kept, std::shared_ptr<Exchange> exchange, KeptFile file) : kept_(kept), exchange_(std::move(exchange)), file_(std::move(file)) {}

  void start() { read_on(); }

  State pull(Exchange& exchange, std::string& out, size_t) override {
    if (!ready_.load(std::memory_order_acquire)) return State::kMore;
    if (failed_) return fail(exchange);
    if (!begun_) {
      begun_ = true;
      HttpResponse head{.status = 200, .content_type = "application/octet-stream", .headers = {}, .body = {}};
      exchange.begin(std::move(head));
    }
    out += piece_;
    if (at_ == file_.bytes) return State::kEnd;
    ready_.store(false);
    read_on();
    return State::kMore;
  }
  void closed() override {}

 private:
  State fail(Exchange& exchange) {
    if (begun_) throw std::runtime_error(failed_->message);  // the connection ends, so that the client sees that this is not all
    exchange.respond(error_response(ErrorShape::kOpenAi, *failed_, exchange.id()));
    return State::kEnd;
  }
  void read_on() {
    const auto read = [self = shared_from_this()] {
      self->piece_.resize(std::min<uint64_t>(kPieceBytes, self->file_.bytes - self->at_));
      self->failed_ = self->kept_.files().read(self->file_.number, self->at_, self->piece_);
      self->at_ += self->piece_.size();
      self->ready_.store(true, std::memory_order_release);
      self->exchange_->wake();
    };
    if (kept_.post(read)) return;
    failed_ = ApiError{.status = 503, .code = "server_overloaded", .message = "too much is being read and written", .retry_after_s = 1};
    ready_.store(true, std::memory_order_release);
    exchange_->wake();
  }

  Kept& kept_;
  const std::shared_ptr<Exchange> exchange_;
  const KeptFile file_;
  std::string piece_;                  // whose turn it is: `ready_`
  uint64_t at_ = 0;
  Refused failed_;
  std::atomic<bool> ready_{false};
  bool begun_ = false;
};

Refused content(Kept& kept, const std::shared_ptr<Exchange>& exchange) {
  KeptFile file;
  SLUICE_REFUSE(kept.files().get(exchange->identity().tenant, exchange->request().path_values.at(0), file));
  const auto source = std::make_shared<FileSource>(kept, exchange, std::move(file));
  exchange->attach(source);
  source->start();
  return {};
}

constexpr std::string_view kListParameters =
    R"([{"name":"limit","in":"query","schema":{"type":"integer","minimum":1,"maximum":1000}},{"name":"order","in":"query","schema":{"enum":["asc","desc"]}},)"
    R"({"name":"after","in":"query","schema":{"type":"string"}},{"name":"purpose","in":"query","schema":{"type":"string"}}])";

}  // namespace

void add_both(std::vector<Route>& out, std::string_view plain, std::string_view groq, Route rest) {
  for (const std::string_view pattern : {plain, groq}) {
    rest.pattern = pattern;
    out.push_back(rest);
  }
}

std::vector<Route> file_routes(Kept& kept) {
  const auto handler = [&](auto action) { return action_handler(ErrorShape::kOpenAi, action, std::ref(kept)); };
  std::vector<Route> out;
  add_both(out, "/v1/files", "/openai/v1/files",
           {.method = "POST", .pattern = {}, .handler = handler(upload), .body_bytes_max = limits::kFileBytesMax + kFormBytes,
            .summary = "Keeps a file for a batch", .request_schema = kFileSchema});
  add_both(out, "/v1/files", "/openai/v1/files", {.method = "GET", .pattern = {}, .handler = handler(list), .body_bytes_max = 0,
                                                  .summary = "Your files", .request_schema = kListParameters});
  add_both(out, "/v1/files/{file}", "/openai/v1/files/{file}",
           {.method = "GET", .pattern = {}, .handler = handler(get), .body_bytes_max = 0, .summary = "What is known of a file"});
  add_both(out, "/v1/files/{file}/content", "/openai/v1/files/{file}/content",
           {.method = "GET", .pattern = {}, .handler = handler(content), .body_bytes_max = 0, .summary = "A file's bytes",
            .response_schema = R"(application/octet-stream {"type":"string","format":"binary"})"});
  add_both(out, "/v1/files/{file}", "/openai/v1/files/{file}",
           {.method = "DELETE", .pattern = {}, .handler = handler(remove), .body_bytes_max = 0, .summary = "Deletes a file"});
  return out;
}

}  // namespace sluice::server
