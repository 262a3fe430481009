//! Letters and colours of clusters.

/// The colours of Okabe and Ito (2008), which are distinct for people with any kind of colour
/// vision. Letters carry the same information.
pub(super) const COLOURS: [[u8; 3]; 7] = [
    [0, 114, 178],
    [200, 120, 0],
    [0, 130, 96],
    [190, 84, 148],
    [64, 140, 190],
    [176, 74, 0],
    [90, 90, 96],
];

/// A, B, … Z, AA, AB, …
pub(super) fn letters(mut number: usize) -> String {
    let mut name = String::new();
    loop {
        name.insert(0, char::from(b'A' + (number % 26) as u8));
        if number < 26 {
            return name;
        }
        number = number / 26 - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_have_letters_like_spreadsheet_columns() {
        assert_eq!(
            [0, 1, 25, 26, 51, 52, 701, 702].map(letters),
            ["A", "B", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]
        );
    }
}
