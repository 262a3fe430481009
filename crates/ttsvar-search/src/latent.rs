//! The latent of a candidate that is not finished.

use crate::Error;

/// Numbers on a grid of cells.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMap {
    /// Numbers per cell.
    pub channels: usize,
    /// Rows of cells.
    pub height: usize,
    /// Columns of cells.
    pub width: usize,
    /// (channels, height, width), row by row.
    pub values: Vec<f32>,
}

impl FeatureMap {
    /// A map of this shape.
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
                "a feature map of {channels} x {height} x {width} has {found} values"
            )));
        }
        Ok(Self {
            channels,
            height,
            width,
            values,
        })
    }

    /// Channels, rows and columns.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }
}

/// What a generator knows of a candidate without decoding its image.
#[derive(Clone, Debug, PartialEq)]
pub struct Latent {
    /// What the decoder would turn into an image: for next-scale models the running sum of the
    /// codes of all scales so far, resized to the finest grid.
    pub map: FeatureMap,
    /// The output of a middle block of the network for the tokens of the latest scale, in the
    /// conditional branch, if the generator was asked for it.
    pub hidden: Option<FeatureMap>,
}

impl From<FeatureMap> for Latent {
    fn from(map: FeatureMap) -> Self {
        Self { map, hidden: None }
    }
}
