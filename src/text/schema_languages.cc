// Formats as patterns; numbers compared digit by digit against a bound. Contract: text/schema_languages.h. Sources: RFC 3339 (dates,
// durations), RFC 5321/5322 (email), RFC 1123 (host names), RFC 4291 (IPv6), RFC 3986 (URI), RFC 4122 (UUID), RFC 6901 (pointers).
#include "text/schema_languages.h"

#include <functional>
#include <map>
#include <string>

#include "text/regex.h"

namespace sluice::text {
namespace {

std::string date_pattern() {
  const std::string leap = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)";
  const std::string long_month = "(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])";
  const std::string short_month = "(0[469]|11)-(0[1-9]|[12][0-9]|30)";
  return "([0-9]{4}-(" + long_month + "|" + short_month + "|02-(0[1-9]|1[0-9]|2[0-8]))|" + leap + "-02-29)";
}

std::string time_pattern() {
  const std::string offset = "([zZ]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";
  return "(([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,24})?" + offset + "|23:59:60(\\.[0-9]{1,24})?([zZ]|[+-]00:00))";
}

std::string duration_pattern() {
  const std::string n = "[0-9]{1,18}";
  const std::string time = "T(" + n + "H(" + n + "M(" + n + "S)?)?|" + n + "M(" + n + "S)?|" + n + "S)";
  const std::string date = "(" + n + "Y(" + n + "M(" + n + "D)?)?|" + n + "M(" + n + "D)?|" + n + "D)";
  return "P(" + date + "(" + time + ")?|" + time + "|" + n + "W)";
}

constexpr std::string_view kOctet = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
std::string ipv4_pattern() { return "(" + std::string(kOctet) + "\\.){3}" + std::string(kOctet); }

std::string ipv6_pattern() {
  const std::string h = "[0-9a-fA-F]{1,4}", v4 = "(" + ipv4_pattern() + ")";
  std::string out =
      "((" + h + ":){7}" + h + "|(" + h + ":){6}" + v4 + "|(" + h + ":){1,7}:|::(" + h + ":){0,5}" + v4 + "|:(:" + h + "){1,7}|::";
  for (int left = 1; left <= 6; ++left) {
    const std::string head = "|(" + h + ":){1," + std::to_string(left) + "}";
    out += head + "(:" + h + "){1," + std::to_string(7 - left) + "}";
    if (left <= 5) out += head + ":" + v4;
    if (left <= 4) out += head + "(:" + h + "){1," + std::to_string(5 - left) + "}:" + v4;
  }
  return out + ")";
}

// Labels of letters, digits and inner hyphens. Either few labels of any length or many shorter ones: both stay below 253 characters.
// Hyphens in the third and fourth place would make an encoded label (xn--), whose validity is not regular.
std::string hostname_pattern() {
  const auto label = [](int longest) {
    const std::string a = "[a-zA-Z0-9]", an = "[a-zA-Z0-9-]";
    const std::string inner = an + "{0," + std::to_string(longest - 5) + "}";
    return "(" + a + "(" + a + "|" + an + a + "|" + an + an + a + "|" + an + "(" + an + a + "|" + a + "-)" + inner + a + ")?)";
  };
  return "(" + label(63) + "(\\." + label(63) + "){0,2}|" + label(15) + "(\\." + label(15) + "){0,14})";
}

std::string email_pattern() {
  const std::string atom = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,24}";
  const std::string quoted = "\"([ !#-\\[\\]-~]|\\\\[ -~]){0,60}\"";
  return "(" + atom + "(\\." + atom + "){0,1}|[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,8}(\\.[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,8}){0,6}|" + quoted +
         ")@(" + hostname_pattern() + "|\\[" + ipv4_pattern() + "\\]|\\[IPv6:" + ipv6_pattern() + "\\])";
}

std::string uri_pattern(bool reference) {
  const std::string plain = "a-zA-Z0-9._~!$&'()*+,;=-", escaped = "%[0-9a-fA-F]{2}";
  const std::string p = "([" + plain + ":@]|" + escaped + ")";
  const std::string authority =
      "(([" + plain + ":]|" + escaped + ")*@)?(([" + plain + "]|" + escaped + ")*|\\[" + ipv6_pattern() + "\\])(:[0-9]*)?";
  const std::string absolute_path = "/(" + p + "+(/" + p + "*)*)?";
  const std::string rest = "(\\?(" + p + "|[/?])*)?(#(" + p + "|[/?])*)?";
  const std::string hier = "(//" + authority + "(/" + p + "*)*|" + absolute_path + "|" + p + "+(/" + p + "*)*)?";
  const std::string uri = "[a-zA-Z][a-zA-Z0-9+.-]*:" + hier + rest;
  if (!reference) return uri;
  const std::string no_colon = "([" + plain + "@]|" + escaped + ")+";
  return "(" + uri + "|(//" + authority + "(/" + p + "*)*|" + absolute_path + "|" + no_colon + "(/" + p + "*)*)?" + rest + ")";
}

