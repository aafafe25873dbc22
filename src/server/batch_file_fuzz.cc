// Any bytes as a batch's input file: lines within all limits, each a request or a refusal, and both make lines of JSON that can be read again.
#include <set>
#include <string_view>

#include "base/check.h"
#include "server/batch_line.h"
#include "server/limits.h"
#include "server/multipart.h"
#include "text/utf8.h"

using namespace sluice;
using namespace sluice::server;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  std::vector<BatchSpan> spans;
  if (cut_batch(file, spans)) return 0;
  Batch batch;
  batch.number = 1;
  uint64_t before = 0;
  for (const BatchSpan& span : spans) {
    SLUICE_CHECK(span.line > before && span.begin + span.bytes <= size && span.bytes > 0);
    before = span.line;
    const std::string_view text = file.substr(span.begin, span.bytes);
    SLUICE_CHECK(text.find('\n') == std::string_view::npos);
    BatchLine line;
    std::string out;
    if (const Refused refused = read_batch_line(text, kBatchEndpoints[0], line)) {
      SLUICE_CHECK(refused->status >= 400 && refused->status < 500 && !refused->message.empty() && text::is_valid_utf8(refused->message));
      out = batch_error_line(batch, span.line, line.custom_id, refused->code, refused->message);
    } else {
      SLUICE_CHECK(!line.custom_id.empty() && line.custom_id.size() <= server::limits::kNameBytesMax);
      out = batch_answer_line(batch, span.line, line.custom_id, "req_1", {.status = 200, .headers = {}, .body = line.body});
    }
    SLUICE_CHECK(out.find('\n') == std::string::npos);
    const Json read = Json::parse(out, nullptr, false);
    SLUICE_CHECK(read.is_object() && read.contains("custom_id") && read.contains("response") && read.contains("error"));
  }
  std::vector<FormPart> parts;
  if (!parse_form("multipart/form-data; boundary=x", file, parts)) {
    for (const FormPart& part : parts) SLUICE_CHECK(part.content.size() <= size && text::is_valid_utf8(part.name) && text::is_valid_utf8(part.file_name));
  }
  return 0;
}
