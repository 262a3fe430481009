//! Reads image files of any format that can be read.

use std::{
    fs::File,
    io::{BufReader, Cursor, Read, Seek},
    path::Path,
};

use ttsvar_search::Image;

use super::{CONVERT, Content, Format, HEAD, Mask, Png, READABLE, content, jpeg, png, webp};
use crate::{Error, Result, file::shielded, input};

/// Bytes of a JPEG or WebP file that are read at most.
const MOST_BYTES: u64 = 1 << 30;

/// Reads an image: PNG, JPEG or WebP, whatever its name. The pixels are those of Pillow's
/// `ImageOps.exif_transpose(Image.open(path)).convert("RGB")`: alpha is dropped, of 16 bits the upper
/// 8 are kept. Texts are not read; [`Png::open`] reads them.
///
/// # Errors
/// The file cannot be read, is not an image in one of these formats, is damaged, or has more than
/// [`super::MAX_PIXELS`] pixels.
pub fn open(path: impl AsRef<Path>) -> Result<Image> {
    let path = path.as_ref();
    let (mut file, found) = open_file(path)?;
    match readable(path, found)? {
        Format::Png => decoded(path, || png::decode_image(BufReader::new(&file))),
        Format::Jpeg => {
            let bytes = read(path, &mut file)?;
            decoded(path, || jpeg::decode(&bytes))
        }
        Format::WebP => {
            let bytes = read(path, &mut file)?;
            decoded(path, || webp::decode(&bytes))
        }
    }
}

/// Reads an image from the bytes of a file, as [`open`] does.
///
/// # Errors
/// As [`open`].
pub fn decode(bytes: &[u8]) -> Result<Image> {
    let image = match content(bytes) {
        Content::Image(Format::Png) => shielded(|| png::decode_image(Cursor::new(bytes))),
        Content::Image(Format::Jpeg) => shielded(|| jpeg::decode(bytes)),
        Content::Image(Format::WebP) => shielded(|| webp::decode(bytes)),
        Content::OtherImage(name) | Content::Other(name, _) => {
            let message = format!("not an image that can be read, but {name}");
            return Err(Error::input(message).with_hint(READABLE));
        }
    };
    in_memory(image)
}

/// Reads a mask from the bytes of an image file: the inside is transparent, or white if nothing is
/// transparent. Of values in between, those nearer to it are inside.
///
/// # Errors
/// As [`open`].
pub fn decode_mask(bytes: &[u8]) -> Result<Mask> {
    let image = decode(bytes)?;
    let alpha = match content(bytes) {
        Content::Image(Format::Png) => {
            in_memory(shielded(|| png::decode_alpha(Cursor::new(bytes))))?
        }
        _ => None,
    };
    let size = [image.width(), image.height()];
    let alpha = alpha.filter(|alpha| alpha.iter().any(|value| *value < 128));
    Ok(match alpha {
        Some(alpha) => Mask::new(size[0], size[1], |pixel| alpha[pixel] < 128),
        None => {
            let pixels = image.pixels();
            let sum = |pixel: usize| {
                let values = pixels[3 * pixel..3 * pixel + 3].iter();
                values.map(|value| u16::from(*value)).sum::<u16>()
            };
            Mask::new(size[0], size[1], |pixel| sum(pixel) >= 3 * 128)
        }
    })
}

/// Reads a mask, as [`decode_mask`].
///
/// # Errors
/// As [`open`].
pub fn open_mask(path: impl AsRef<Path>) -> Result<Mask> {
    let path = path.as_ref();
    let (mut file, found) = open_file(path)?;
    readable(path, found)?;
    decode_mask(&read(path, &mut file)?).map_err(|error| Error::in_file(path, error))
}

/// What a decoder makes of bytes; its panic is an error, too.
fn in_memory<T>(decoded: Result<Result<T, String>, String>) -> Result<T> {
    decoded
        .unwrap_or_else(|panic| Err(format!("its decoder failed: {panic}")))
        .map_err(|what| Error::input(what).with_hint(png::NOT_WHOLE_HINT))
}

/// What a decoder makes of a file; its panic is an error, too.
fn decoded<T>(path: &Path, decode: impl FnOnce() -> Result<T, String>) -> Result<T> {
    shielded(decode)
        .unwrap_or_else(|panic| Err(format!("its decoder failed: {panic}")))
        .map_err(|what| Error::file(path, what).with_hint(png::NOT_WHOLE_HINT))
}

/// The content of a file.
///
/// # Errors
/// The file cannot be read.
pub fn content_of(path: &Path) -> Result<Content> {
    Ok(open_file(path)?.1)
}

/// Checks that a file is a PNG, where only a PNG can hold what is needed.
///
/// # Errors
/// The file cannot be read, or is something else, which the error names.
pub fn check_png(path: &Path) -> Result<()> {
    require_png(path, content_of(path)?)
}

fn require_png(path: &Path, found: Content) -> Result<()> {
    let format = match found {
        Content::Image(Format::Png) => return Ok(()),
        Content::Image(Format::Jpeg) => "JPEG",
        Content::Image(Format::WebP) => "WebP",
        Content::OtherImage(name) => name,
        Content::Other(name, hint) => {
            let hint = hint.unwrap_or("give a PNG that records how it was made");
            return Err(Error::file(path, format!("not a PNG, but {name}")).with_hint(hint));
        }
    };
    Err(Error::file(
        path,
        format!("not a PNG, but an image in the format {format}"),
    )
    .with_hint(
        "only PNG files record how they were made; an image that was converted has lost its record",
    ))
}

fn open_file(path: &Path) -> Result<(File, Content)> {
    let io = |error| Error::io(path)(error);
    let mut file = input::open(path)?;
    let mut head = vec![];
    (&mut file)
        .take(HEAD as u64)
        .read_to_end(&mut head)
        .map_err(io)?;
    file.rewind().map_err(io)?;
    Ok((file, content(&head)))
}

/// The format of a file, if it can be read.
fn readable(path: &Path, found: Content) -> Result<Format> {
    match found {
        Content::Image(format) => Ok(format),
        Content::OtherImage(name) => Err(Error::file(
            path,
            format!("an image in the format {name}, but only {READABLE}"),
        )
        .with_hint(CONVERT)),
        Content::Other(name, hint) => {
            let unknown =
                "the file is damaged, or it is not an image; PNG, JPEG and WebP are supported";
            Err(
                Error::file(path, format!("expected an image, found {name}"))
                    .with_hint(hint.unwrap_or(unknown)),
            )
        }
    }
}

fn read(path: &Path, file: &mut File) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::io(path))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Error::file(
            path,
            format!("an image file of more than {} MiB", MOST_BYTES >> 20),
        ));
    }
    Ok(bytes)
}

impl Png {
    /// Reads a PNG file as [`open`], with its texts: those that are compressed only under keys of
    /// this program, `ttsvar:...`. Texts in Latin-1 come before those in UTF-8, each in the order of
    /// the file.
    ///
    /// # Errors
    /// As [`open`], or it is not a PNG, or its texts unpack to too many bytes.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (file, found) = open_file(path)?;
        require_png(path, found)?;
        decoded(path, || png::decode(BufReader::new(file)))
    }
}
