//! The vocabulary of [`super::grammar`]: words that end a noun phrase, begin one, or occur inside.
//!
//! The lists cover T2I-CompBench's prompts; words that are in none of them count as nouns.

/// Returns whether a word is in a list.
pub fn has(list: &str, word: &str) -> bool {
    list.split(' ').any(|entry| entry == word)
}

/// Words that begin a noun phrase.
pub const DETERMINERS: &str = "\
    a all an another both each eight every few five four her his its many my nine no one other \
    our seven several six some ten the their these this those three two your";

/// Words that are noun phrases by themselves.
pub const PRONOUNS: &str = "he him it she them they which who";

/// Words that end a noun phrase and never belong to one.
pub const LINKS: &str = "\
    about above across after against along alongside among and around as at away because before \
    behind below beneath beside between but by down during even for from if in inside into like \
    near nearby next not of off on onto or otherwise out over past so than that then through \
    throughout to together toward towards under until up upon when where while with within \
    without";

/// Words that are always verbs.
pub const VERBS: &str = "\
    accentuated added admired adorned am are attached attract attracts be beat been being blew \
    boil built burst came captured cast clawed climbed comes decorate draws drew drove eats \
    features feeds fell flew gleamed gleams glides glistened gone grew had hangs has have held \
    helps holds hung illuminate illuminates is jot keep keeps kept lay leads led lies lit looks \
    loomed made makes melted might must propelled provide provided provides ran reads rests runs \
    sang sank sat shines shone sits slept snaked sparkled sped spun stands stood swam swayed \
    swept swirled takes told took tried twirled undulated was wears went were will woke wore \
    would wrote";

/// Words, also with an `s`, that are verbs after a noun and not before one, and nouns otherwise:
/// `the bowl mix the batter`, `a mix`.
pub const NOUN_OR_VERB: &str = "\
    bake contrast cook cut display flash float hang hold measure mix nap perch pound pour \
    release rest rose serve shape sit slice stir touch write";

/// Nouns that end like participles.
pub const NOT_PARTICIPLES: &str = "\
    building ceiling clothing cowboy earring flooring lightning meeting painting parking pudding \
    reed seating seed speed stocking wedding weed";

/// Adjectives.
pub const ADJECTIVES: &str = "\
    abstract ancient angular beige big black blank blue bold bright brown bulky bumpy busy calm \
    cheap chilly choppy circular clean clear coarse cold comfortable conical cool cozy crescent \
    crisp crispy crunchy cubic curved curvy cyan cylindrical damp dark deep delicate dim dizzy \
    dry dull dusty dynamic eager early earthy elegant empty fast fiery final flat fluffy \
    fragrant free fresh frozen furry fuzzy gentle glossy gold golden gooey grand gray greasy \
    great green grey happy hard heavy hexagonal high hot huge human icy intricate ivory jagged \
    juicy large last lazy left light little lively long lovely low lumpy lush magenta majestic \
    maroon maternal matte metallic modern multicolored narrow natural new nice oblong octagonal \
    old ominous only opaque open orange ornate oval pentagonal pink plain plump plush poor \
    prickly purple pyramidal quiet rare rectangular red reedy rich right ripe rocky rough round \
    rugged rusty sad same serene sharp sheer shiny short silky silver simple sleek sleepy slimy \
    slow slushy small smooth soft sour spherical spicy spiky square sticky still straight strong \
    stunning sturdy sunny sweet tall tan tart teal tender thick thin thorny tiny tired \
    translucent transparent triangular turquoise ugly unique urban velvety vibrant vintage \
    violet vivid warm wavy weak wet white wide wild windy wooden woolly yellow young";

/// Adjectives that are nouns at the end of a phrase: `a traffic light`, `a red orange`.
pub const NOUNS_TOO: &str =
    "crescent dark gold human ivory left light orange oval right silver square violet";

/// Endings of adjectives.
pub const ADJECTIVE_ENDINGS: &str = "ous ful less ive able ible ese esque";

/// Nouns that end like adverbs.
pub const NOT_ADVERBS: &str =
    "assembly belly butterfly doily dragonfly family firefly holly housefly jelly supply";

/// Nouns that end like adjectives.
pub const NOT_ADJECTIVES: &str = "bible cable cheese dive drive geese hive olive table vegetable";
