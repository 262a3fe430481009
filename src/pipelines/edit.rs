//! Edits: a part of an image is regenerated. Outside of the part, the tokens of every scale and
//! their running sum are those of the image; inside, tokens are sampled as usual.

use std::sync::OnceLock;

use candle_core::{DType, Device, Tensor};
use ttsvar_search::Image;

use crate::{
    Error, Result,
    nn::{Weights, area},
};

/// A token belongs to the part if at least this share of its area does. With a half, coarse tokens
/// keep the old object: edits of the demo's scenes succeed less often (`examples/edit_scenes.rs`).
const SHARE: f32 = 0.2;

/// Pixels from the edge of the part inwards over which an edited image passes into the new one.
const FEATHER: usize = 4;

/// A generator that can encode images.
pub trait Editor {
    /// The latent of an image of the size that the generator makes: (1, channels, rows, columns), in
    /// f32 in main memory.
    ///
    /// # Errors
    /// The generator has no encoder, or its files are gone or damaged.
    fn encode(&self, image: &Image) -> Result<Tensor>;
}

/// The part of an image that is regenerated.
#[derive(Clone, Debug)]
pub struct EditedPart(Tensor); // (1, 1, height, width): 1 inside, 0 outside

impl EditedPart {
    /// The part of an image with `height` rows of `width` pixels where `inside` holds for a pixel,
    /// counted row by row.
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn new((height, width): (usize, usize), inside: impl Fn(usize) -> bool) -> Result<Self> {
        let inside = (0..height * width).map(|pixel| f32::from(u8::from(inside(pixel))));
        let inside: Vec<f32> = inside.collect();
        Ok(Self(Tensor::from_vec(
            inside,
            (1, 1, height, width),
            &Device::Cpu,
        )?))
    }

    /// Whether each token over a grid (rows, columns) belongs to the part, row by row.
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn tokens(&self, grid: (usize, usize)) -> Result<Vec<bool>> {
        let shares = area(&self.0, grid)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(shares.iter().map(|share| *share >= SHARE).collect())
    }

    /// Checks that the part has a token on the finest grid.
    ///
    /// # Errors
    /// It has none, or it is the whole image.
    pub(crate) fn check(&self, grid: (usize, usize)) -> Result<()> {
        let tokens = self.tokens(grid)?;
        let (rows, columns) = grid;
        if !tokens.contains(&true) {
            return Err(Error::input(format!(
                "the mask covers less than a fifth of every token in the {rows} x {columns} grid"
            ))
            .with_hint("enlarge the white part of the mask, which is the part to regenerate"));
        }
        if !tokens.contains(&false) {
            return Err(Error::input("the mask is the whole image")
                .with_hint("leave --image and --mask out, or make the white part smaller"));
        }
        Ok(())
    }

    /// Whether each cell of a map (.., height, width) belongs to the part, (1, 1, height, width):
    /// as its token over `grid` does, which all have the same number of cells.
    ///
    /// # Errors
    /// The tensor library fails.
    fn cells(&self, map: &Tensor, (rows, columns): (usize, usize)) -> Result<Tensor> {
        let (_, _, height, width) = map.dims4()?;
        let tokens = self.tokens((rows, columns))?;
        let cells = (0..height * width).map(|cell| {
            let (row, column) = (cell / width * rows / height, cell % width * columns / width);
            u8::from(tokens[row * columns + column])
        });
        let shape = (1, 1, height, width);
        Ok(Tensor::from_vec(cells.collect(), shape, &Device::Cpu)?)
    }

    /// The share of the new image in each pixel, (1, 1, height, width): 0 outside of the part, rising
    /// to 1 over a few pixels inside of it.
    ///
    /// # Errors
    /// The tensor library fails.
    fn shares(&self) -> Result<Tensor> {
        let (_, _, height, width) = self.0.dims4()?;
        let mut inside = self.0.flatten_all()?.to_vec1::<f32>()?;
        let mut shares = vec![0.0; inside.len()];
        for _ in 0..FEATHER {
            let add = |(share, inside): (&mut f32, &f32)| *share += inside / FEATHER as f32;
            shares.iter_mut().zip(&inside).for_each(add);
            inside = shrunk(&inside, width);
        }
        Ok(Tensor::from_vec(
            shares,
            (1, 1, height, width),
            &Device::Cpu,
        )?)
    }
}

/// An image as a latent, and the part of it that is regenerated.
#[derive(Debug)]
pub struct Edit {
    /// The latent of the image: (1, channels, rows, columns)
    pub latent: Tensor,
    /// The part.
    pub part: EditedPart,
}

impl Edit {
    /// Checks that the latent has the shape of a model's.
    ///
    /// # Errors
    /// It has another one.
    pub(super) fn check(&self, channels: usize, (rows, columns): (usize, usize)) -> Result<()> {
        let expected = [1, channels, rows, columns];
        let found = self.latent.dims();
        if found == expected {
            return Ok(());
        }
        let message = format!("a latent of shape {found:?}, expected {expected:?}");
        Err(Error::internal(message))
    }
}

/// One scale of an image as a model quantizes it.
pub(super) struct ImageScale {
    /// The grid of its tokens.
    pub grid: (usize, usize),
    /// The codes of its tokens: (1, channels, h, w)
    pub codes: Tensor,
    /// Sum of this and all coarser scales: (1, channels, rows, columns)
    pub sum: Tensor,
}

