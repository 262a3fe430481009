//! Text in images, in built-in fonts: Ubuntu Light for words, Hack for numbers. They have Latin,
//! Greek and Cyrillic letters; others appear as empty boxes.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, GlyphId, PxScale, ScaleFont, point};

static WORDS: LazyLock<FontRef> = LazyLock::new(|| font(epaint_default_fonts::UBUNTU_LIGHT));
static NUMBERS: LazyLock<FontRef> = LazyLock::new(|| font(epaint_default_fonts::HACK_REGULAR));

fn font(bytes: &'static [u8]) -> FontRef<'static> {
    FontRef::try_from_slice(bytes).expect("the embedded fonts are fonts")
}

/// A font at a size in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) enum Face {
    /// Ubuntu Light.
    Words(f32),
    /// Ubuntu Light, made heavier.
    Strong(f32),
    /// Hack, a monospaced font.
    Numbers(f32),
}

impl Face {
    /// The glyph of a letter and its font: arrows, for instance, are only in Hack.
    fn glyph(self, letter: char) -> (&'static FontRef<'static>, GlyphId) {
        let first: &FontRef = if matches!(self, Self::Numbers(_)) {
            &NUMBERS
        } else {
            &WORDS
        };
        match first.glyph_id(letter) {
            GlyphId(0) => (&NUMBERS, NUMBERS.glyph_id(letter)),
            id => (first, id),
        }
    }

    /// Distance to the next letter.
    fn advance(self, letter: char) -> f32 {
        let (font, id) = self.glyph(letter);
        font.as_scaled(self.scale()).h_advance(id) + self.weight()
    }

    fn scale(self) -> PxScale {
        let (Self::Words(size) | Self::Strong(size) | Self::Numbers(size)) = self;
        PxScale::from(size)
    }

    /// Horizontal offset of the second copy of each glyph, which makes it heavier.
    fn weight(self) -> f32 {
        if let Self::Strong(size) = self {
            size / 40.0
        } else {
            0.0
        }
    }
}

/// Width of a line of text in pixels.
pub(super) fn width(face: Face, words: &str) -> f32 {
    words.chars().map(|letter| face.advance(letter)).sum()
}

/// Breaks a text at spaces into lines of at most `room` pixels; if there are more than `most`
/// lines, the last ends in an ellipsis.
pub(super) fn wrap(face: Face, words: &str, room: f32, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words.split_whitespace() {
        let line = &lines[lines.len() - 1];
        let longer = if line.is_empty() {
            word.to_owned()
        } else {
            format!("{line} {word}")
        };
        if width(face, &longer) <= room || line.is_empty() {
            lines.pop();
            lines.push(longer);
        } else {
            lines.push(word.to_owned());
        }
    }
    if lines.len() > most {
        lines.truncate(most);
        lines[most - 1].push_str(" …");
    }
    lines
        .into_iter()
        .map(|line| cut(face, line, room))
        .collect()
}

/// Shortens a line until it fits.
fn cut(face: Face, line: String, room: f32) -> String {
    if width(face, &line) <= room {
        return line;
    }
    let mut letters: Vec<char> = line.trim_end_matches('…').chars().collect();
    while !letters.is_empty()
        && width(face, &format!("{}…", letters.iter().collect::<String>())) > room
    {
        letters.pop();
    }
    format!("{}…", letters.into_iter().collect::<String>().trim_end())
}

/// Draws a line of text through `blend(x, y, cover)`.
pub(super) fn draw(
    face: Face,
    left: f32,
    base: f32,
    words: &str,
    mut blend: impl FnMut(usize, usize, f32),
) {
    let copies = if face.weight() > 0.0 { 2 } else { 1 };
    let mut x = left;
    for letter in words.chars() {
        let (font, id) = face.glyph(letter);
        for copy in 0..copies {
            let place = point(x + copy as f32 * face.weight(), base);
            let Some(outline) = font.outline_glyph(id.with_scale_and_position(face.scale(), place))
            else {
                continue;
            };
            let left = outline.px_bounds().min.x;
            let top = outline.px_bounds().min.y;
            outline.draw(|dx, dy, cover| {
                let x = left + dx as f32;
                let y = top + dy as f32;
                if x >= 0.0 && y >= 0.0 {
                    blend(x as usize, y as usize, cover.min(1.0));
                }
            });
        }
        x += face.advance(letter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_end_in_an_ellipsis() {
        let face = Face::Words(16.0);
        let room = width(face, "a red circle");
        assert_eq!(
            wrap(face, "a red circle and a", room, 4),
            ["a red circle", "and a"]
        );
        assert_eq!(wrap(face, "", room, 4), [""]);
        let cut = wrap(face, "a red circle and a blue square and more", room, 2);
        assert!(
            cut.len() == 2 && cut[1].ends_with('…') && width(face, &cut[1]) <= room,
            "{cut:?}"
        );
        let long = wrap(face, &"x".repeat(200), room, 2);
        assert!(
            long.len() == 1 && long[0].ends_with('…') && width(face, &long[0]) <= room,
            "{long:?}"
        );
    }

    #[test]
    fn letters_leave_ink() {
        let mut ink = 0.0;
        draw(Face::Numbers(13.0), 0.0, 13.0, "0.5", |_, _, cover| {
            ink += cover
        });
        assert!(ink > 20.0, "{ink}");
    }
}
