//! Edits: a part of an image is generated again. Outside of the part, the tokens of every scale and
//! their running sum are those of the image; inside, tokens are sampled as usual.

use candle_core::{Device, Tensor};
use ttsvar_search::Image;

use crate::{Error, Result, nn::area};

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

/// The part of an image that is generated again.
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
                "the mask fills no token of the {rows} x {columns} grid by a fifth"
            ))
            .with_hint("the part to generate is white in the mask; make it larger"));
        }
        if !tokens.contains(&false) {
            return Err(Error::input("the mask is the whole image")
                .with_hint("leave --image and --mask out, or make the white part smaller"));
        }
        Ok(())
    }

    /// A running sum (1, channels, rows, columns) inside of the part, and outside another.
    ///
    /// # Errors
    /// The tensor library fails.
    pub(super) fn combined(&self, inside: &Tensor, outside: &Tensor) -> Result<Tensor> {
        let (_, _, rows, columns) = inside.dims4()?;
        let tokens = self.tokens((rows, columns))?;
        let tokens: Vec<u8> = tokens.into_iter().map(u8::from).collect();
        let tokens = Tensor::from_vec(tokens, (1, 1, rows, columns), &Device::Cpu)?;
        let tokens = tokens.broadcast_as(inside.shape())?;
        Ok(tokens.where_cond(inside, outside)?)
    }

    /// The share of the new image in each pixel, (1, 1, height, width): 0 outside of the part, rising
    /// to 1 over a few pixels inside of it.
    ///
    /// # Errors
    /// The tensor library fails.
    pub(super) fn shares(&self) -> Result<Tensor> {
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

/// An image as a latent, and the part of it that is generated again.
#[derive(Debug)]
pub struct Edit {
    /// The latent of the image: (1, channels, rows, columns)
    pub latent: Tensor,
    /// The part.
    pub part: EditedPart,
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