const std::map<std::string, std::string, std::less<>>& format_patterns() {
  static const std::map<std::string, std::string, std::less<>> patterns = {
      {"date", date_pattern()},
      {"time", time_pattern()},
      {"date-time", date_pattern() + "[tT]" + time_pattern()},
      {"duration", duration_pattern()},
      {"email", email_pattern()},
      {"hostname", hostname_pattern()},
      {"ipv4", ipv4_pattern()},
      {"ipv6", ipv6_pattern()},
      {"uri", uri_pattern(false)},
      {"uri-reference", uri_pattern(true)},
      {"uuid", "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"},
      {"json-pointer", "(/([^~/]|~[01])*)*"},
      {"relative-json-pointer", "(0|[1-9][0-9]{0,17})(#|(/([^~/]|~[01])*)*)"},
  };
  return patterns;
}

// Explores an automaton given as a function over small integer states; symbols are '-', '.', '0'..'9'.
constexpr std::string_view kSymbols = "-.0123456789";

using StepFunction = std::function<int64_t(int64_t state, char symbol)>;  // < 0: dead

Result<CharDfa> explore(int64_t start, const StepFunction& step, const std::function<bool(int64_t)>& accept, Allowance& allowance) {
  CharDfa out;
  out.cuts = {0};
  for (const char symbol : kSymbols) out.cuts.push_back(static_cast<uint32_t>(symbol));
  // "-." are neighbours, '/' comes between '.' and '0'.
  out.cuts.insert(out.cuts.begin() + 3, static_cast<uint32_t>('/'));
  out.cuts.push_back('9' + 1);
  std::map<int64_t, int32_t> names = {{start, 0}};
  std::vector<int64_t> order = {start};
  for (size_t at = 0; at < order.size(); ++at) {
    SLUICE_TRY_VOID(allowance.spend(200));
    SLUICE_TRY_VOID(allowance.hold(out.cuts.size() * 4 + 64));
    out.accept.push_back(accept(order[at]));
    for (const uint32_t cut : out.cuts) {
      const bool symbol = kSymbols.find(static_cast<char>(cut)) != std::string_view::npos && cut != 0;
      const int64_t to = symbol ? step(order[at], static_cast<char>(cut)) : -1;
      int32_t name = -1;
      if (to >= 0) {
        const auto [it, fresh] = names.try_emplace(to, static_cast<int32_t>(order.size()));
        if (fresh) order.push_back(to);
        name = it->second;
      }
      out.next.push_back(name);
    }
  }
  return minimized(out, allowance);
}

// States of the comparison of a written number with |limit|: sign, phase, position and the verdict on the digits so far.
struct Comparison {
  bool negative = false, fraction = false;
  int verdict = 0;   // of the digits read against the limit's digits: -1, 0, 1
  int64_t read = 0;  // digits of this phase, saturated one behind the limit's
  bool nonzero = false;

  int64_t pack() const { return ((((read * 2 + fraction) * 2 + negative) * 2 + nonzero) * 3) + verdict + 1; }
  static Comparison unpack(int64_t state) {
    Comparison c;
    c.verdict = static_cast<int>(state % 3) - 1;
    state /= 3;
    c.nonzero = state & 1;
    c.negative = state >> 1 & 1;
    c.fraction = state >> 2 & 1;
    c.read = state >> 3;
    return c;
  }
};

int final_order(const Comparison& c, const Decimal& limit) {
  const int64_t whole = static_cast<int64_t>(limit.whole.size());
  int magnitude = c.verdict;
  if (!c.fraction) {
    // A lone 0 has one digit where a limit below 1 has none.
    const int64_t read = c.nonzero ? c.read : 0;
    if (read != whole) {
      magnitude = read < whole ? -1 : 1;
    } else if (magnitude == 0 && !limit.fraction.empty()) {
      magnitude = -1;
    }
  } else if (magnitude == 0 && c.read < static_cast<int64_t>(limit.fraction.size())) {
    magnitude = -1;
  }
  if (!c.nonzero) return limit.whole.empty() && limit.fraction.empty() ? 0 : limit.negative ? 1 : -1;
  if (c.negative != limit.negative) return c.negative ? -1 : 1;
  return c.negative ? -magnitude : magnitude;
}

int64_t compare_step(const Comparison& from, char symbol, const Decimal& limit) {
  Comparison c = from;
  const int64_t whole = static_cast<int64_t>(limit.whole.size()), fraction = static_cast<int64_t>(limit.fraction.size());
  if (symbol == '-') {
    if (c.negative || c.read > 0 || c.fraction) return -1;
    c.negative = true;
    return c.pack();
  }
  if (symbol == '.') {
    if (c.fraction || c.read == 0) return -1;
    const int64_t read = c.nonzero ? c.read : 0;
    if (read != whole) c.verdict = read < whole ? -1 : 1;
    c.fraction = true;
    c.read = 0;
    return c.pack();
  }
  const std::string& digits = c.fraction ? limit.fraction : limit.whole;
  const int64_t most = c.fraction ? fraction : whole;
  const char expected = c.read < most ? digits[static_cast<size_t>(c.read)] : '0';
  // In the whole part digits beyond the limit's are settled by the count, not here.
  if (c.verdict == 0 && (c.fraction || c.read < most)) c.verdict = symbol < expected ? -1 : symbol > expected ? 1 : 0;
  c.nonzero |= symbol != '0';
  c.read = std::min(c.read + 1, most + 1);
  return c.pack();
}

