// The text form of a program: one line a value or op, `key=value` fields, printable, diffable, and read back to the same program. It is also what a
// compiled package stores, so the reader trusts nothing: every count and name is checked, and the caller runs the verifier.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "program/program.h"

namespace sluice::program {

std::string print(const Program& program);
Result<Program> parse(std::string_view text);

}  // namespace sluice::program
