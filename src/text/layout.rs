//! Layouts from the words of a prompt: which concept goes where in the image.

use std::collections::BTreeSet;

use ttsvar_search::{Layout, Region};

use super::{plural::singulars, relation::Phrases};

/// Things that a drawn layout has, at most.
const MOST_DRAWN: usize = 4;

/// The layout that the relations of a prompt describe; `None` if a place is left open or impossible.
///
/// Each relation moves on by one cell, so two concepts take the halves of the image, and a chain in
/// one direction takes columns or rows of equal size.
pub fn layout_of_relations(prompt: &str) -> Option<Layout> {
    let phrases = Phrases::parse(prompt)?;
    if phrases.links.is_empty() {
        return None;
    }
    let mut cell = (0, 0);
    let mut cells = vec![cell];
    for link in &phrases.links {
        let (columns, rows) = link.direction()?;
        cell = (cell.0 + columns, cell.1 + rows);
        cells.push(cell);
    }
    let distinct: BTreeSet<_> = cells.iter().collect();
    if distinct.len() < cells.len() {
        return None; // two concepts at one place
    }
    let texts = phrases
        .concepts
        .iter()
        .map(|concept| concept.text.to_owned());
    Some(regions(texts.collect(), &cells))
}

/// The layouts that a prompt leaves open: of two to four things, such as `a dog and a cat` or
/// `three stars`, every arrangement in columns, in rows or as a square. Empty if it has other numbers
/// of things, or says where they are.
pub fn open_layouts(prompt: &str) -> Vec<Layout> {
    let Some(phrases) = Phrases::parse(prompt) else {
        return vec![];
    };
    if phrases.links.iter().any(|link| link.direction().is_some()) {
        return vec![];
    }
    let mut things = vec![];
    for concept in &phrases.concepts {
        match (concept.count, phrases.concepts.len()) {
            (Some(count @ 2..=MOST_DRAWN), 1) => things = vec![one_of(concept.text); count],
            _ => things.push(concept.text.to_owned()),
        }
    }
    if !(2..=MOST_DRAWN).contains(&things.len()) {
        return vec![];
    }
    let mut layouts: Vec<Layout> = vec![];
    for cells in arrangements(things.len()) {
        for order in permutations(&things) {
            let layout = regions(order, &cells);
            if !layouts.contains(&layout) {
                layouts.push(layout);
            }
        }
    }
    layouts
}

/// The beginning of the texts that are encoded for the regions of a prompt: its own, such as
/// `a painting of`, or the one that image generators see most.
pub fn beginning(prompt: &str) -> &str {
    match Phrases::parse(prompt) {
        Some(phrases) if phrases.beginning.ends_with("of") => phrases.beginning,
        _ => "a photo of",
    }
}

/// `a red star` of `three red stars`.
fn one_of(concept: &str) -> String {
    let mut words: Vec<&str> = concept.split_whitespace().skip(1).collect();
    let plural = words.pop().unwrap_or_default();
    let singular = singulars(plural).into_iter().next();
    words.push(singular.as_deref().unwrap_or(plural));
    format!("one {}", words.join(" "))
}

/// The cells (column, row) of some things in a row, in a column, and as a square.
fn arrangements(things: usize) -> Vec<Vec<(i32, i32)>> {
    let things = things as i32;
    let mut all = vec![
        (0..things).map(|thing| (thing, 0)).collect(),
        (0..things).map(|thing| (0, thing)).collect(),
    ];
    if things > 2 {
        all.push((0..things).map(|thing| (thing % 2, thing / 2)).collect());
    }
    all
}

/// Every order of some texts.
fn permutations(texts: &[String]) -> Vec<Vec<String>> {
    let Some((first, rest)) = texts.split_first() else {
        return vec![vec![]];
    };
    let mut all = vec![];
    for order in permutations(rest) {
        for place in 0..=order.len() {
            let mut order = order.clone();
            order.insert(place, first.clone());
            all.push(order);
        }
    }
    all
}