/// An edit with the scales of its image.
pub(super) struct PreparedEdit {
    scales: Vec<PreparedScale>,
    /// The share of the new image in each pixel: (1, 1, height, width)
    shares: Tensor,
    /// The image as the decoder makes it of its tokens, once it is needed: (1, 3, height, width)
    reconstruction: OnceLock<Tensor>,
}

/// A scale of the image, and which cells of its maps belong to the part.
struct PreparedScale {
    image: ImageScale,
    of_codes: Tensor, // (1, 1, h, w)
    of_sum: Tensor,   // (1, 1, rows, columns)
}

impl PreparedEdit {
    /// An edit of `part` of an image with these scales.
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn new(part: &EditedPart, scales: Vec<ImageScale>) -> Result<Self> {
        let prepared = scales.into_iter().map(|image| {
            let (_, _, rows, columns) = image.sum.dims4()?;
            Ok(PreparedScale {
                of_codes: part.cells(&image.codes, image.grid)?,
                of_sum: part.cells(&image.sum, (rows, columns))?,
                image,
            })
        });
        Ok(Self {
            scales: prepared.collect::<Result<_>>()?,
            shares: part.shares()?,
            reconstruction: OnceLock::new(),
        })
    }

    /// The running sum after a scale: inside of the part the drawn `codes` count, outside those of
    /// the image do, and the sum there is the image's. `add` adds codes to the sum before.
    ///
    /// # Errors
    /// `add` or the tensor library fails.
    pub fn add(
        &self,
        scale: usize,
        codes: &Tensor,
        add: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let PreparedScale {
            image, of_codes, ..
        } = &self.scales[scale];
        let codes = combined(of_codes, codes, &image.codes)?;
        self.with_sum_of_image(scale, &add(&codes)?)
    }

    /// A running sum after a scale with that of the image outside of the part.
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn with_sum_of_image(&self, scale: usize, sum: &Tensor) -> Result<Tensor> {
        let PreparedScale { image, of_sum, .. } = &self.scales[scale];
        combined(of_sum, sum, &image.sum)
    }

    /// A decoded image (1, 3, height, width) inside of the part, and the reconstruction of the
    /// image, which `decode` makes of its latent, outside. Smaller previews stay as they are.
    ///
    /// # Errors
    /// `decode` or the tensor library fails.
    pub fn composed(
        &self,
        decoded: Tensor,
        decode: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        if decoded.dims()[2..] != self.shares.dims()[2..] {
            return Ok(decoded);
        }
        let place = |x: &Tensor| x.to_device(decoded.device())?.to_dtype(decoded.dtype());
        if self.reconstruction.get().is_none()
            && let Some(last) = self.scales.last()
        {
            let _ = self.reconstruction.set(decode(&place(&last.image.sum)?)?);
        }
        let Some(old) = self.reconstruction.get() else {
            return Ok(decoded);
        };
        let new = (&decoded - old)?.broadcast_mul(&place(&self.shares)?)?;
        Ok((old + new)?)
    }
}

/// A map (1, channels, height, width) at the cells of a part, and elsewhere another.
fn combined(cells: &Tensor, inside: &Tensor, outside: &Tensor) -> Result<Tensor> {
    let cells = cells.broadcast_as(inside.shape())?;
    Ok(cells.where_cond(inside, outside)?)
}

/// The latent of an image in f32 in main memory, as [`Editor::encode`] returns it. `encoder` was
/// read from `weights`; it is given pixels (1, 3, height, width) in [-1, 1].
///
/// # Errors
/// `encoder` or the tensor library fails.
pub(super) fn latent(
    image: &Image,
    weights: &Weights,
    encoder: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let shape = (1, 3, image.height(), image.width());
    let pixels = Tensor::from_vec(image.to_chw([0.5; 3], [0.5; 3]), shape, &Device::Cpu)?
        .to_device(weights.device())?
        .to_dtype(weights.held_as())?;
    let latent = encoder(&pixels)?;
    Ok(latent.to_dtype(DType::F32)?.to_device(&Device::Cpu)?)
}

/// A set of pixels without those that have a neighbour outside of it.
fn shrunk(inside: &[f32], width: usize) -> Vec<f32> {
    let height = inside.len() / width;
    let at = |x: usize, y: usize| inside[y.min(height - 1) * width + x.min(width - 1)];
    let least = |i: usize| {
        let (x, y) = (i % width, i / width);
        let across = at(x.saturating_sub(1), y).min(at(x + 1, y));
        let down = at(x, y.saturating_sub(1)).min(at(x, y + 1));
        inside[i].min(across).min(down)
    };
    (0..inside.len()).map(least).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_belongs_to_the_part_if_a_fifth_of_it_does() {
        // The left 3 of 8 columns.
        let part = EditedPart::new((8, 8), |pixel| pixel % 8 < 3).unwrap();
        assert_eq!(part.tokens((1, 1)).unwrap(), [true]);
        assert_eq!(part.tokens((1, 2)).unwrap(), [true, false]);
        assert_eq!(part.tokens((1, 4)).unwrap(), [true, true, false, false]);
        // Up to the border of the image, where nothing is outside.
        let shares = part.shares().unwrap().flatten_all().unwrap();
        let row = &shares.to_vec1::<f32>().unwrap()[..8];
        assert_eq!(row, [0.75, 0.5, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert!(part.check((2, 2)).is_ok());
        assert!(part.check((1, 1)).is_err());
    }
}
