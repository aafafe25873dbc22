// Batches: the ledger of their lines and answers. Contract: as kept.h; a line has one answer at most, and an answer is durable before anybody hears of it,
// so a batch that is killed anywhere goes on where it was. Next: batch_runner.h (who does the lines), batch_routes.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/database.h"
#include "server/json_fields.h"
#include "server/kept_files.h"

namespace sluice::server {

struct Batch {
  int64_t number = 0;
  std::string id;                      // "batch_..."
  uint32_t tenant = 0, key = 0;        // whose
  std::string status;                  // validating, in_progress, finalizing, cancelling; completed, failed, expired, cancelled
  int64_t ends_s = 0;                  // its window's end
  int64_t keep_s = 0;                  // its files live so long
  std::string input;                   // file id
  Json body;                           // as clients see it
  bool over() const { return status == "completed" || status == "failed" || status == "expired" || status == "cancelled"; }
};

struct BatchSpan {
  uint64_t line = 0;                   // from 1
  uint64_t begin = 0, bytes = 0;       // in the input file
};

struct BatchAnswer {
  int64_t batch = 0;
  uint64_t line = 0;
  bool good = false;                   // to the output file; otherwise to the errors
  std::string text;                    // one line of JSON
};

class KeptBatches {
 public:
  KeptBatches(Database& database, std::function<int64_t()> now_s) : database_(database), now_s_(std::move(now_s)) {}

  Refused create(Batch& batch);
  Refused get(uint32_t tenant, std::string_view id, Batch& out);
  Refused list(uint32_t tenant, const Page& page, std::vector<Batch>& out, bool& more);
  // From here on no line is begun.
  Refused cancel(uint32_t tenant, std::string_view id, Batch& out);

  // For the one that runs them.
  Refused active(std::vector<Batch>& out);
  Refused update(Batch& batch, std::string_view status);
  // Lines and answers that need no computing; the batch is then in progress.
  Refused lay_out(Batch& batch, std::span<const BatchSpan> lines, std::span<const BatchAnswer> answers);
  // Lines behind `line` without an answer.
  Refused waiting(int64_t batch, uint64_t line, uint32_t limit, std::vector<BatchSpan>& out);
  // One commit for all; an answer that is there already stays.
  Refused answer(std::span<const BatchAnswer> answers);
  // Output and error file, in the order of the lines; `status`: completed, expired or cancelled. Lines and answers go with it.
  Refused finish(KeptFiles& files, Batch& batch, std::string_view status);

 private:
  Refused find(uint32_t tenant, std::string_view id, Batch& out);
  Refused count(Batch& batch);
  Refused insert_answers(std::span<const BatchAnswer> answers);
  Refused write_file(KeptFiles& files, Batch& batch, bool good, std::string_view field);
  Refused store(Batch& batch, std::string_view status);
  Database& database_;
  const std::function<int64_t()> now_s_;
};

}  // namespace sluice::server
