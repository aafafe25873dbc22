// strftime over the injected clock, in the C locale (template_builtins.h). Contract: unknown directives are copied, as glibc does.
// Next: chat_template.h for DateTime.
#include <array>

#include <fmt/format.h>

#include "text/template_builtins.h"

namespace sluice::text {

namespace {

// Days since 1970-01-01 of a civil date, and back (Hinnant's published algorithms for the proleptic Gregorian calendar).
int64_t days_of(int64_t year, int month, int day) {
  year -= month <= 2;
  const int64_t era = (year >= 0 ? year : year - 399) / 400;
  const int64_t year_of_era = year - era * 400;
  const int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

}  // namespace

DateTime DateTime::from_unix(int64_t seconds, int64_t offset_seconds) {
  constexpr int64_t kRange = int64_t{253402300800};  // year 10000; anything beyond is shown as its end
  seconds = std::min(std::max(seconds, -kRange), kRange) + std::min<int64_t>(std::max<int64_t>(offset_seconds, -86400), 86400);
  int64_t days = seconds / 86400;
  int64_t rest = seconds % 86400;
  if (rest < 0) {
    rest += 86400;
    --days;
  }
  days += 719468;
  const int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  const int64_t day_of_era = days - era * 146097;
  const int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const int64_t shifted_month = (5 * day_of_year + 2) / 153;
  DateTime out;
  out.day = static_cast<int>(day_of_year - (153 * shifted_month + 2) / 5 + 1);
  out.month = static_cast<int>(shifted_month < 10 ? shifted_month + 3 : shifted_month - 9);
  out.year = static_cast<int>(year_of_era + era * 400 + (out.month <= 2 ? 1 : 0));
  out.hour = static_cast<int>(rest / 3600);
  out.minute = static_cast<int>(rest / 60 % 60);
  out.second = static_cast<int>(rest % 60);
  return out;
}

namespace jinja {

namespace {

constexpr std::array<std::string_view, 12> kMonths = {"January", "February", "March",     "April",   "May",      "June",
                                                      "July",    "August",   "September", "October", "November", "December"};
constexpr std::array<std::string_view, 7> kDays = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};

class TimeFormatter {
 public:
  explicit TimeFormatter(const DateTime& now) : now_(now) {
    const int64_t days = days_of(now.year, now.month, now.day);
    weekday_ = static_cast<int>(((days + 4) % 7 + 7) % 7);  // 1970-01-01 was a Thursday
    day_of_year_ = static_cast<int>(days - days_of(now.year, 1, 1));
  }

  std::string directive(char c, char flag) const {
    const int hour12 = (now_.hour + 11) % 12 + 1;
    switch (c) {
      case 'a': return std::string(kDays[static_cast<size_t>(weekday_)].substr(0, 3));
      case 'A': return std::string(kDays[static_cast<size_t>(weekday_)]);
      case 'b':
      case 'h': return std::string(month().substr(0, 3));
      case 'B': return std::string(month());
      case 'C': return number(now_.year / 100, 2, '0', flag);
      case 'd': return number(now_.day, 2, '0', flag);
      case 'e': return number(now_.day, 2, ' ', flag);
      case 'f': return number(now_.microsecond, 6, '0', '\0');
      case 'H': return number(now_.hour, 2, '0', flag);
      case 'I': return number(hour12, 2, '0', flag);
      case 'j': return number(day_of_year_ + 1, 3, '0', flag);
      case 'k': return number(now_.hour, 2, ' ', flag);
      case 'l': return number(hour12, 2, ' ', flag);
      case 'm': return number(now_.month, 2, '0', flag);
      case 'M': return number(now_.minute, 2, '0', flag);
      case 'n': return "\n";
      case 'p': return now_.hour < 12 ? "AM" : "PM";
      case 'P': return now_.hour < 12 ? "am" : "pm";
      case 'S': return number(now_.second, 2, '0', flag);
      case 't': return "\t";
      case 'u': return number(weekday_ == 0 ? 7 : weekday_, 1, '0', flag);
      case 'U': return number((day_of_year_ + 7 - weekday_) / 7, 2, '0', flag);
      case 'w': return number(weekday_, 1, '0', flag);
      case 'W': return number((day_of_year_ + 7 - (weekday_ + 6) % 7) / 7, 2, '0', flag);
      case 'y': return number((now_.year % 100 + 100) % 100, 2, '0', flag);
      case 'Y': return number(now_.year, 1, '0', flag);
      case 'z':
      case 'Z': return "";  // a naive time has no zone
      case '%': return "%";
      default: return composed(c, flag);
    }
  }

 private:
  std::string_view month() const { return kMonths[static_cast<size_t>((now_.month + 11) % 12)]; }

  std::string composed(char c, char flag) const {
    const auto d = [&](char x) { return directive(x, '\0'); };
    switch (c) {
      case 'c': return d('a') + " " + d('b') + " " + d('e') + " " + composed('T', '\0') + " " + d('Y');
      case 'D':
      case 'x': return d('m') + "/" + d('d') + "/" + d('y');
      case 'F': return d('Y') + "-" + d('m') + "-" + d('d');
      case 'r': return d('I') + ":" + d('M') + ":" + d('S') + " " + d('p');
      case 'R': return d('H') + ":" + d('M');
      case 'T':
      case 'X': return d('H') + ":" + d('M') + ":" + d('S');
      default: return std::string("%") + (flag != '\0' ? std::string(1, flag) : "") + c;
    }
  }

  static std::string number(int value, int width, char pad, char flag) {
    if (flag == '-') return fmt::format("{}", value);
    const char fill = flag == '_' ? ' ' : flag == '0' ? '0' : pad;
    return fill == ' ' ? fmt::format("{:>{}}", value, width) : fmt::format("{:0{}}", value, width);
  }

  const DateTime& now_;
  int weekday_ = 0;
  int day_of_year_ = 0;
};

}  // namespace

const Str* format_time(Heap& heap, const Str* format, const DateTime& now) {
  if (!heap.work(1 + format->size)) return nullptr;
  const TimeFormatter formatter(now);
  Builder out(heap);
  const std::string_view text = format->view();
  for (size_t i = 0; i < text.size() && !heap.failed(); ++i) {
    if (text[i] != '%' || i + 1 == text.size()) {
      out.append(*format, i, i + 1);
      continue;
    }
    char flag = '\0';
    if ((text[i + 1] == '-' || text[i + 1] == '_' || text[i + 1] == '0') && i + 2 < text.size()) flag = text[++i];
    out.append(formatter.directive(text[++i], flag), false);
  }
  return heap.failed() ? nullptr : out.finish();
}

}  // namespace jinja

}  // namespace sluice::text
