//! The vocabulary of scene captions.

/// A shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names explain themselves")]
pub enum Shape {
    Circle,
    Square,
    Triangle,
    Star,
    Ring,
    Cross,
}

/// Names and plurals, in the order of [`Shape`].
pub(super) const SHAPES: [(&str, &str); 6] = [
    ("circle", "circles"),
    ("square", "squares"),
    ("triangle", "triangles"),
    ("star", "stars"),
    ("ring", "rings"),
    ("cross", "crosses"),
];

/// A colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names explain themselves")]
pub enum Colour {
    Red,
    Orange,
    Yellow,
    Green,
    Blue,
    Purple,
    Pink,
    Black,
}

/// Names and values, in the order of [`Colour`].
pub(super) const COLOURS: [(&str, [u8; 3]); 8] = [
    ("red", [220, 40, 40]),
    ("orange", [245, 140, 20]),
    ("yellow", [245, 220, 40]),
    ("green", [40, 165, 70]),
    ("blue", [40, 80, 220]),
    ("purple", [140, 60, 190]),
    ("pink", [245, 130, 190]),
    ("black", [25, 25, 30]),
];

impl Colour {
    /// Every colour.
    pub const ALL: [Self; 8] = [
        Self::Red,
        Self::Orange,
        Self::Yellow,
        Self::Green,
        Self::Blue,
        Self::Purple,
        Self::Pink,
        Self::Black,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        COLOURS[self as usize].0
    }
}

/// The position of one object relative to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names explain themselves")]
pub enum Relation {
    LeftOf,
    RightOf,
    Above,
    Below,
}

impl Relation {
    /// Every relation.
    pub const ALL: [Self; 4] = [Self::LeftOf, Self::RightOf, Self::Above, Self::Below];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::LeftOf => "left of",
            Self::RightOf => "right of",
            Self::Above => "above",
            Self::Below => "below",
        }
    }
}

/// `1 red circle`, `2 stars`; without a colour if there is none.
pub(super) fn counted(count: usize, colour: Option<Colour>, shape: Shape) -> String {
    let colour = colour.map_or(String::new(), |colour| format!("{} ", colour.name()));
    let (one, many) = SHAPES[shape as usize];
    format!("{count} {colour}{}", if count == 1 { one } else { many })
}

/// `a red circle`, `an orange star`
pub(super) fn named(colour: Option<Colour>, shape: Shape) -> String {
    let words = colour.map_or(shape.name().to_owned(), |colour| {
        format!("{} {}", colour.name(), shape.name())
    });
    let article = if words.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {words}")
}
