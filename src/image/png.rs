//! PNG files: any kind of PNG is read as RGB, images are written with texts, and files
//! appear complete or not at all.

use std::{
    io::{BufRead, Cursor, Seek},
    path::Path,
};

use png::{ColorType, Decoder, DecodingError, Info, Limits, Reader, Transformations};

use super::{Image, Orientation, check_size, drop_alpha};
use crate::{
    Error, Result,
    file::{self, shielded},
};

/// Bytes that the decoder may use for anything but the pixels.
const MAX_BYTES: usize = 256 << 20;

/// Bytes to which the compressed texts of a file may unpack, all together. This program does not
/// compress its texts; other programs do when they rewrite a file.
const MAX_TEXT: usize = 16 << 20;

/// The start of the keys of this program's texts.
const OWN_KEYS: &str = "ttsvar:";

/// Keys of other programs' texts that are read (`report/parameters.rs`).
const OTHER_KEYS: [&str; 2] = ["parameters", "prompt"];

/// An image and the texts stored with it in a PNG file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Png {
    /// The image.
    pub image: Image,
    /// Key and value of each text, in the order in which they are written. A key has 1 to 79
    /// characters of Latin-1.
    pub text: Vec<(String, String)>,
}

impl Png {
    /// An image without texts.
    pub fn new(image: Image) -> Self {
        Self {
            image,
            text: Vec::new(),
        }
    }

    /// The same with one more text.
    pub fn with_text(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.text.push((key.into(), value.into()));
        self
    }

    /// The first text of that key.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.text
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    }

    /// Reads the bytes of a PNG file, as [`Png::open`].
    ///
    /// # Errors
    /// As [`Png::open`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        shielded(|| decode(Cursor::new(bytes)))
            .unwrap_or_else(|panic| Err(format!("its decoder failed: {panic}")))
            .map_err(|what| Error::input(what).with_hint(NOT_WHOLE_HINT))
    }

    /// The bytes of a PNG file: 8-bit RGB; ASCII texts as `tEXt`, others as `iTXt`. The same
    /// image and texts always give the same bytes. Fails when a key is empty, too long or not
    /// Latin-1, or a text contains a NUL.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.check_text()?;
        let mut bytes = Vec::new();
        self.encode_into(&mut bytes)
            .map_err(|e| Error::input(format!("cannot write this image as PNG: {e}")))?;
        Ok(bytes)
    }

    /// Writes a PNG file. It is written under a temporary name in the same folder and renamed when
    /// it is complete: no partial file is left behind, and a file of that name is kept if writing
    /// fails.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        file::replace(path, &self.encode()?).map_err(Error::io(path))
    }

    fn encode_into(&self, bytes: &mut Vec<u8>) -> Result<(), png::EncodingError> {
        let mut encoder =
            png::Encoder::new(bytes, self.image.width() as u32, self.image.height() as u32);
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        for (key, value) in &self.text {
            if value.is_ascii() {
                encoder.add_text_chunk(key.clone(), value.clone())?;
            } else {
                encoder.add_itxt_chunk(key.clone(), value.clone())?;
            }
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(self.image.pixels())?;
        writer.finish()
    }

    fn check_text(&self) -> Result<()> {
        for (key, value) in &self.text {
            let latin_1 = |c: char| matches!(c, ' '..='~' | '\u{a1}'..='\u{ff}');
            if !(1..=79).contains(&key.chars().count()) || !key.chars().all(latin_1) {
                return Err(Error::input(format!(
                    "`{key}` is not a valid key for a text in a PNG: \
                     expected 1 to 79 Latin-1 characters"
                )));
            }
            if value.contains('\0') {
                return Err(Error::input(format!(
                    "the text `{key}` contains a NUL, which a PNG cannot hold"
                )));
            }
        }
        Ok(())
    }
}

/// The hint for a file that cannot be decoded.
pub(super) const NOT_WHOLE_HINT: &str =
    "only complete files can be read as images: copy, download or generate it again";

/// Decodes a PNG without its texts.
///
/// # Errors
/// The file is damaged, cut short or too large; the message names the fault.
pub(super) fn decode_image(source: impl BufRead + Seek) -> Result<Image, String> {
    let mut decoder = decoder(source);
    decoder.set_ignore_text_chunk(true);
    let mut reader = decoder.read_info().map_err(message)?;
    read_image(&mut reader)
}

