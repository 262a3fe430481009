//! WebP files as RGB: lossy and lossless; of an animation, the first frame. Alpha is dropped.

use std::io::Cursor;

use image_webp::WebPDecoder;
use ttsvar_search::Image;

use super::{Orientation, check_size, drop_alpha};

/// Decodes a file.
///
/// # Errors
/// The file is damaged, cut short or too large; the message names the fault.
pub(super) fn decode(bytes: &[u8]) -> Result<Image, String> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(message)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    check_size(width, height)?;
    let exif = decoder.exif_metadata().ok().flatten();
    let xmp = decoder.xmp_metadata().ok().flatten();
    let orientation = Orientation::find(exif.as_deref(), xmp.as_deref());
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let mut pixels = vec![0; channels * width * height];
    decoder.read_image(&mut pixels).map_err(message)?;
    if channels == 4 {
        drop_alpha(&mut pixels);
    }
    Ok(orientation.apply(Image::new(width, height, pixels)))
}

fn message(error: image_webp::DecodingError) -> String {
    match error {
        image_webp::DecodingError::IoError(error)
            if error.kind() == std::io::ErrorKind::UnexpectedEof =>
        {
            "the WebP ends too early".to_owned()
        }
        error => format!("a WebP that is damaged: {error}"),
    }
}
