//! RGB images: resizing as Pillow does it, cropping, conversion from and to the numbers of a
//! network, PNG files.

use std::path::Path;

use ttsvar_search::Image;

use crate::Result;

mod mask;
mod opencv;
mod png;
mod preprocess;
mod preprocessor_config;
mod resize;

pub use mask::Mask;
pub use png::{Png, is_other_image_format};
pub use preprocess::Preprocess;
pub use preprocessor_config::PreprocessorConfig;
pub use resize::{Filter, Resize};

/// Reads a PNG file; its texts are dropped. [`Png::open`] keeps them.
///
/// # Errors
/// The file cannot be read, or is not an RGB image of a size that fits into memory.
pub fn open(path: impl AsRef<Path>) -> Result<Image> {
    Ok(Png::open(path)?.image)
}

/// Writes a PNG file without texts. An existing file is replaced only once the new one is complete.
///
/// # Errors
/// The file cannot be written.
pub fn save(image: &Image, path: impl AsRef<Path>) -> Result<()> {
    Png::new(image.clone()).save(path)
}