/// The alpha values of a PNG, row by row; `None` if it has none.
///
/// # Errors
/// As [`decode_image`].
pub(super) fn decode_alpha(source: impl BufRead + Seek) -> Result<Option<Vec<u8>>, String> {
    let mut decoder = decoder(source);
    decoder.set_ignore_text_chunk(true);
    let mut reader = decoder.read_info().map_err(message)?;
    check_size(reader.info().width as usize, reader.info().height as usize)?;
    let size = reader
        .output_buffer_size()
        .ok_or("an image too large for this machine")?;
    let channels = reader.output_color_type().0.samples();
    if !matches!(channels, 2 | 4) {
        return Ok(None);
    }
    let mut pixels = vec![0; size];
    reader.next_frame(&mut pixels).map_err(message)?;
    let alpha = pixels
        .chunks_exact(channels)
        .map(|pixel| pixel[channels - 1]);
    Ok(Some(alpha.collect()))
}

/// Decodes a PNG with its texts.
///
/// # Errors
/// As [`decode_image`], or the texts are damaged or too long.
pub(super) fn decode(source: impl BufRead + Seek) -> Result<Png, String> {
    let mut reader = decoder(source).read_info().map_err(message)?;
    let image = read_image(&mut reader)?;
    Ok(Png {
        image,
        text: read_text(reader.info())?,
    })
}

fn decoder<R: BufRead + Seek>(source: R) -> Decoder<R> {
    let mut decoder = Decoder::new_with_limits(source, Limits { bytes: MAX_BYTES });
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    decoder.set_ignore_iccp_chunk(true); // colours are taken as they are stored
    decoder
}

fn read_image<R: BufRead + Seek>(reader: &mut Reader<R>) -> Result<Image, String> {
    let width = reader.info().width as usize;
    let height = reader.info().height as usize;
    check_size(width, height)?;
    let pixels = read_pixels(reader)?;
    reader.finish().map_err(message)?; // EXIF data and texts may follow the pixels
    let exif = reader.info().exif_metadata.as_deref();
    Ok(Orientation::find(exif, None).apply(Image::new(width, height, pixels)))
}

/// Three values per pixel. Everything happens in the buffer that the decoder fills.
fn read_pixels<R: BufRead + Seek>(reader: &mut Reader<R>) -> Result<Vec<u8>, String> {
    let size = reader
        .output_buffer_size()
        .ok_or("an image too large for this machine")?;
    let channels = reader.output_color_type().0.samples();
    let count = size / channels;
    let mut pixels = vec![0; size.max(3 * count)];
    reader.next_frame(&mut pixels[..size]).map_err(message)?;
    match channels {
        3 => {}
        1 | 2 => {
            // From the end, so that no value is overwritten before it is read.
            for i in (0..count).rev() {
                let gray = pixels[channels * i];
                pixels[3 * i..3 * i + 3].fill(gray);
            }
        }
        _ => drop_alpha(&mut pixels),
    }
    Ok(pixels)
}

/// Returns whether a compressed text under this key is unpacked.
fn is_read(key: &str) -> bool {
    key.starts_with(OWN_KEYS) || OTHER_KEYS.contains(&key)
}

/// The texts of a file; compressed ones only where [`is_read`] says so.
fn read_text(info: &Info) -> Result<Vec<(String, String)>, String> {
    let mut budget = MAX_TEXT;
    let mut text = Vec::new();
    for chunk in &info.uncompressed_latin1_text {
        text.push((chunk.keyword.clone(), chunk.text.clone()));
    }
    for chunk in &info.compressed_latin1_text {
        if is_read(&chunk.keyword) {
            let mut chunk = chunk.clone();
            let key = chunk.keyword.clone();
            chunk
                .decompress_text_with_limit(budget)
                .map_err(|error| unpacking(&key, &error))?;
            let unpacked = chunk.get_text().map_err(message)?;
            budget -= unpacked.len().min(budget);
            text.push((chunk.keyword, unpacked));
        }
    }
    for chunk in &info.utf8_text {
        if !chunk.compressed {
            text.push((chunk.keyword.clone(), chunk.get_text().map_err(message)?));
        } else if is_read(&chunk.keyword) {
            let mut chunk = chunk.clone();
            let key = chunk.keyword.clone();
            chunk
                .decompress_text_with_limit(budget)
                .map_err(|error| unpacking(&key, &error))?;
            let unpacked = chunk.get_text().map_err(message)?;
            budget -= unpacked.len().min(budget);
            text.push((chunk.keyword, unpacked));
        }
    }
    Ok(text)
}

/// The problem with a compressed text.
fn unpacking(key: &str, error: &DecodingError) -> String {
    format!(
        "the text `{key}` cannot be unpacked within the {} MiB for all texts: {error}",
        MAX_TEXT >> 20
    )
}