/// Gives each text its cell (column, row) of the smallest grid that has all of them.
fn regions(texts: Vec<String>, cells: &[(i32, i32)]) -> Layout {
    let columns = cells.iter().map(|cell| cell.0);
    let rows = cells.iter().map(|cell| cell.1);
    let across = span(columns);
    let down = span(rows);
    let mut layout = vec![];
    for (text, (column, row)) in texts.into_iter().zip(cells) {
        let [left, right] = part(*column, across);
        let [top, bottom] = part(*row, down);
        layout.push(Region {
            text,
            bounds: [left, top, right, bottom],
        });
    }
    layout
}

/// The lowest of some numbers, and how many there are from it to the highest.
fn span(numbers: impl Iterator<Item = i32> + Clone) -> (i32, i32) {
    let lowest = numbers.clone().min().unwrap_or(0);
    let highest = numbers.max().unwrap_or(0);
    (lowest, highest - lowest + 1)
}

/// Beginning and end of a cell as fractions of a span.
fn part(cell: i32, (lowest, count): (i32, i32)) -> [f64; 2] {
    let begins = (cell - lowest) as f64;
    [begins / count as f64, (begins + 1.0) / count as f64]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxes(prompt: &str) -> Option<Vec<(String, [f64; 4])>> {
        let layout = layout_of_relations(prompt)?;
        Some(layout.into_iter().map(|r| (r.text, r.bounds)).collect())
    }

    #[test]
    fn two_concepts_take_halves() {
        let left = [0.0, 0.0, 0.5, 1.0];
        let right = [0.5, 0.0, 1.0, 1.0];
        let upper = [0.0, 0.0, 1.0, 0.5];
        let lower = [0.0, 0.5, 1.0, 1.0];
        for (relation, first, second) in [
            ("left of", left, right),
            ("to the right of", right, left),
            ("on top of", upper, lower),
            ("beneath", lower, upper),
        ] {
            let found = boxes(&format!("a photo of a star {relation} two rings")).unwrap();
            let expected = [
                ("a star".to_owned(), first),
                ("two rings".to_owned(), second),
            ];
            assert_eq!(found, expected, "{relation}");
        }
    }

    #[test]
    fn chains_take_columns_rows_or_corners() {
        let found = boxes("a star left of a ring left of a cross").unwrap();
        assert_eq!(found[1].1, [1.0 / 3.0, 0.0, 2.0 / 3.0, 1.0]);
        let found = boxes("a star left of a ring above a cross").unwrap();
        let places: Vec<_> = found.iter().map(|region| region.1).collect();
        let expected = [
            [0.0, 0.0, 0.5, 0.5],
            [0.5, 0.0, 1.0, 0.5],
            [0.5, 0.5, 1.0, 1.0],
        ];
        assert_eq!(places, expected);
        assert_eq!(boxes("a star left of a ring right of a cross"), None);
        assert_eq!(boxes("a star left of a ring and a cross"), None);
        assert_eq!(boxes("a star near a ring"), None);
        assert_eq!(boxes("a star"), None);
    }

    #[test]
    fn open_places_have_every_arrangement() {
        let count = |prompt| open_layouts(prompt).len();
        assert_eq!(count("a photo of a star and a ring"), 4);
        assert_eq!(count("a star next to a ring"), 4);
        assert_eq!(count("three stars"), 3);
        assert_eq!(count("a star, a ring"), 0);
        assert_eq!(count("a star left of a ring"), 0);
        assert_eq!(count("a star"), 0);
        let stars = open_layouts("a photo of two red crosses");
        assert_eq!(stars[0][1].text, "one red cross");
        assert_eq!(stars[0][1].bounds, [0.5, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn regions_are_encoded_like_the_prompt() {
        assert_eq!(
            beginning("an oil painting of a cat above a dog"),
            "an oil painting of"
        );
        assert_eq!(beginning("there is a cat above a dog"), "a photo of");
        assert_eq!(beginning("anything else"), "a photo of");
    }
}