bool holds(Bound bound, int order) {
  switch (bound) {
    case Bound::kAtLeast: return order >= 0;
    case Bound::kAtMost: return order <= 0;
    case Bound::kAbove: return order > 0;
    case Bound::kBelow: return order < 0;
    case Bound::kEqual: return order == 0;
  }
  return false;
}

Result<uint64_t> small_integer(const std::string& digits, std::string_view keyword, const std::string& written) {
  constexpr uint64_t kDivisorMax = 10'000;
  uint64_t value = 0;
  for (const char c : digits) {
    value = value * 10 + static_cast<uint64_t>(c - '0');
    if (value > kDivisorMax)
      return Error{"unsupported " + std::string(keyword) + ": " + written + " has more than four significant digits"};
  }
  return value;
}

}  // namespace

Result<CharDfa> format_language(std::string_view format, Allowance& allowance) {
  const auto& patterns = format_patterns();
  const auto it = patterns.find(format);
  if (it == patterns.end()) return Error{"unsupported format '" + std::string(format.substr(0, 60)) + "'"};
  return compile_regex(it->second, RegexMatch::kWhole, allowance);
}

Result<CharDfa> bound_language(const Decimal& limit, Bound bound, Allowance& allowance) {
  return explore(
      Comparison{}.pack(), [&](int64_t state, char symbol) { return compare_step(Comparison::unpack(state), symbol, limit); },
      [&](int64_t state) { return holds(bound, final_order(Comparison::unpack(state), limit)); }, allowance);
}

// value = digits / 10^scale is a multiple of divisor = m / 10^scale exactly when the digits, read as one integer, are a multiple of m.
Result<CharDfa> multiple_language(const Decimal& divisor, Allowance& allowance) {
  const std::string digits = divisor.whole + divisor.fraction;
  SLUICE_TRY(const uint64_t m, small_integer(digits, "multipleOf", divisor.text()));
  if (m == 0 || divisor.negative) return Error{"multipleOf must be above 0, not " + divisor.text()};
  const int64_t scale = static_cast<int64_t>(divisor.fraction.size()), modulus = static_cast<int64_t>(m);
  // state = (remainder, fraction digits read + 1, or 0 before the point); digits beyond the scale must be zero.
  const auto step = [=](int64_t state, char symbol) -> int64_t {
    int64_t remainder = state / (scale + 2), phase = state % (scale + 2);
    if (symbol == '-') return state;
    if (symbol == '.') return phase == 0 ? remainder * (scale + 2) + 1 : -1;
    if (phase == scale + 1) return symbol == '0' ? state : -1;
    remainder = (remainder * 10 + (symbol - '0')) % modulus;
    return remainder * (scale + 2) + (phase == 0 ? 0 : phase + 1);
  };
  const auto accept = [=](int64_t state) {
    int64_t remainder = state / (scale + 2);
    const int64_t phase = state % (scale + 2);
    for (int64_t missing = phase == 0 ? scale : scale + 1 - phase; missing > 0; --missing) remainder = remainder * 10 % modulus;
    return remainder == 0;
  };
  return explore(0, step, accept, allowance);
}

// With a point at most 15 significant digits: so many survive a double, so a reader's value keeps its side of every bound and its fraction.
Result<CharDfa> number_texts(Allowance& allowance) {
  constexpr uint32_t kDoubleDigits = 15;
  std::string pattern =
      "0(\\.0{1,4})?|-?0\\.0{0,12}[1-9][0-9]{0,14}|-?[1-9][0-9]{0," + std::to_string(limits::kConstraintNumberDigitsMax - 1) + "}";
  for (uint32_t whole = 1; whole < kDoubleDigits; ++whole) {
    pattern += "|-?[1-9][0-9]{" + std::to_string(whole - 1) + "}\\.[0-9]{1," + std::to_string(kDoubleDigits - whole) + "}";
  }
  return compile_regex(pattern, RegexMatch::kWhole, allowance);
}

Result<CharDfa> integer_values(Allowance& allowance) { return compile_regex("[^.]*(\\.0*)?", RegexMatch::kWhole, allowance); }
Result<CharDfa> without_point(Allowance& allowance) { return compile_regex("[^.]*", RegexMatch::kWhole, allowance); }
Result<CharDfa> shortest_texts(Allowance& allowance) { return compile_regex("[^.]*(\\.[0-9]*[1-9])?", RegexMatch::kWhole, allowance); }

}  // namespace sluice::text
