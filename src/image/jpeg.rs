//! JPEG files as RGB, as Pillow's `convert("RGB")` makes them.
//!
//! Grey, YCbCr and RGB files come from the decoder as RGB. Those of four components are inked: like
//! Pillow, this takes every such file as inverted, as Adobe's programs write them. Colours differ
//! from libjpeg-turbo's by a few levels where chroma is subsampled; `tests/formats/images.rs` states
//! and checks the limits.

use std::io::Cursor;

use ttsvar_search::Image;
use zune_core::{colorspace::ColorSpace, options::DecoderOptions};
use zune_jpeg::JpegDecoder;

use super::{Orientation, check_size};

/// Pixels that one byte of a file can hold: a block of 8 x 8 takes at least one bit, so that 512 would
/// do. A file whose header promises more is not decoded.
const MOST_PIXELS_PER_BYTE: usize = 1024;

/// Decodes a file.
///
/// # Errors
/// The file is damaged, cut short or too large; the message names the fault.
pub(super) fn decode(bytes: &[u8]) -> Result<Image, String> {
    let options = DecoderOptions::new_fast()
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .set_strict_mode(false)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), options);
    decoder.decode_headers().map_err(message)?;
    let (width, height) = decoder.dimensions().ok_or("a JPEG without a size")?;
    check_size(width, height)?;
    if width * height > MOST_PIXELS_PER_BYTE * bytes.len() || !ends(bytes) {
        return Err("the JPEG ends too early".to_owned());
    }
    let orientation = Orientation::find(
        decoder.exif().map(Vec::as_slice),
        decoder.xmp().map(Vec::as_slice),
    );
    let inked = match decoder.input_colorspace() {
        Some(space @ (ColorSpace::CMYK | ColorSpace::YCCK)) if components(&decoder) == 4 => {
            decoder.set_options(options.jpeg_set_out_colorspace(space));
            Some(space)
        }
        _ => None,
    };
    let mut pixels = decoder.decode().map_err(message)?;
    if let Some(space) = inked {
        without_ink(&mut pixels, space == ColorSpace::YCCK);
    }
    if pixels.len() != 3 * width * height {
        return Err("the JPEG decoder returned an image of another size".to_owned());
    }
    Ok(orientation.apply(Image::new(width, height, pixels)))
}

fn components(decoder: &JpegDecoder<Cursor<&[u8]>>) -> u8 {
    decoder.info().map_or(0, |info| info.components)
}

/// Returns whether an end marker follows the headers, which may hold a complete JPEG as a thumbnail.
/// Without it, the decoder would fill what is missing with grey.
fn ends(bytes: &[u8]) -> bool {
    const SCAN: u8 = 0xda;
    let mut at = 2;
    while let Some([0xff, marker, high, low]) = bytes.get(at..at + 4) {
        match *marker {
            SCAN => break,
            0xff => at += 1,
            _ => at += 2 + usize::from(u16::from_be_bytes([*high, *low])),
        }
    }
    let scans = bytes.get(at..).unwrap_or_default();
    scans.windows(2).any(|pair| pair == b"\xff\xd9")
}

fn message(error: zune_jpeg::errors::DecodeErrors) -> String {
    format!("a JPEG that is damaged or of a rare kind: {error:?}")
}

/// Turns four inverted inks per pixel into RGB, in place.
fn without_ink(pixels: &mut Vec<u8>, luma_and_chroma: bool) {
    let count = pixels.len() / 4;
    for i in 0..count {
        let [first, second, third, black] = [0, 1, 2, 3].map(|channel| pixels[4 * i + channel]);
        let inks = match luma_and_chroma {
            // In libjpeg, C, M and Y are 255 - R, G and B; inverted again, they are R, G and B.
            true => from_ycc(first, second, third).map(|value| 255 - value),
            false => [first, second, third],
        };
        for (channel, ink) in inks.into_iter().enumerate() {
            pixels[3 * i + channel] = over_black(255 - ink, black);
        }
    }
    pixels.truncate(3 * count);
    pixels.shrink_to_fit();
}

/// Pillow's `cmyk2rgb`: the light that an ink and black leave. `light` is 255 - black.
fn over_black(ink: u8, light: u8) -> u8 {
    let product = u32::from(ink) * u32::from(light) + 128;
    let share = ((product >> 8) + product) >> 8;
    light.saturating_sub(share as u8)
}

/// libjpeg's conversion, with its 16 bits of fixed point.
fn from_ycc(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let y = i32::from(y);
    let cb = i32::from(cb) - 128;
    let cr = i32::from(cr) - 128;
    let red = y + ((91881 * cr + 32768) >> 16);
    let green = y + ((-22554 * cb - 46802 * cr + 32768) >> 16);
    let blue = y + ((116_130 * cb + 32768) >> 16);
    [red, green, blue].map(|value| value.clamp(0, 255) as u8)
}
