//! Cutting an image into square patches and describing each by a linear layer: a convolution
//! without overlap.

use candle_core::{Result, Tensor};

use crate::nn::{Linear, Weights};

/// One token per patch.
#[derive(Clone, Debug)]
pub struct PatchEmbed {
    proj: Linear,
    patch: usize,
    channels: usize,
}

impl PatchEmbed {
    /// The convolution `weight` (width, channels, patch, patch) and `bias` below `w`; its sizes are
    /// read off the weights.
    pub fn load(w: &Weights) -> crate::Result<Self> {
        let [width, ..] = w.dims::<4>("weight")?;
        Self::load_with_bias(w, Some(w.get(width, "bias")?))
    }

    /// The same without a bias.
    pub fn load_no_bias(w: &Weights) -> crate::Result<Self> {
        Self::load_with_bias(w, None)
    }

    fn load_with_bias(w: &Weights, bias: Option<Tensor>) -> crate::Result<Self> {
        let [width, channels, patch, columns] = w.dims("weight")?;
        if patch != columns || patch == 0 {
            let found = format!("{patch} x {columns}");
            return Err(w.mismatch("weight", "square patches", found));
        }
        let weight = w.get_reshaped((width, channels * patch * patch), "weight")?;
        let proj = Linear::from_tensors(w, weight, bias)?;
        Ok(Self {
            proj,
            patch,
            channels,
        })
    }

    /// Side of a patch in pixels.
    pub fn patch(&self) -> usize {
        self.patch
    }

    /// Numbers per token.
    pub fn width(&self) -> usize {
        self.proj.outputs()
    }

    /// Floating-point operations for this number of patches.
    pub fn flops(&self, patches: usize) -> f64 {
        self.proj.flops(patches)
    }

    /// (B, channels, H, W) -> (B, H/patch * W/patch, width), row by row; pixels that fill no patch
    /// are left out.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, c, h, w) = x.dims4()?;
        let p = self.patch;
        let rows = h / self.patch;
        let columns = w / self.patch;
        if c != self.channels {
            candle_core::bail!("expected an image of {} channels, found {c}", self.channels);
        }
        let x = x.narrow(2, 0, rows * p)?.narrow(3, 0, columns * p)?;
        let x = x.reshape(&[b, c, rows, p, columns, p])?; // (B, C, Y, p, X, p)
        let x = x.permute(vec![0, 2, 4, 1, 3, 5])?; // (B, Y, X, C, p, p)
        self.proj
            .forward(&x.reshape((b, rows * columns, c * p * p))?) // (B, L, width)
    }
}
