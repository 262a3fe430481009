//! Rotary embeddings of the heads of queries and keys.

use candle_core::{DType, Device, Result, Tensor};

/// Which values of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pairs {
    /// Value j and value j + D/2 (`rotate_half`).
    Halves,
    /// Values 2j and 2j + 1.
    Neighbours,
}

impl Pairs {
    /// The axes into which the values of a head of width D are split, and which of the two has both
    /// values of a pair.
    fn split(self, width: usize) -> ([usize; 2], usize) {
        match self {
            Self::Halves => ([2, width / 2], 0),
            Self::Neighbours => ([width / 2, 2], 1),
        }
    }
}

/// The angles of some tokens.
#[derive(Clone, Debug)]
pub struct Rotation {
    cos: Tensor, // (L, D)
    sin: Tensor, // (L, D)
    pairs: Pairs,
}

impl Rotation {
    /// Of angles (L, D), token by token. The angle of a value is used for the new value at its place.
    pub(super) fn new(
        angles: Vec<f32>,
        width: usize,
        pairs: Pairs,
        device: &Device,
    ) -> Result<Self> {
        let tokens = angles.len() / width.max(1);
        let cos = angles.iter().map(|angle| angle.cos()).collect::<Vec<_>>();
        let sin = angles.iter().map(|angle| angle.sin()).collect::<Vec<_>>();
        Ok(Self {
            cos: Tensor::from_vec(cos, (tokens, width), device)?,
            sin: Tensor::from_vec(sin, (tokens, width), device)?,
            pairs,
        })
    }

    /// Of tokens at these positions in a text: pair j turns by `position * base^(-2j / D)`.
    pub(super) fn of_text(
        positions: &[i64],
        width: usize,
        base: f32,
        device: &Device,
    ) -> Result<Self> {
        let half = width / 2;
        let frequency = |j: usize| base.powf(-((2 * j) as f32) / width as f32);
        let frequencies: Vec<f32> = (0..half).map(frequency).collect();
        let mut angles = Vec::with_capacity(positions.len() * width);
        for position in positions {
            for j in 0..width {
                angles.push(*position as f32 * frequencies[j % half]);
            }
        }
        Self::new(angles, width, Pairs::Halves, device)
    }

    /// The cosines and sines, each (L, D)
    pub fn tables(&self) -> [&Tensor; 2] {
        [&self.cos, &self.sin]
    }

    /// Turns the heads of x (R, L, C).
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (r, l, c) = x.dims3()?;
        let (_, d) = self.cos.dims2()?;
        let ([first, second], axis) = self.pairs.split(d);
        let heads = x.to_dtype(DType::F32)?;
        let heads = heads.reshape((r, l, c / d, first, second))?;
        let part = |x: &Tensor, index: usize| x.narrow(3 + axis, index, 1);
        let table =
            |table: &Tensor, index: usize| part(&table.reshape((1, l, 1, first, second))?, index);
        let a = part(&heads, 0)?;
        let b = part(&heads, 1)?;
        let [cos, sin] = self.tables();
        let turned_a = (a.broadcast_mul(&table(cos, 0)?)? - b.broadcast_mul(&table(sin, 0)?)?)?;
        let turned_b = (b.broadcast_mul(&table(cos, 1)?)? + a.broadcast_mul(&table(sin, 1)?)?)?;
        let turned = Tensor::cat(&[turned_a, turned_b], 3 + axis)?;
        turned.reshape((r, l, c))?.to_dtype(x.dtype())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_a_text_turn_without_change_of_length() {
        let rotation = Rotation::of_text(&[0, 3], 4, 10_000.0, &Device::Cpu).unwrap();
        let x = Tensor::new(
            &[[[1f32, 0.0, 0.0, 2.0], [1.0, 0.0, 0.0, 2.0]]],
            &Device::Cpu,
        );
        let turned = rotation.forward(&x.unwrap()).unwrap();
        let turned = turned.squeeze(0).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(turned[0], [1.0, 0.0, 0.0, 2.0]);
        let [a, b, c, d] = turned[1][..] else {
            panic!("four values");
        };
        assert!((a - 3f32.cos()).abs() < 1e-6 && (c - 3f32.sin()).abs() < 1e-6);
        assert!((b * b + d * d - 4.0).abs() < 1e-5);
    }
    #[test]
    fn neighbours_turn_as_halves_do_in_another_order() {
        let angles = |order: [usize; 4]| order.map(|i| [0.3f32, 0.3, 2.0, 2.0][i]).to_vec();
        let x = [0.5f32, -1.0, 2.0, 3.0];
        let turn = |order: [usize; 4], pairs| {
            let rotation = Rotation::new(angles(order), 4, pairs, &Device::Cpu).unwrap();
            let x = Tensor::new(&[[order.map(|i| x[i])]], &Device::Cpu).unwrap();
            let turned = rotation.forward(&x).unwrap();
            turned.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let neighbours = turn([0, 1, 2, 3], Pairs::Neighbours);
        let halves = turn([0, 2, 1, 3], Pairs::Halves);
        assert_eq!([0, 2, 1, 3].map(|i| halves[i]), neighbours[..]);
        assert!((neighbours[0] - (0.5 * 0.3f32.cos() + 0.3f32.sin())).abs() < 1e-6);
    }
}
