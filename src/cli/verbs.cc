#include "cli/verbs.h"

#include <CLI/CLI.hpp>
#include <array>
#include <utility>

#include "base/limits.h"
#include "cli/output.h"
#include "cli/verb_keys.h"
#include "cli/verb_lpu.h"
#include "cli/verb_models.h"
#include "cli/verb_serve.h"

namespace sluice::cli {
namespace {

constexpr const char* kAbout =
    "Sluice runs hybrid language models inside a memory cap.\n"
    "  sluice run                       chat with the model inside this program\n"
    "  sluice run model.gguf -p 'Hi'    one answer from a file\n"
    "  sluice serve                     OpenAI's API at http://127.0.0.1:8080\n"
    "  sluice plan model.gguf --ctx 32768 --memory 4G\n"
    "A MODEL is a .gguf file, a Hugging Face folder, a compiled .sluice package, the name of a pulled model (`sluice list`), or left out: the model inside.";

// Names of types and instruction sets, in the spelling of files too: Q4_K, F16, AVX2.
std::string lower_case(const std::string& text) { return CLI::detail::to_lower(text); }

void add_json(CLI::App& app, bool& json) { app.add_flag("--json", json, "Print JSON for programs"); }

void add_model_but_threads(CLI::App& app, ModelOptions& o) {
  app.add_option("model", o.path, "GGUF file, Hugging Face folder or package; the embedded model if left out");
  app.add_option("--isa", o.isa, "Instruction set: baseline, avx2 or avx512 (default: the best this CPU has; all give the same bits)")
      ->transform(lower_case);
  add_json(app, o.json);
}

void add_model(CLI::App& app, ModelOptions& o) {
  add_model_but_threads(app, o);
  app.add_option("--threads", o.threads, "Threads (default: the CPUs this process may use)")->check(CLI::Range(1u, limits::kThreadsMax));
}

// Verbs that compute nothing take the machine's options too, so that scripts can pass the same to all; they are checked, not used.
void add_unused(CLI::App& app, std::string& isa) {
  app.add_option("--threads", "Taken for uniformity; this verb needs one")->check(CLI::Range(1u, limits::kThreadsMax));
  app.add_option("--isa", isa, "Taken for uniformity; this verb computes nothing")->transform(lower_case);
}

// Calls a verb that computes nothing, once its --isa is known to be one that this CPU has: a verb that computes finds out by itself.
template <class Options>
int call(int (*verb)(const Options&), const Options& options, const std::string& isa) {
  const Result<Isa> chosen = choose_isa(isa);
  return chosen.ok() ? verb(options) : fail(chosen.error());
}

void add_memory(CLI::App& app, ModelOptions& o) {
  app.add_option("--ctx", o.context, "Tokens of context (default: 4096, or what the model and --memory allow)")->check(CLI::PositiveNumber);
  app.add_option("--memory", o.memory, "Memory cap, for example 4G: planned before the first token, never exceeded");
  app.add_option("--kv", o.kv, "Keys and values as f32, f16, q8 or q4")->transform(lower_case)->capture_default_str();
  app.add_option("--rows", o.rows, "Rows a step at most (default: 512, fewer under a small cap)")->check(CLI::Range(1, 65536));
}

void add_constraint(CLI::App& app, ConstraintOptions& o) {
  CLI::Option* schema = app.add_option("--schema", o.schema_file, "The answer is JSON that this JSON Schema (a file) admits");
  CLI::Option* regex = app.add_option("--regex", o.regex, "The answer matches this regular expression as a whole")->excludes(schema);
  CLI::Option* grammar =
      app.add_option("--grammar", o.grammar_file, "The answer is one that this grammar (a file, GBNF) derives")->excludes(schema)->excludes(regex);
  app.add_option("--choice", o.choices, "The answer is one of these, separated by commas")
      ->delimiter(',')->excludes(schema)->excludes(regex)->excludes(grammar);
  app.add_option("--constrain-after", o.after, "Anything goes until this text, for example </think>; then the answer obeys");
}

void add_run(CLI::App& app, RunOptions& o) {
  add_model(app, o.model);
  add_memory(app, o.model);
  app.add_option("-p,--prompt", o.prompt, "Answer this and exit; otherwise standard input, or a chat on a terminal");
  app.add_option("--system", o.system, "System message");
  app.add_flag("--raw", o.raw, "Continue the text as it is, without the chat template");
  app.add_option("-n,--max-tokens", o.max_tokens, "Tokens of an answer at most (default: until the model stops)");
  app.add_option("--temp", o.temperature, "Temperature; 0 always takes the best token")->capture_default_str()->check(CLI::Range(0.0, 100.0));
  app.add_option("--top-k", o.top_k, "Keep the k best tokens; 0 keeps all")->capture_default_str();
  app.add_option("--top-p", o.top_p, "Keep the best tokens that make up this probability")->capture_default_str()->check(CLI::Range(0.0, 1.0));
  app.add_option("--min-p", o.min_p, "Drop tokens below this share of the best one's probability")->capture_default_str()->check(CLI::Range(0.0, 1.0));
  app.add_option("--seed", o.seed, "Seed: the same seed and prompt give the same answer")->capture_default_str();
  add_constraint(app, o.constraint);
}

void add_tokenize(CLI::App& app, TokenizeOptions& o, const char* what) {
  app.add_option("model", o.model, "Model, tokenizer.json, tokenizer.model or vocabulary-only GGUF; the embedded model if left out");
  app.add_option("--file", o.file, "Read from this file (default: standard input)");
  app.add_option("--text", o.text, what);
  app.add_flag("--parse-special", o.parse_special, "Find special tokens in the text; show them when turning ids to text");
  app.add_flag("--add-special", o.add_special, "Add the tokenizer's own special tokens around the text");
  add_json(app, o.json);
  add_unused(app, o.isa);
}

void add_bench(CLI::App& app, BenchOptions& o) {
  add_model_but_threads(app, o.model);
  add_memory(app, o.model);
  app.add_option("--threads", o.threads, "Threads; several numbers are timed in turn (default: the CPUs this process may use)")
      ->delimiter(',')->check(CLI::Range(1u, limits::kThreadsMax));
  app.add_option("--prefill", o.prefill, "Prompt lengths; 0: none")->delimiter(',')->capture_default_str();
  app.add_option("--depth", o.depth, "Tokens of context before decoding (filled in, not computed)")->delimiter(',')->capture_default_str();
  app.add_option("--sequences", o.sequences, "How many conversations decode together, at the first depth")->delimiter(',')->check(CLI::Range(1, 64));
  app.add_option("--decode", o.decode, "Tokens decoded a repeat; 0: none")->capture_default_str();
  app.add_option("--repeats", o.repeats, "Counted repeats, after one to warm up")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_flag("--limits", o.limits_only, "Only measure the machine");
  app.add_flag("--profile", o.profile, "Also where the time goes, op by op: the last prompt length, every depth");
  app.add_option("--svg", o.svg, "Draw the profile: share of the limit and of the time, by op");
  app.add_flag("--time-model", o.time_model, "Also the time predicted from the program and rates measured on other programs (one thread, CPU time)");
  app.add_option("--chip-file", o.chip_file, "Write the measured limits as a chip file for `sluice lpu`");
  app.add_option("--peer", o.peer, "A llama-bench program to run by turns on the same file");
  app.add_option("--peer-batched", o.peer_batched, "A llama-batched-bench program, beside --sequences");
  app.add_option("--peer-arg", o.peer_arguments, "More arguments of the peer's, for example --peer-arg=-rtr --peer-arg=1");
}

void add_lpu(CLI::App& app, LpuOptions& o) {
  app.add_option("model", o.models, "GGUF file, Hugging Face folder or a config.json alone; several are compared (default: the embedded model)");
  app.add_option("--chip", o.chips, "Chip file (lpu/chips/*.json); several, separated by commas, are compared")->delimiter(',')->required();
  app.add_option("--chips", o.count, "How many chips, or auto: as few as hold it")->capture_default_str();
  app.add_option("--context", o.context, "Tokens of context a user")->capture_default_str()->check(CLI::Range(uint64_t{1}, limits::kContextTokensMax));
  app.add_option("--users", o.users, "Conversations held at once")->capture_default_str()->check(CLI::Range(1, 1000000));
  app.add_option("--bits", o.bits, "Bits of a matrix weight")->capture_default_str()->check(CLI::IsMember({8, 16}));
  app.add_option("--split", o.split_max, "Chips that may share a layer (default: no limit)")->check(CLI::PositiveNumber);
  app.add_option("--stages", o.stages, "Stages of the pipeline (default: searched)")->check(CLI::PositiveNumber);
  add_json(app, o.json);
}

void add_state_replay(CLI::App& app, StateReplayOptions& o) {
  app.add_option("trace", o.trace, "A trace (.jsonl.zst of block ids, oasst trees, tau-bench), or generator:SEED")->required();
  app.add_option("--budget", o.budgets, "Bytes for states, pages and tree, for example 1G; several run side by side")->required();
  app.add_option("--policy", o.policies, "ours, lru-blocks:K, align:K, leaf-lru, marconi:A, llama, clairvoyant; several run side by side")
      ->capture_default_str();
  app.add_option("--requests", o.requests, "Requests of the generator")->capture_default_str()->check(CLI::Range(1, 1'000'000));
  app.add_option("--conversations", o.conversations, "Conversations of an agent trace at most")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--tokens-min", o.tokens_min, "Only conversations whose longest prompt has at least this many tokens")->capture_default_str();
  app.add_option("--tokens-below", o.tokens_below, "... and fewer than this many")->capture_default_str();
  app.add_option("--lanes", o.lanes, "Conversations, or trees, at one time")->capture_default_str()->check(CLI::Range(1, 4096));
  app.add_option("--seed", o.seed, "Order of a trace's conversations")->capture_default_str();
  app.add_option("--tokenizer", o.tokenizer, "For texts: model, tokenizer.json or .model whose tokens they are (default: the embedded model)");
  app.add_option("--template", o.chat_template, "For texts: chat template (.jinja; default: the tokenizer's own)");
  app.add_flag("--outputs-lost", o.outputs_lost, "Answers never come back in a later prompt");
  app.add_flag("--time", o.time, "Also the store's time (differs from run to run)");
}

// In the order of server::kLimitFacts.
constexpr std::array<std::pair<const char*, const char*>, 5> kLimitFlags = {{{"--rpm", "Requests a minute, or none"},
                                                                             {"--rpd", "Requests a day, or none"},
                                                                             {"--tpm", "Tokens a minute (prompt and answer), or none"},
                                                                             {"--tpd", "Tokens a day, or none"},
                                                                             {"--concurrent", "Requests at once, or none"}}};

void add_key_limits(CLI::App& app, KeysOptions& o) {
  for (size_t kind = 0; kind < kLimitFlags.size(); ++kind) app.add_option(kLimitFlags[kind].first, o.limits[kind], kLimitFlags[kind].second);
  app.add_option("--tier", o.tier, "The best tier that the key may ask for")->check(CLI::IsMember({"flex", "on_demand", "performance"}));
  app.add_flag("--admin", o.admin, "May use the admin routes");
}

void add_keys(CLI::App& app, KeysOptions& o, int& status) {
  CLI::App* keys = app.add_subcommand("keys", "API keys of a server on this machine");
  keys->require_subcommand(1);
  const auto verb = [&](const char* name, const char* about, int (*run)(const KeysOptions&)) {
    CLI::App* one = keys->add_subcommand(name, about);
    one->add_option("--file", o.file, "Key database (default: keys.db in $XDG_STATE_HOME/sluice)");
    add_json(*one, o.json);
    one->callback([&o, &status, run] { status = run(o); });
    return one;
  };
  CLI::App* create = verb("create", "Make a key; the last line printed is the key", keys_create);
  create->add_option("--name", o.name, "Who it is for")->required();
  add_key_limits(*create, o);
  verb("list", "Valid keys with their limits; with --json the revoked ones too", keys_list);
  verb("revoke", "End a key; a running server refuses it within a second", keys_revoke)->add_option("key", o.name, "Its name or id")->required();
  CLI::App* limit = verb("limit", "Change a key's limits; a running server holds them within a second", keys_limit);
  limit->add_option("key", o.name, "Its name or id")->required();
  add_key_limits(*limit, o);
  limit->add_flag("--no-admin", o.no_admin, "May no longer use the admin routes")->excludes("--admin");
}

void add_state_files(CLI::App& app, StateFilesOptions& o) {
  app.add_option("--folder", o.folder, "Folder of saved states (default: states under $XDG_STATE_HOME/sluice)");
  add_json(app, o.json);
}

// The verbs over saved states; one set of options serves them, since one runs at a time.
void add_state_verbs(CLI::App& state, StateFilesOptions& o, int& status) {
  CLI::App* list = state.add_subcommand("list", "Saved states: what each goes on from, its tokens and bytes");
  add_state_files(*list, o);
  list->callback([&] { status = state_list(o); });
  CLI::App* show = state.add_subcommand("show", "One saved state: its path, its token ids, with --text what they say");
  add_state_files(*show, o);
  show->add_option("id", o.id, "Its id, or how it begins")->required();
  show->add_flag("--text", o.with_text, "Turn the ids to text with --model's tokenizer");
  show->add_option("--model", o.model, "Model or tokenizer for --text; the embedded model if left out");
  show->callback([&] { status = state_show(o); });
  CLI::App* verify = state.add_subcommand("verify", "Read every byte of every saved state against its checksums; exit status 1 if one is damaged");
  add_state_files(*verify, o);
  verify->callback([&] { status = state_verify(o); });
  CLI::App* export_app = state.add_subcommand("export", "Copy a saved state and what it stands on into a folder that another machine can use");
  add_state_files(*export_app, o);
  export_app->add_option("id", o.id, "Its id, or how it begins")->required();
  export_app->add_option("-o,--out", o.out, "Folder to write")->required();
  export_app->callback([&] { status = state_export(o); });
  CLI::App* delete_app = state.add_subcommand("delete", "Delete a saved state and all that goes on from it");
  add_state_files(*delete_app, o);
  delete_app->add_option("id", o.id, "Its id, or how it begins");
  delete_app->add_flag("--all", o.all, "Every saved state in the folder");
  delete_app->callback([&] { status = state_delete(o); });
}

}  // namespace

int main_with(int argc, const char* const* argv) {
  CLI::App app(kAbout, "sluice");
  app.require_subcommand(1);
  app.set_version_flag("--version", "sluice 0.1.0");
  int status = 0;

  RunOptions run_options;
  CLI::App* run_app = app.add_subcommand("run", "Chat with a model, or answer one prompt");
  add_run(*run_app, run_options);
  run_app->callback([&] { status = run(run_options); });

  PlanVerbOptions plan_options;
  CLI::App* plan_app = app.add_subcommand("plan", "Say what a model costs in memory, from its file or its config.json alone");
  add_model(*plan_app, plan_options.model);
  add_memory(*plan_app, plan_options.model);
  plan_app->add_option("--users", plan_options.model.users, "Conversations at once")->capture_default_str()->check(CLI::PositiveNumber);
  plan_app->add_option("--weights", plan_options.weights,
                       "Plan as if the matrices were f16, q8_0, q4_k ... (default: as in the file; q8_0 for a lone config.json)")
      ->transform(lower_case);
  plan_app->callback([&] { status = call(plan, plan_options, plan_options.model.isa); });

  CompileVerbOptions compile_options;
  CLI::App* compile_app = app.add_subcommand("compile", "Write a model's compiled package (run does it by itself, into the cache)");
  add_model(*compile_app, compile_options.model);
  compile_app->add_option("-o,--out", compile_options.out, "Package to write")->required();
  compile_app->callback([&] { status = call(compile, compile_options, compile_options.model.isa); });

  InspectOptions inspect_options;
  CLI::App* inspect_app = app.add_subcommand("inspect", "Show a model's metadata and tensors, or its program");
  add_model(*inspect_app, inspect_options.model);
  inspect_app->add_flag("--program", inspect_options.program, "Print the static program");
  inspect_app->add_option("--stop-after", inspect_options.stop_after, "With --program: after this pass (lower, fuse, select)")
      ->check(CLI::IsMember({"lower", "fuse", "select"}));
  inspect_app->callback([&] { status = call(inspect, inspect_options, inspect_options.model.isa); });

  TokenizeOptions tokenize_options, detokenize_options;
  CLI::App* tokenize_app = app.add_subcommand("tokenize", "Text to token ids, on one line");
  add_tokenize(*tokenize_app, tokenize_options, "This text");
  tokenize_app->callback([&] { status = call(tokenize, tokenize_options, tokenize_options.isa); });
  CLI::App* detokenize_app = app.add_subcommand("detokenize", "Token ids to text");
  add_tokenize(*detokenize_app, detokenize_options, "These ids");
  detokenize_app->callback([&] { status = call(detokenize, detokenize_options, detokenize_options.isa); });

  RenderOptions render_options;
  CLI::App* render_app = app.add_subcommand("render", "A conversation through a chat template");
  render_app->add_option("model", render_options.model, "Model or template.jinja; the embedded model if left out");
  render_app->add_option("--messages", render_options.messages, "JSON file: messages, or an object with more of the template's context")
      ->required();
  render_app->add_option("--tools", render_options.tools, "JSON file with tools");
  render_app->add_flag("!--no-generation-prompt", render_options.generation_prompt, "End after the last message");
  add_json(*render_app, render_options.json);
  add_unused(*render_app, render_options.isa);
  render_app->callback([&] { status = call(render, render_options, render_options.isa); });

  ConstrainCheckOptions check_options;
  CLI::App* constrain_app = app.add_subcommand("constrain", "Constraints on what a model writes (run --schema, --regex, --grammar)");
  constrain_app->require_subcommand(1);
  CLI::App* check_app = constrain_app->add_subcommand("check", "Is a schema, grammar or regular expression supported, and what does it accept");
  check_app->add_option("file", check_options.file, "JSON Schema (.json), grammar (.gbnf) or regular expression (.regex); - for standard input")->required();
  check_app->add_option("--kind", check_options.kind, "schema, grammar or regex (default: by the file)")
      ->check(CLI::IsMember({"schema", "grammar", "regex"}));
  check_app->add_option("--space", check_options.space, "White space of JSON: compact, spaced or flexible")->capture_default_str()
      ->check(CLI::IsMember({"compact", "spaced", "flexible"}));
  check_app->add_option("--samples", check_options.samples, "Texts to show that it accepts")->capture_default_str()->check(CLI::Range(0, 1000));
  check_app->add_option("--seed", check_options.seed, "Seed of the samples")->capture_default_str();
  add_json(*check_app, check_options.json);
  add_unused(*check_app, check_options.isa);
  check_app->callback([&] { status = call(constrain_check, check_options, check_options.isa); });

  LogitsOptions logits_options;
  logits_options.model.kv = "f32";
  CLI::App* logits_app = app.add_subcommand("logits", "Logits of a token sequence, as safetensors");
  add_model(*logits_app, logits_options.model);
  add_memory(*logits_app, logits_options.model);
  logits_app->add_option("--tokens-file", logits_options.tokens_file, "Token ids as text")->required();
  logits_app->add_option("--out", logits_options.out, "safetensors file to write")->required();
  logits_app->add_flag("--hidden", logits_options.hidden, "Also hidden.0, hidden.1 ... hidden.final");
  logits_app->add_option("--chunk", logits_options.chunk, "Rows a step (the result does not depend on it)")->check(CLI::PositiveNumber);
  logits_app->add_option("--split", logits_options.split, "Save the state after this many tokens, restore it in a fresh engine, go on")
      ->check(CLI::PositiveNumber);
  logits_app->callback([&] { status = logits(logits_options); });

  PerplexityOptions perplexity_options;
  CLI::App* perplexity_app = app.add_subcommand("perplexity", "How well a model predicts a text");
  add_model(*perplexity_app, perplexity_options.model);
  add_memory(*perplexity_app, perplexity_options.model);
  CLI::App* perplexity_source = perplexity_app->add_option_group("what")->require_option(1);
  perplexity_source->add_option("--file", perplexity_options.file, "Text (or token ids with --ids)");
  perplexity_source->add_option("--pairs", perplexity_options.pairs, "Lines of {\"context\": ..., \"text\": ...}: each text after its own context");
  perplexity_app->add_option("--window", perplexity_options.window, "Tokens of each window, all predicted but the first")->capture_default_str();
  perplexity_app->add_option("--first", perplexity_options.first, "Only the file's first so many tokens (default: all)")->check(CLI::PositiveNumber);
  perplexity_app->add_flag("--ids", perplexity_options.ids, "The file holds token ids");
  perplexity_app->callback([&] { status = perplexity(perplexity_options); });

  BenchOptions bench_options;
  CLI::App* bench_app = app.add_subcommand("bench", "How fast a model runs, as shares of what this machine can do, measured beside it");
  add_bench(*bench_app, bench_options);
  bench_app->callback([&] { status = bench(bench_options); });

  SynthVerbOptions synth_options;
  CLI::App* synth_app = app.add_subcommand("synth", "Write a GGUF file of a published shape with random weights, for timing");
  synth_app->add_option("config", synth_options.config, "config.json")->required();
  synth_app->add_option("--weights", synth_options.weights, "q4_k_m or a weight type (q8_0, q4_0, f16 ...)")
      ->transform(lower_case)
      ->capture_default_str();
  synth_app->add_option("-o,--out", synth_options.out, "File to write")->required();
  synth_app->add_option("--seed", synth_options.seed, "Seed of the weights")->capture_default_str();
  synth_app->callback([&] { status = synth(synth_options); });

  LpuOptions lpu_options;
  CLI::App* lpu_app = app.add_subcommand("lpu", "Predict a model on chips that hold it in SRAM");
  lpu_app->require_subcommand(1);
  CLI::App* lpu_plan = lpu_app->add_subcommand("plan", "Chips, memory by purpose and the longest context");
  add_lpu(*lpu_plan, lpu_options);
  lpu_plan->callback([&] {
    lpu_options.plan_only = true;
    status = lpu(lpu_options);
  });
  CLI::App* lpu_simulate = lpu_app->add_subcommand("simulate", "Schedule one decode step in cycles: latency, rates, energy");
  add_lpu(*lpu_simulate, lpu_options);
  lpu_simulate->add_option("--values", lpu_options.values, "Compute this many tokens on the chips and on the CPU instead, and compare the logits' bits")
      ->check(CLI::Range(1, 100'000));
  lpu_simulate->add_option("--csv", lpu_options.csv, "Write the schedule, a line a slot");
  lpu_simulate->add_option("--trace", lpu_options.trace, "Write Chrome trace-event JSON (opens in Perfetto)");
  lpu_simulate->add_option("--svg", lpu_options.svg, "Write the units over time");
  lpu_simulate->add_option("--report", lpu_options.report, "Write one HTML page with all of it");
  lpu_simulate->callback([&] { status = lpu(lpu_options); });

  ServeOptions serve_options;
  CLI::App* serve_app = app.add_subcommand("serve");
  add_serve(*serve_app, serve_options);
  serve_app->callback([&] {
    const Status configured = read_config(serve_options.operations);
    status = configured.ok() ? serve(serve_options) : fail(configured.error());
  });

  StateReplayOptions replay_options;
  CLI::App* state_app = app.add_subcommand("state", "The store of conversation states");
  state_app->require_subcommand(1);
  CLI::App* replay_app = state_app->add_subcommand("replay", "Play traffic over the store with a stub model, and compare policies");
  add_state_replay(*replay_app, replay_options);
  replay_app->callback([&] { status = state_replay(replay_options); });
  StateFilesOptions state_files_options;
  add_state_verbs(*state_app, state_files_options, status);

  KeysOptions keys_options;
  add_keys(app, keys_options, status);

  PullVerbOptions pull_options;
  CLI::App* pull_app = app.add_subcommand("pull", "Get a model: hf://OWNER/REPO, hf://OWNER/REPO:FILE or https://HOST/FILE.gguf");
  pull_app->add_option("source", pull_options.source, "Where from")->required();
  pull_app->add_option("--sha256", pull_options.sha256, "What the file's SHA-256 must be");
  add_json(*pull_app, pull_options.json);
  pull_app->callback([&] { status = pull_model(pull_options); });

  ListVerbOptions list_options;
  CLI::App* list_app = app.add_subcommand("list", "Models that were pulled");
  add_json(*list_app, list_options.json);
  list_app->callback([&] { status = list_models(list_options); });

  RemoveVerbOptions remove_options;
  CLI::App* remove_app = app.add_subcommand("rm", "Remove a model that was pulled");
  remove_app->add_option("name", remove_options.name, "As `sluice list` shows it")->required();
  remove_app->callback([&] { status = remove_model(remove_options); });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  }
  return status;
}

}  // namespace sluice::cli
