// The verbs of the program. Each gets its options parsed and returns its exit status: 0 done, 1 failed with a sentence on standard error, 2 wrong usage.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/constraint_options.h"
#include "cli/model_loading.h"

namespace sluice::cli {

struct RunOptions {
  ModelOptions model;
  std::string prompt;
  std::string system;
  bool raw = false;  // no chat template
  int64_t max_tokens = -1;
  float temperature = 0.8f;
  uint32_t top_k = 40;
  float top_p = 0.95f;
  float min_p = 0.05f;
  uint64_t seed = 0;
  ConstraintOptions constraint;
};
int run(const RunOptions& options);

struct PlanVerbOptions {
  ModelOptions model;
  std::string weights;  // plan as if the matrices were of this type; empty: the file's own, q8_0 for a lone config.json
};
int plan(const PlanVerbOptions& options);

struct CompileVerbOptions {
  ModelOptions model;
  std::string out;
};
int compile(const CompileVerbOptions& options);

struct InspectOptions {
  ModelOptions model;
  bool program = false;
  std::string stop_after;
};
int inspect(const InspectOptions& options);

struct TokenizeOptions {
  std::string model;
  std::string file;
  std::string text;
  bool parse_special = false;  // find special tokens in the text; show them when turning ids to text
  bool add_special = false;    // put the tokenizer's own around it
  std::string isa;
  bool json = false;
};
int tokenize(const TokenizeOptions& options);
int detokenize(const TokenizeOptions& options);

struct RenderOptions {
  std::string model;
  std::string messages;
  std::string tools;
  bool generation_prompt = true;
  std::string isa;
  bool json = false;
};
int render(const RenderOptions& options);

struct ConstrainCheckOptions {
  std::string file;  // "-": standard input
  std::string kind;  // schema, grammar or regex; empty: by the file
  std::string space = "compact";
  uint64_t samples = 3;
  uint64_t seed = 1;
  bool json = false;
  std::string isa;
};
int constrain_check(const ConstrainCheckOptions& options);

struct LogitsOptions {
  ModelOptions model;
  std::string tokens_file;
  std::string out;
  bool hidden = false;
  uint64_t chunk = 0;
  uint64_t split = 0;
};
int logits(const LogitsOptions& options);

struct PerplexityOptions {
  ModelOptions model;
  std::string file;   // one of file and pairs
  std::string pairs;  // lines of {"context", "text"}
  uint64_t window = 512;
  uint64_t first = 0;  // only so many tokens of the file; 0: all
  bool ids = false;  // the file holds token ids, not text
};
int perplexity(const PerplexityOptions& options);

struct BenchOptions {
  ModelOptions model;                     // its threads are not used: see `threads`
  std::vector<uint32_t> threads;          // each in turn; empty: all CPUs
  std::vector<uint64_t> prefill = {128, 512};
  std::vector<uint64_t> depth = {0};
  std::vector<uint64_t> sequences;        // decoding together, at the first depth
  uint64_t decode = 32;
  uint64_t repeats = 3;
  bool limits_only = false;
  bool profile = false;
  std::string svg;                        // chart of the profile
  bool time_model = false;
  std::string chip_file;                  // roofline file of this machine, to write
  std::string peer, peer_batched;         // programs: llama-bench, llama-batched-bench
  std::vector<std::string> peer_arguments;
};
int bench(const BenchOptions& options);

struct SynthVerbOptions {
  std::string config;
  std::string weights = "q4_k_m";
  std::string out;
  uint64_t seed = 1;
};
int synth(const SynthVerbOptions& options);

struct StateReplayOptions {
  std::string trace;
  std::vector<std::string> budgets;
  std::vector<std::string> policies{"ours"};
  uint64_t requests = 8000;  // of the generator
  uint64_t conversations = 200;
  uint64_t tokens_min = 0;
  uint64_t tokens_below = 131'072;
  uint64_t lanes = 8;
  uint64_t seed = 7;
  bool outputs_lost = false;
  std::string tokenizer;      // of a trace of texts; empty: the embedded model's
  std::string chat_template;  // a file; empty: the tokenizer's own
  bool time = false;
};
int state_replay(const StateReplayOptions& options);

struct StateFilesOptions {
  std::string folder;      // empty: state_folder()/states
  std::string id;          // or its beginning
  std::string out;         // export: a folder
  std::string model;       // show: whose tokenizer turns ids to text
  bool with_text = false;
  bool all = false;        // delete
  bool json = false;
};
int state_list(const StateFilesOptions& options);
int state_show(const StateFilesOptions& options);
int state_verify(const StateFilesOptions& options);
int state_export(const StateFilesOptions& options);
int state_delete(const StateFilesOptions& options);

// Parses the command line and calls a verb.
int main_with(int argc, const char* const* argv);

}  // namespace sluice::cli
