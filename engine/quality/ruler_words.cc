// See the header.
#include "engine/quality/ruler_words.h"

#include <algorithm>
#include <cstddef>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace skipserve {
namespace {

constexpr Wording kAdjectives = {
    "quiet amber brave clumsy dusty eager frozen gentle hollow jolly lazy mellow nimble odd "
    "proud rusty salty tiny vivid wooden young zesty crooked foggy",
    "ancient bitter cheerful damp elegant fuzzy greedy humble icy jealous keen lonely modest "
    "noisy plain quick ragged shiny tall upset velvet windy yearly narrow"};

constexpr Wording kNouns = {
    "anchor basket candle dragon engine feather garden hammer island jacket kettle ladder "
    "mirror needle oyster pillow quarry ribbon saddle tunnel valley walnut yogurt zipper "
    "acorn bridge carpet desert eagle forest guitar harvest igloo jungle kitten lemon market "
    "nickel orchard parrot rabbit shadow temple uncle violin window bottle castle dinner "
    "elbow finger goblin helmet",
    "apron bucket camera donkey elephant fountain glacier honey insect jewel knight lantern "
    "meadow napkin onion palace quilt river sailor tablet urchin village wizard yacht zebra "
    "almond button cactus drawer easel falcon gravel hotel iron jigsaw keyhole locker magnet "
    "noodle otter pepper rocket spider turnip umpire vessel whistle barrel cradle dolphin "
    "ember fiddle giraffe hazard"};

constexpr Wording kConsonants = {"bdfgklmp", "cnrstvwz"};
constexpr absl::string_view kVowels = "aeiou";

std::vector<std::string> Words(absl::string_view list) { return absl::StrSplit(list, ' '); }

}  // namespace

std::vector<std::string> DrawKeys(TaskContext& context, size_t count) {
  std::vector<std::string> keys;
  const std::vector<std::string> nouns = Words(kNouns.For(context));
  for (const std::string& adjective : Words(kAdjectives.For(context))) {
    for (const std::string& noun : nouns) keys.push_back(absl::StrCat(adjective, "-", noun));
  }
  context.random.Shuffle(&keys);
  keys.resize(std::min(count, keys.size()));
  return keys;
}

std::vector<std::string> DrawNouns(TaskContext& context) {
  std::vector<std::string> nouns = Words(kNouns.For(context));
  context.random.Shuffle(&nouns);
  return nouns;
}

std::vector<std::string> DrawMadeUpWords(TaskContext& context, size_t count) {
  const absl::string_view consonants = kConsonants.For(context);
  const auto letter = [&](absl::string_view of) {
    return of[static_cast<size_t>(context.random.Below(static_cast<int64_t>(of.size())))];
  };
  std::vector<std::string> words;
  absl::flat_hash_set<std::string> seen;
  while (words.size() < count) {
    std::string word;
    for (int syllable = 0; syllable < 3; ++syllable) {
      word += letter(consonants);
      word += letter(kVowels);
    }
    if (seen.insert(word).second) words.push_back(word);
  }
  return words;
}

}  // namespace skipserve
