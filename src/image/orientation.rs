//! The rotation that cameras record instead of rotating the pixels, as Pillow's
//! `ImageOps.exif_transpose` applies it.

use ttsvar_search::Image;

/// How the stored pixels are turned: 1 to 8, as in EXIF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orientation(u8);

/// The number of EXIF's field.
const TAG: u16 = 0x0112;

impl Orientation {
    /// The orientation in an image's EXIF data or, where that has none, in its XMP data.
    pub fn find(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Self {
        let found = exif
            .and_then(from_exif)
            .or_else(|| xmp.and_then(from_xmp))
            .filter(|number| (1..=8).contains(number));
        Self(found.unwrap_or(1))
    }

    /// Turns an image upright. Turning by 90° needs a second image in memory.
    pub fn apply(self, image: Image) -> Image {
        if self.0 == 1 {
            return image;
        }
        let width = image.width();
        let height = image.height();
        let turned = self.0 >= 5;
        let (out_width, out_height) = if turned {
            (height, width)
        } else {
            (width, height)
        };
        let mut pixels = Vec::with_capacity(image.pixels().len());
        for y in 0..out_height {
            for x in 0..out_width {
                let (from_x, from_y) = match self.0 {
                    2 => (width - 1 - x, y),
                    3 => (width - 1 - x, height - 1 - y),
                    4 => (x, height - 1 - y),
                    5 => (y, x),
                    6 => (y, height - 1 - x),
                    7 => (width - 1 - y, height - 1 - x),
                    _ => (width - 1 - y, x),
                };
                let at = 3 * (from_y * width + from_x);
                pixels.extend_from_slice(&image.pixels()[at..at + 3]);
            }
        }
        Image::new(out_width, out_height, pixels)
    }
}

/// The orientation in EXIF data, which is a TIFF file.
fn from_exif(exif: &[u8]) -> Option<u8> {
    let tiff = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if little {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        })
    };
    let u32_at = |at: usize| {
        let bytes = tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if little {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        })
    };
    let directory = u32_at(4)? as usize;
    let entries = usize::from(u16_at(directory)?);
    for entry in 0..entries {
        let at = directory + 2 + 12 * entry;
        if u16_at(at)? == TAG {
            return u8::try_from(u16_at(at + 8)?).ok();
        }
    }
    None
}

/// The orientation in XMP data: `tiff:Orientation="6"`, or between tags.
fn from_xmp(xmp: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let at = xmp.windows(NAME.len()).position(|part| part == NAME)? + NAME.len();
    let digit = match xmp.get(at..)? {
        [b'=', b'"' | b'\'', digit, ..] | [b'>', digit, ..] => *digit,
        _ => return None,
    };
    digit.is_ascii_digit().then(|| digit - b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exif(little: bool, orientation: u16) -> Vec<u8> {
        let two = |n: u16| {
            if little {
                n.to_le_bytes()
            } else {
                n.to_be_bytes()
            }
        };
        let four = |n: u32| {
            if little {
                n.to_le_bytes()
            } else {
                n.to_be_bytes()
            }
        };
        let mut bytes = if little {
            b"II*\0".to_vec()
        } else {
            b"MM\0*".to_vec()
        };
        bytes.extend(four(8));
        bytes.extend(two(1));
        bytes.extend(two(TAG));
        bytes.extend(two(3));
        bytes.extend(four(1));
        bytes.extend(two(orientation));
        bytes.extend([0, 0]);
        bytes
    }

    #[test]
    fn the_orientation_is_found() {
        for little in [true, false] {
            let bytes = exif(little, 6);
            assert_eq!(Orientation::find(Some(&bytes), None), Orientation(6));
            let with_head = [b"Exif\0\0", &bytes[..]].concat();
            assert_eq!(Orientation::find(Some(&with_head), None), Orientation(6));
            for end in 0..bytes.len() - 2 {
                assert_eq!(Orientation::find(Some(&bytes[..end]), None), Orientation(1));
            }
        }
        assert_eq!(
            Orientation::find(Some(&exif(true, 9)), None),
            Orientation(1)
        );
        let far = b"II*\0\xff\xff\xff\xff";
        assert_eq!(Orientation::find(Some(far), None), Orientation(1));
        let xmp = b"<rdf:Description tiff:Orientation=\"8\"/>";
        assert_eq!(Orientation::find(None, Some(xmp)), Orientation(8));
        let xmp = b"<tiff:Orientation>3</tiff:Orientation>";
        assert_eq!(Orientation::find(Some(b"x"), Some(xmp)), Orientation(3));
    }

    /// The results of Pillow 13.0 for 2 x 3 pixels.
    #[test]
    fn images_are_turned_as_pillow_turns_them() {
        let pixels = (0..6).flat_map(|i| [i, i, i]).collect();
        let image = Image::new(2, 3, pixels);
        let expected = [
            [0, 1, 2, 3, 4, 5],
            [1, 0, 3, 2, 5, 4],
            [5, 4, 3, 2, 1, 0],
            [4, 5, 2, 3, 0, 1],
            [0, 2, 4, 1, 3, 5],
            [4, 2, 0, 5, 3, 1],
            [5, 3, 1, 4, 2, 0],
            [1, 3, 5, 0, 2, 4],
        ];
        for (number, expected) in (1..).zip(expected) {
            let turned = Orientation(number).apply(image.clone());
            let found: Vec<u8> = turned.pixels().iter().copied().step_by(3).collect();
            assert_eq!(found, expected, "orientation {number}");
            assert_eq!(turned.width(), if number < 5 { 2 } else { 3 });
        }
    }
}
