//! RGB images: reading PNG, JPEG and WebP, resizing as Pillow does it, cropping, conversion from and
//! to the numbers of a network, writing PNG.

mod folder;
mod format;
mod jpeg;
mod mask;
mod open;
mod opencv;
mod orientation;
mod png;
mod preprocess;
mod preprocessor_config;
mod resize;
mod webp;

use std::path::Path;

pub use folder::ImageFolder;
pub use format::{CONVERT, Content, Format, HEAD, READABLE, content};
pub use mask::Mask;
pub use open::{check_png, content_of, decode, decode_mask, open, open_mask};
pub use orientation::Orientation;
pub use png::Png;
pub use preprocess::Preprocess;
pub use preprocessor_config::PreprocessorConfig;
pub use resize::{Filter, Half, Resize};
use ttsvar_search::Image;

use crate::Result;

/// Pixels beyond which an image is refused: 134 million, 403 MB as RGB. Decoding takes more memory:
/// of a PNG 3 bytes per pixel (4 with alpha), of a JPEG 3 (9 if it is progressive), of a WebP 5 (8 if
/// it is lossless, 12 if it is animated), for JPEG and WebP the file besides, and 3 more if the image
/// is turned. Measured at the limit: 403 to 537 MB for PNG, 405 and 806 MB for JPEG, 600 MB for WebP.
pub const MAX_PIXELS: usize = 1 << 27;

/// Writes a PNG file without texts. An existing file is replaced only once the new one is complete.
///
/// # Errors
/// The file cannot be written.
pub fn save(image: &Image, path: impl AsRef<Path>) -> Result<()> {
    Png::new(image.clone()).save(path)
}

/// Checks the size of an image before its pixels are decoded.
fn check_size(width: usize, height: usize) -> Result<(), String> {
    if width.saturating_mul(height) > MAX_PIXELS {
        return Err(format!(
            "an image of {width} x {height} pixels; the limit is {MAX_PIXELS} pixels"
        ));
    }
    Ok(())
}

/// Drops the fourth of every four values, in place.
fn drop_alpha(pixels: &mut Vec<u8>) {
    let count = pixels.len() / 4;
    for i in 0..count {
        pixels.copy_within(4 * i..4 * i + 3, 3 * i);
    }
    pixels.truncate(3 * count);
    pixels.shrink_to_fit();
}