/// The problem with a file that should be a PNG.
fn message(error: DecodingError) -> String {
    match error {
        DecodingError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the PNG ends too early".into()
        }
        DecodingError::IoError(e) => e.to_string(),
        DecodingError::LimitsExceeded => format!(
            "the PNG needs more than {} MB besides its pixels",
            MAX_BYTES >> 20
        ),
        DecodingError::Format(e) => format!("not a PNG, or a damaged one: {e}"),
        DecodingError::Parameter(e) => e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::image::{self, Filter, Resize};

    fn sample() -> Image {
        Image::new(5, 3, (0..45).map(|i| i * 5).collect())
    }

    fn encoded(
        color: ColorType,
        depth: png::BitDepth,
        data: &[u8],
        palette: Option<&[u8]>,
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if let Some(palette) = palette {
            encoder.set_palette(palette.to_vec());
            encoder.set_trns(vec![0, 128]);
        }
        encoder
            .write_header()
            .unwrap()
            .write_image_data(data)
            .unwrap();
        bytes
    }

    #[test]
    fn texts_come_back_as_they_were() {
        let long = "{\"scores\": [1, 2]}\n".repeat(3000);
        let png = Png::new(sample())
            .with_text("ttsvar:prompt", "two lines\nand a \"quote\"")
            .with_text("ttsvar:trace", &long)
            .with_text("empty", "")
            .with_text("schlüssel", "猫 über 🦀\nzweite Zeile");
        let back = Png::decode(&png.encode().unwrap()).unwrap();
        assert_eq!(back, png);
        assert_eq!(back.text("schlüssel"), Some("猫 über 🦀\nzweite Zeile"));
        assert_eq!(back.text("absent"), None);
    }

    #[test]
    fn keys_and_texts_that_png_cannot_hold_are_refused() {
        for (key, value) in [
            ("", "x"),
            ("猫", "x"),
            (&"k".repeat(80), "x"),
            ("key", "a\0b"),
        ] {
            assert!(
                Png::new(sample()).with_text(key, value).encode().is_err(),
                "{key:?}"
            );
        }
    }

    #[test]
    fn every_kind_of_png_becomes_rgb() {
        use png::BitDepth::{Eight, One, Sixteen};
        let rgb = |bytes: Vec<u8>| Png::decode(&bytes).unwrap().image.pixels().to_vec();
        assert_eq!(
            rgb(encoded(ColorType::Grayscale, One, &[0b0100_0000], None)),
            [0, 0, 0, 255, 255, 255]
        );
        assert_eq!(
            rgb(encoded(
                ColorType::GrayscaleAlpha,
                Eight,
                &[9, 0, 8, 255],
                None
            )),
            [9, 9, 9, 8, 8, 8]
        );
        assert_eq!(
            rgb(encoded(
                ColorType::Rgba,
                Eight,
                &[1, 2, 3, 0, 4, 5, 6, 255],
                None
            )),
            [1, 2, 3, 4, 5, 6]
        );
        let sixteen = [1, 99, 2, 99, 3, 99, 4, 99, 5, 99, 6, 99];
        assert_eq!(
            rgb(encoded(ColorType::Rgb, Sixteen, &sixteen, None)),
            [1, 2, 3, 4, 5, 6]
        );
        let palette = [7, 8, 9, 10, 11, 12];
        assert_eq!(
            rgb(encoded(ColorType::Indexed, Eight, &[1, 0], Some(&palette))),
            [10, 11, 12, 7, 8, 9]
        );
    }

    #[test]
    fn other_files_are_reported_as_not_png() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.png");
        fs::write(&path, "GIF89a").unwrap();
        let error = Png::open(&path).unwrap_err();
        assert!(error.to_string().contains("x.png: "), "{error}");
        assert!(error.hint().is_some());
        let whole = Png::new(sample()).encode().unwrap();
        for end in [0, 7, 20, whole.len() / 2] {
            assert!(Png::decode(&whole[..end]).is_err(), "cut at {end}");
        }
        assert!(matches!(
            Png::open(folder.path().join("absent.png")),
            Err(Error::Io { .. })
        ));
    }

    #[test]
    fn saving_leaves_nothing_else_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.png");
        image::save(&sample(), &path).unwrap();
        let small = sample().resize(2, 2, Filter::Bilinear);
        image::save(&small, &path).unwrap();
        assert_eq!(image::open(&path).unwrap().width(), 2);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(
            image::save(&sample(), &taken).is_err(),
            "a folder is not a file"
        );
        assert!(image::save(&sample(), folder.path().join("absent/image.png")).is_err());
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            2,
            "the image and the folder"
        );
    }
}
