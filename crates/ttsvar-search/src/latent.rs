//! The latent of a candidate that is not finished.

use crate::Error;

/// What the decoder would turn into an image: for next-scale models the running sum of the codes of
/// all scales so far, resized to the finest grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Latent {
    /// Numbers per cell.
    pub channels: usize,
    /// Rows of cells.
    pub height: usize,
    /// Columns of cells.
    pub width: usize,
    /// (channels, height, width), row by row.
    pub values: Vec<f32>,
}

impl Latent {
    /// A latent of this shape.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::ErrorKind::Internal) if `values` has another length.
    pub fn new(
        channels: usize,
        height: usize,
        width: usize,
        values: Vec<f32>,
    ) -> Result<Self, Error> {
        let found = values.len();
        if channels
            .checked_mul(height)
            .and_then(|n| n.checked_mul(width))
            != Some(found)
        {
            return Err(Error::internal(format!(
                "a latent of {channels} x {height} x {width} has {found} values"
            )));
        }
        Ok(Self {
            channels,
            height,
            width,
            values,
        })
    }
}
