//! Maps as rows of patches. The values of a patch lie row by row, its channels side by side.

use candle_core::{Result, Tensor};

/// (B, C, h, w) -> (B, patches, rows * columns * C)
pub(super) fn to_patches(x: &Tensor, (rows, columns): (usize, usize)) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    let down = h / rows;
    let across = w / columns;
    let x = x.reshape(&[b, c, down, rows, across, columns])?; // (B, C, Y, r, X, c)
    let x = x.permute(vec![0, 2, 4, 3, 5, 1])?; // (B, Y, X, r, c, C)
    x.contiguous()?
        .reshape((b, down * across, rows * columns * c))
}

/// (B, patches, rows * columns * C) of a grid of (down, across) patches -> (B, C, h, w)
pub(super) fn from_patches(
    x: &Tensor,
    (rows, columns): (usize, usize),
    (down, across): (usize, usize),
) -> Result<Tensor> {
    let (b, _, values) = x.dims3()?;
    let c = values / (rows * columns);
    let x = x.reshape(&[b, down, across, rows, columns, c])?; // (B, Y, X, r, c, C)
    let x = x.permute(vec![0, 5, 1, 3, 2, 4])?; // (B, C, Y, r, X, c)
    x.contiguous()?
        .reshape((b, c, down * rows, across * columns))
}
