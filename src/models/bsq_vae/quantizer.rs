//! Bits and their codes: each token's bits are the signs of a vector on the unit sphere
//! (binary spherical quantization), each scale's vectors are a residual of the latent.

use candle_core::{Device, Result, Tensor};

use crate::nn::{area, bilinear};

/// The shape of the latents that an image is built of, and the arithmetic of its scales.
///
/// The transformer may see a grid that is coarser than the latent: with `patch` 2 a token stands
/// for 2 x 2 latent cells (`apply_spatial_patchify`, the 8B models), and its bits are those of the
/// four cells, channel by channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latent {
    /// Values, and bits, of a latent cell.
    pub channels: usize,
    /// Latent cells along one side of a token: 1 or 2.
    pub patch: usize,
    /// Token grid (rows, columns) of the last scale.
    pub grid: (usize, usize),
}

impl Latent {
    /// Bits of one token.
    pub fn bits(&self) -> usize {
        self.channels * self.patch * self.patch
    }

    /// Rows and columns of the finished latent.
    pub fn size(&self) -> (usize, usize) {
        self.cells(self.grid)
    }

    fn cells(&self, grid: (usize, usize)) -> (usize, usize) {
        (grid.0 * self.patch, grid.1 * self.patch)
    }

    /// The codes of one scale's bits: `bits` (L, bits of a token), row-major over `grid`, as 0 or 1
    /// -> (1, channels, rows, columns) in latent cells.
    pub fn codes(&self, bits: &[u8], grid: (usize, usize)) -> Result<Tensor> {
        let step = (self.channels as f32).sqrt().recip();
        let signs: Vec<f32> = bits
            .iter()
            .map(|bit| if *bit == 0 { -step } else { step })
            .collect();
        let tokens = Tensor::from_vec(signs, (1, grid.0 * grid.1, self.bits()), &Device::Cpu)?;
        self.unfold(&tokens, grid)
    }

    /// Adds one scale to the running sum: `codes` are resized to the finished latent unless they
    /// have its size.
    pub fn add(&self, sum: Option<&Tensor>, codes: &Tensor) -> Result<Tensor> {
        let codes = bilinear(codes, self.size())?;
        sum.map_or(Ok(codes.clone()), |sum| sum + codes)
    }

    /// The running sum as the transformer reads it at the next scale: (1, channels, rows, columns)
    /// -> (1, L, bits of a token) over `grid`.
    pub fn tokens(&self, sum: &Tensor, grid: (usize, usize)) -> Result<Tensor> {
        self.fold(&bilinear(sum, self.cells(grid))?, grid)
    }

    /// The bits over `grid` that bring a running sum nearest to a latent, given what the sum lacks,
    /// (1, channels, H, W): the signs of its means over the cells.
    pub fn nearest(&self, rest: &Tensor, grid: (usize, usize)) -> Result<Vec<u8>> {
        let means = self.fold(&area(rest, self.cells(grid))?, grid)?;
        let means = means.flatten_all()?.to_vec1::<f32>()?;
        Ok(means.iter().map(|mean| u8::from(*mean > 0.0)).collect())
    }

    /// [`quantize`] with `grids` in tokens.
    pub fn quantize(
        &self,
        latent: &Tensor,
        grids: &[(usize, usize)],
    ) -> Result<Vec<QuantizedScale>> {
        let mut sum = latent.zeros_like()?;
        let mut scales = Vec::with_capacity(grids.len());
        for grid in grids {
            let bits = self.nearest(&(latent - &sum)?, *grid)?;
            sum = self.add(Some(&sum), &self.codes(&bits, *grid)?)?;
            scales.push(QuantizedScale {
                bits,
                sum: sum.clone(),
            });
        }
        Ok(scales)
    }

    /// (1, channels, rows, columns) -> (1, L, bits of a token)
    fn fold(&self, x: &Tensor, (rows, columns): (usize, usize)) -> Result<Tensor> {
        let p = self.patch;
        let x = x.reshape((self.channels, rows, p, columns, p))?;
        x.permute((1, 3, 0, 2, 4))?
            .reshape((1, rows * columns, self.bits()))
    }

    /// (1, L, bits of a token) -> (1, channels, rows, columns)
    fn unfold(&self, x: &Tensor, (rows, columns): (usize, usize)) -> Result<Tensor> {
        let p = self.patch;
        let x = x.reshape((rows, columns, self.channels, p, p))?;
        x.permute((2, 0, 3, 1, 4))?
            .reshape((1, self.channels, rows * p, columns * p))
    }
}

/// One scale of a quantized latent.
#[derive(Clone, Debug)]
pub struct QuantizedScale {
    /// 0 or 1: (rows * columns, bits of a token), row-major
    pub bits: Vec<u8>,
    /// Sum of this and all coarser scales, at full size: (1, channels, H, W)
    pub sum: Tensor,
}

/// Turns an encoder's output (1, channels, H, W) into bits, scale by scale
/// (`MultiScaleBSQ.forward`): each scale takes the signs of what the coarser ones left over,
/// averaged over its cells. `grids` are (rows, columns) in latent cells; the last is (H, W).
pub fn quantize(latent: &Tensor, grids: &[(usize, usize)]) -> Result<Vec<QuantizedScale>> {
    let (_, channels, height, width) = latent.dims4()?;
    let whole = Latent {
        channels,
        patch: 1,
        grid: (height, width),
    };
    whole.quantize(latent, grids)
}
