// One flag: its name, where it is kept, and what is said about it. Its values are written as
// Abseil's flags are.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/flags/marshalling.h"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/options.h"

namespace skipserve {

struct Flag {
  unsigned commands;  // Command bits
  const char* section;
  std::string name;
  const char* help;
  bool is_switch = false;
  std::function<absl::Status(absl::string_view value, Options& options)> set;
  std::function<std::string(const Options& options)> get;  // "" where there is nothing to show
};

const std::vector<Flag>& FlagTable();

// --- how values of the fields' types are read and shown

struct Range {
  double min = -1e18;
  double max = 1e18;
};

// "a whole number from 0 to 65535"
std::string KindText(bool whole, Range range);

template <typename T>
absl::Status ReadValue(absl::string_view text, Range range, T* out) {
  constexpr bool number = std::is_arithmetic_v<T> && !std::is_same_v<T, bool>;
  std::string error;
  T value{};
  bool good = absl::ParseFlag(text, &value, &error);
  if constexpr (number) {
    const auto size = static_cast<double>(value);
    good = good && size >= range.min && size <= range.max;  // not so for NaN
    error = absl::StrCat("is not ", KindText(std::is_integral_v<T>, range));
  }
  if (!good) return absl::InvalidArgumentError(error.empty() ? "is not true or false" : error);
  *out = std::move(value);
  return absl::OkStatus();
}

// Numbers between commas.
template <typename T>
requires std::is_arithmetic_v<T> absl::Status ReadValue(absl::string_view text, Range range,
                                                        std::vector<T>* out) {
  std::vector<T> values;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    T value = 0;
    if (absl::Status status = ReadValue(part, range, &value); !status.ok()) return status;
    values.push_back(value);
  }
  *out = std::move(values);
  return absl::OkStatus();
}

// Texts between commas; JSON, which has commas of its own, is one text.
inline absl::Status ReadValue(absl::string_view text, Range /*range*/,
                              std::vector<std::string>* out) {
  if (text.empty()) return absl::InvalidArgumentError("is empty");
  if (text.front() == '{') {
    *out = {std::string(text)};
  } else {
    *out = absl::StrSplit(text, ',');
  }
  return absl::OkStatus();
}

// Durations are written in seconds.
inline absl::Status ReadValue(absl::string_view text, Range range, std::chrono::milliseconds* out) {
  double seconds = 0;
  if (absl::Status status = ReadValue(text, range, &seconds); !status.ok()) return status;
  *out = std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
  return absl::OkStatus();
}

inline absl::Status ReadValue(absl::string_view text, Range range, absl::Duration* out) {
  double seconds = 0;
  if (absl::Status status = ReadValue(text, range, &seconds); !status.ok()) return status;
  *out = absl::Seconds(seconds);
  return absl::OkStatus();
}

inline std::string ShowValue(const std::string& value) { return value; }
inline std::string ShowValue(bool value) { return value ? "true" : "false"; }
template <typename T>
std::string ShowValue(const std::vector<T>& v) {
  return absl::StrJoin(v, ",");
}
inline std::string ShowValue(std::chrono::milliseconds value) {
  return absl::StrCat(static_cast<double>(value.count()) / 1000);
}
inline std::string ShowValue(absl::Duration value) {
  return absl::StrCat(absl::ToDoubleSeconds(value));
}
template <typename T>
std::string ShowValue(const T& value) {
  return absl::StrCat(value);
}

// Binds a flag to the field that `field` (Options& -> T&) finds.
template <typename Field>
Flag Bind(unsigned commands, const char* section, const char* name, Field field, const char* help,
          Range range = {}) {
  using T = std::remove_reference_t<decltype(field(std::declval<Options&>()))>;
  Flag flag{commands, section, name, help, std::is_same_v<T, bool>, nullptr, nullptr};
  flag.set = [field, range](absl::string_view value, Options& options) {
    return ReadValue(value, range, &field(options));
  };
  flag.get = [field](const Options& options) {
    return ShowValue(field(const_cast<Options&>(options)));
  };
  return flag;
}

}  // namespace skipserve
