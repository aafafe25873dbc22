#include "cli/verb_serve.h"

#include <fmt/format.h>
#include <signal.h>
#include <time.h>

#include <CLI/CLI.hpp>

#include "base/limits.h"
#include "cli/decode_limits.h"
#include "cli/output.h"
#include "engine/engine.h"
#include "program/package.h"
#include "server/batch_runner.h"
#include "server/engine_backend.h"
#include "server/http.h"
#include "server/response_head.h"
#include "server/routes.h"
#include "server/state_routes.h"
#include "server/status_route.h"

namespace sluice::cli {
namespace {

constexpr uint64_t kUsersDefault = 8;
constexpr uint64_t kStoreDefaultBytes = 512ull << 20;

constexpr const char* kAbout =
    "Serve a model to OpenAI's clients: chat, completions, embeddings, tools, JSON schemas, streams.\n"
    "  sluice serve                                  the embedded model at http://127.0.0.1:8080\n"
    "  sluice serve model.gguf --ctx 16384 --users 4 --memory 8G\n"
    "  curl http://127.0.0.1:8080/v1/chat/completions -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}'\n"
    "  OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=none python3 your_program.py\n"
    "The first line that it prints is the address. SIGTERM lets answers end, a second one does not. docs/server.md has every field.";

// What is left under the cap for kept conversations, or what was asked for.
Result<uint64_t> store_bytes(const ServeOptions& options, const LoadedModel& model, uint64_t engine_bytes) {
  const uint64_t needed = model.plan.weights + model.plan.activations + engine_bytes;
  uint64_t wanted = kStoreDefaultBytes;
  if (!options.store.empty()) {
    SLUICE_TRY(wanted, parse_bytes(options.store));
  }
  if (options.model.memory.empty()) return wanted;
  SLUICE_TRY(const uint64_t cap, parse_bytes(options.model.memory));
  if (needed > cap) {
    return Error{fmt::format("--memory {}: {} users with a context of {} tokens need {} ({} bytes)", options.model.memory, options.model.users, model.context,
                             bytes_text(needed), needed)};
  }
  if (options.store.empty()) return cap - needed;
  if (wanted > cap - needed) {
    return Error{fmt::format("--store {}: {} are left under --memory {}", options.store, bytes_text(cap - needed), options.model.memory)};
  }
  return wanted;
}

Status check_exposure(const ServeOptions& options, const server::Gate& gate) {
  if (!options.unix_path.empty() || options.insecure || server::is_loopback_name(options.host)) return {};
  if (!gate.closed()) {
    return Error{fmt::format("--host {}: others could use this server and there are no keys; make one (`sluice keys create --name N`), or say --insecure",
                             options.host)};
  }
  if (options.tls_certificate.empty()) {
    return Error{fmt::format("--host {}: keys would travel in the clear; give --tls-cert and --tls-key, or say --insecure", options.host)};
  }
  return {};
}

std::string model_id(const ServeOptions& options, const LoadedModel& model) {
  if (options.model.path.empty()) return "sluice-jamba";
  std::string stem = std::filesystem::path(options.model.path).lexically_normal().filename().string();
  if (stem.empty()) stem = std::filesystem::path(options.model.path).lexically_normal().parent_path().filename().string();
  for (const std::string_view ending : {".gguf", ".sluice"}) {
    if (stem.ends_with(ending)) stem.resize(stem.size() - ending.size());
  }
  return stem.empty() ? model.name : stem;
}

server::HttpOptions http_options(const ServeOptions& options) {
  server::HttpOptions http;
  http.listen = {{.host = options.host, .port = options.port, .unix_path = options.unix_path, .tls = !options.tls_certificate.empty()}};
  http.tls = {options.tls_certificate, options.tls_key};
  http.hosts_allowed = options.allow_hosts;
  http.origins_allowed = options.allow_origins;
  http.workers = options.workers;
  http.drain_ms = options.drain_s * 1000;
  return http;
}

// In the folder of states, or in memory where that one cannot be written: chat needs none of it.
Result<std::unique_ptr<server::Kept>> open_kept(const ServeOptions& options, server::Log& log) {
  server::KeptOptions wanted{.folder = options.state_folder};
  wanted.say = [&log](const std::string& sentence) { log.say(server::LogLevel::kWarning, "kept", sentence); };
  Result<std::unique_ptr<server::Kept>> kept = server::Kept::open(wanted);
  if (kept.ok() || options.state_folder.empty()) return kept;
  const std::string sentence = kept.error().message + "; files, batches and responses are in memory only until the next start";
  log.say(server::LogLevel::kError, "kept", sentence);
  if (!options.operations.log.empty()) fmt::print(stderr, "sluice: {}\n", sentence);
  wanted.folder.clear();
  return server::Kept::open(wanted);
}

// Until the server has drained. Signals are blocked in every thread, so they come here.
void serve_signals(server::HttpServer& http, engine::Engine& engine, const sigset_t& signals, const std::function<void()>& reload) {
  while (!http.wait_for(0)) {
    const timespec wait{.tv_sec = 0, .tv_nsec = 200'000'000};
    const int signal = sigtimedwait(&signals, nullptr, &wait);
    if (signal == SIGHUP) {
      reload();
    } else if (signal == SIGTERM || signal == SIGINT) {
      if (http.draining()) return;
      http.drain();
      engine.drain();
    }
  }
}

}  // namespace

void add_serve(CLI::App& app, ServeOptions& o) {
  app.description(kAbout);
  app.add_option("model", o.model.path, "GGUF file, Hugging Face folder or package; the embedded model if left out");
  app.add_option("--host", o.host, "Address to listen on; others than this machine's own need keys and TLS")->capture_default_str();
  app.add_option("--port", o.port, "Port; 0 takes a free one")->capture_default_str()->check(CLI::Range(0, 65535));
  app.add_option("--unix", o.unix_path, "A Unix socket instead of an address");
  app.add_option("--ctx", o.model.context, "Tokens of context (default: 4096, or what the model and --memory allow)")->check(CLI::PositiveNumber);
  app.add_option_function<uint64_t>("--users", [&o](const uint64_t& users) {
    o.model.users = users;
    o.users_given = true;
  }, "Conversations computed at once (default: 8, fewer under a small cap); more wait")->check(CLI::Range(1, 64));
  app.add_option("--memory", o.model.memory, "Memory cap, for example 4G: planned before the first token, never exceeded");
  app.add_option("--store", o.store, "Memory for conversations that are kept (default: what --memory leaves, or 512M)");
  app.add_option("--state-dir", o.state_folder, "Keep conversations in this folder too: they go on after a restart, replicas may share it");
  app.add_option("--state-disk", o.state_disk, "Bytes that folder may take")->capture_default_str();
  app.add_option("--kv", o.model.kv, "Keys and values as f32, f16, q8 or q4")->capture_default_str();
  app.add_option("--rows", o.model.rows, "Rows a step at most (default: 512, fewer under a small cap)")->check(CLI::Range(1, 65536));
  app.add_option("--threads", o.model.threads, "Threads that compute (default: the CPUs this process may use)")->check(CLI::Range(1u, limits::kThreadsMax));
  app.add_option("--isa", o.model.isa, "Instruction set: baseline, avx2 or avx512 (default: the best this CPU has; all give the same bits)");
  app.add_option("--queue", o.queue, "Requests that wait at most; more are refused with 503")->capture_default_str()->check(CLI::Range(1, 65536));
  app.add_option("--workers", o.workers, "Threads that read requests")->capture_default_str()->check(CLI::Range(1, 64));
  app.add_option("--max-tokens", o.max_tokens, "Tokens of an answer, and its price, when the request does not say (default: what the context leaves)");
  app.add_option("--alias", o.aliases, "Another name by which clients may call the model; '*': any");
  app.add_option("--tls-cert", o.tls_certificate, "Certificate chain (PEM); read again on SIGHUP");
  app.add_option("--tls-key", o.tls_key, "Its key (PEM)");
  app.add_option("--allow-host", o.allow_hosts, "A Host that requests may name, besides this machine's; '*': any");
  app.add_option("--allow-origin", o.allow_origins, "A web page's origin that may call this server (CORS is off without)");
  app.add_option("--drain", o.drain_s, "Seconds that answers may take to end after SIGTERM")->capture_default_str()->check(CLI::Range(0, 86400));
  app.add_flag("--insecure", o.insecure, "Listen on other addresses without keys or TLS");
  add_operations(app, o.operations);
}

int serve(const ServeOptions& given) {
  ServeOptions options = given;
  sigset_t signals;  // blocked before the first thread: serve_signals() takes them
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  if (options.tls_certificate.empty() != options.tls_key.empty()) return fail(Error{"--tls-cert and --tls-key go together"});
  if (!options.users_given) options.model.users = kUsersDefault;
  options.model.observers = true;  // embeddings read the last norm
  Result<ModelOptions> planned = options.users_given ? options.model : with_fitting_users(options.model);
  if (!planned.ok()) return fail(planned.error());
  options.model = *planned;
  Result<std::unique_ptr<ServeOperations>> operations = ServeOperations::create(options.operations, options.queue + options.model.users);
  if (!operations.ok()) return fail(operations.error());
  ServeOperations& desk = **operations;
  if (const Status status = check_exposure(options, desk.gate()); !status.ok()) return fail(status.error());
  server::HttpOptions http_wanted = http_options(options);
  desk.listen_for_admin(http_wanted);
  if (const Status status = desk.check_certificate(http_wanted.tls); !status.ok()) return fail(status.error());

  Result<LoadedModel> model = load_model(options.model);
  if (!model.ok()) return fail(model.error());
  if (!model->tokenizer.ok()) return fail(model->tokenizer.error());
  engine::EngineOptions engine_options{.context = model->context, .sequences_max = static_cast<uint32_t>(options.model.users),
      .queue_requests_max = options.queue};
  const uint64_t engine_bytes = engine::Engine::bytes(*model->runtime, engine_options);
  const Result<uint64_t> store = store_bytes(options, *model, engine_bytes);
  if (!store.ok()) return fail(store.error());
  engine_options.store_bytes = *store;
  const Result<uint64_t> disk = parse_bytes(options.state_disk);
  if (!disk.ok()) return fail(Error{"--state-disk: " + disk.error().message});
  engine_options.disk_folder = options.state_folder;
  engine_options.disk_bytes = *disk;
  engine_options.program = program::kPackageVersion;  // raised whenever a state would mean something else
  Result<std::unique_ptr<engine::Engine>> engine = engine::Engine::create(*model->runtime, *model->tokenizer, model->fingerprint, engine_options);
  if (!engine.ok()) return fail(engine.error());

  server::EngineBackend backend(**engine);
  server::ModelFacts facts{.id = model_id(options, *model), .aliases = options.aliases, .fingerprint = fmt::format("sluice-0.1.0-{:016x}", model->fingerprint),
                           .created = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count()};
  facts.max_tokens_default = options.max_tokens;
  const Result<std::unique_ptr<server::Api>> api = server::Api::create(backend, desk.gate(), *model->tokenizer, std::move(facts));
  if (!api.ok()) return fail(api.error());
  Result<std::unique_ptr<server::Kept>> kept = open_kept(options, desk.log());
  if (!kept.ok()) return fail(kept.error());
  server::Router router;
  std::unique_ptr<server::HttpServer> http;
  std::atomic<server::HttpServer*> running{nullptr};
  server::add_routes(router, **api, kept->get(), [&running] {
    const server::HttpServer* now = running.load();
    return now && now->draining();
  });
  const server::MemoryShares shares{.weights = model->plan.weights, .conversations = engine_bytes, .kept = *store, .activations = model->plan.activations};
  const uint64_t total = shares.total();
  desk.set_context(model->context, options.model.users);
  const auto statistics = [&backend] { return backend.statistics(); };
  router.add(server::state_routes(**api, **kept, model->fingerprint));
  router.add(server::status_route(shares, static_cast<uint32_t>(options.model.users), decode_limits(*model), statistics));
  desk.add_routes(router, statistics, total);
  Result<std::unique_ptr<server::HttpServer>> started = server::HttpServer::start(http_wanted, router, desk.gate(), &desk.observer());
  if (!started.ok()) return fail(started.error());
  http = std::move(*started);
  running.store(http.get());
  for (const std::string& address : http->addresses()) fmt::print("{}\n", address);
  fmt::print("{}: context {} tokens, {} users, memory {} (weights {}, conversations {}, kept ones {}, activations {})\n", (*api)->facts().id, model->context,
             options.model.users, bytes_text(total), bytes_text(model->plan.weights), bytes_text(engine_bytes), bytes_text(*store),
             bytes_text(model->plan.activations));
  std::fflush(stdout);
  server::BatchRunner batches(**api, **kept, router, [&desk](uint32_t, uint32_t key) { return desk.gate().identity_of(key); });
  batches.start();
  serve_signals(*http, **engine, signals, [&] { desk.reload(*http, http_wanted.tls); });
  running.store(nullptr);
  batches.stop();       // it submits, too
  http.reset();         // the workers first: they submit
  (*engine).reset();    // then what they submitted: its sinks look at the routes' tables
  return 0;
}

}  // namespace sluice::cli
