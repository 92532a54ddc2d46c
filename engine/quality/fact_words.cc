// The word lists. Words that contracts and manuals are full of are kept out: an answer must be
// nowhere else in its document.
#include "engine/quality/fact_words.h"

namespace skipserve {
namespace {

constexpr SlotWords kCalibration[] = {
    {"first",
     "Maria|Thomas|Ingrid|Pavel|Amina|Oskar|Lucia|Henrik|Yusuf|Clara|Dmitri|Rosa|Felix|"
     "Naomi|Anton|Greta|Samuel|Elena|Viktor|Hanna"},
    {"last",
     "Keller|Brenner|Lindqvist|Okafor|Moreau|Haddad|Novak|Castellan|Byrne|Takeda|Vasquez|"
     "Holloway|Ferrari|Dahl|Petrov|Ashby|Kimura|Rossi|Wynn|Jansen"},
    {"town",
     "Oldenburg|Lisbon|Tampere|Avignon|Krakow|Bergen|Salamanca|Ghent|Ljubljana|Galway|"
     "Uppsala|Trieste|Malaga|Leipzig|Debrecen|Aarhus|Perugia|Utrecht|Plovdiv|Inverness"},
    {"room",
     "north storage room|old boiler house|second reading room|harbour office|"
     "glass pavilion|lower archive|map cabinet|east stairwell|music school|summer kitchen|"
     "print workshop|river warehouse"},
    {"colour", "crimson|turquoise|violet|magenta|teal|scarlet|silver|purple|beige|maroon"},
    {"animal", "hedgehog|falcon|seal|donkey|heron|badger|goose|lynx|tortoise|squirrel|raven|camel"},
    {"fruit", "pear|apricot|cherry|mango|plum|fig|raspberry|papaya|quince|melon"},
    {"flower",
     "marigold|tulip|jasmine|orchid|gladiolus|daffodil|lilac|edelweiss|snowdrop|geranium"},
    {"thing",
     "umbrella|telescope|violin|lantern|teapot|ladder|compass|sewing machine|saxophone|"
     "barometer|wheelbarrow|chessboard"},
    {"pet",
     "Bramble|Pepper|Zorro|Biscuit|Mocha|Rufus|Clementine|Pixel|Tango|Juniper|Waffle|"
     "Nimbus"},
    {"trade",
     "baker|carpenter|beekeeper|tailor|locksmith|gardener|dentist|plumber|florist|"
     "blacksmith"},
    {"dish",
     "mushroom soup|lentil stew|fish pie|spinach pancakes|onion tart|roast duck|"
     "noodle salad|cheese omelette|pumpkin curry|bean casserole"},
    {"time",
     "half past six|quarter to nine|ten past four|twenty to eight|quarter past eleven|"
     "five to three|half past one|ten to five"},
};

constexpr SlotWords kHeldOut[] = {
    {"first",
     "Beatrice|Marek|Sofia|Leon|Farida|Gustav|Noor|Stefan|Ida|Rafael|Magda|Omar|Judith|"
     "Emil|Carmen|Tobias|Leila|Conrad|Agnes|Milan"},
    {"last",
     "Hoffmann|Adeyemi|Larsen|Fontaine|Mirza|Kowalski|Duarte|Sinclair|Yamada|Pereira|"
     "Whitlock|Bianchi|Strand|Ivanov|Thorne|Nakano|Esposito|Varga|Quinn|Hartwell"},
    {"town",
     "Rostock|Porto|Turku|Grenoble|Gdansk|Stavanger|Granada|Antwerp|Maribor|Limerick|"
     "Malmo|Verona|Cadiz|Dresden|Szeged|Odense|Bologna|Haarlem|Varna|Dundee"},
    {"room",
     "south laundry room|upper gallery|bicycle shed|lighthouse cellar|tea house|"
     "west greenhouse|costume store|clock tower|chapel attic|fishing hut|pottery studio|"
     "garden hall"},
    {"colour", "yellow|orange|indigo|olive|lavender|golden|bronze|pink|ivory|burgundy"},
    {"animal", "beaver|owl|ferret|pony|stork|weasel|peacock|wolf|lizard|rabbit|magpie|llama"},
    {"fruit", "peach|banana|grape|lemon|pineapple|mulberry|blueberry|guava|pomegranate|kiwi"},
    {"flower",
     "sunflower|bougainvillea|magnolia|carnation|thistle|hyacinth|bluebell|dahlia|"
     "buttercup|foxglove"},
    {"thing",
     "suitcase|microscope|trumpet|candlestick|frying pan|hammock|sextant|typewriter|harp|"
     "metronome|rowing boat|globe"},
    {"pet",
     "Pickles|Domino|Hazel|Truffle|Ziggy|Cinnamon|Moritz|Sprocket|Polka|Maple|Dumpling|"
     "Comet"},
    {"trade",
     "butcher|bookbinder|shepherd|cobbler|watchmaker|sailor|glazier|barber|weaver|jeweller"},
    {"dish",
     "barley soup|goulash|cottage pie|potato dumplings|leek quiche|grilled trout|"
     "rice pudding|ratatouille|paella|beetroot risotto"},
    {"time",
     "half past seven|quarter to two|twenty past ten|five past twelve|quarter past eight|"
     "ten to one|half past four|twenty to six"},
};

}  // namespace

absl::Span<const SlotWords> FactWords(bool held_out) {
  if (held_out) return kHeldOut;
  return kCalibration;
}

}  // namespace skipserve
