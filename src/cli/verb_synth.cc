// `sluice synth`: files of published shapes with random weights, to time engines on the same bytes.
#include <fmt/format.h>

#include <filesystem>

#include "cli/output.h"
#include "cli/verbs.h"
#include "compiler/synth.h"

namespace sluice::cli {

int synth(const SynthVerbOptions& options) {
  const Result<weights::Checkpoint> config = open_checkpoint(options.config);
  if (!config.ok()) return fail(config.error());
  compiler::SynthOptions synth_options{.recipe = options.weights, .seed = options.seed, .progress = {}};
  ProgressBar bar("writing " + options.out, 0);
  const Status status = compiler::synthesize(*config, options.out, synth_options);
  if (!status.ok()) return fail(status.error());
  std::error_code error;
  fmt::print("{}: {}\n", options.out, bytes_text(std::filesystem::file_size(options.out, error)));
  return 0;
}

}  // namespace sluice::cli
