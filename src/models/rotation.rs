//! Rotary embeddings of heads whose first half is paired with the second (`rotate_half`).

use candle_core::{DType, Device, Result, Tensor};

/// The angles of some tokens. Value j of a head is paired with value j + D/2.
#[derive(Clone, Debug)]
pub struct Rotation {
    cos: Tensor, // (L, D)
    sin: Tensor, // (L, D)
}

impl Rotation {
    /// Of angles (L, D), token by token. Those of the first half make the first value of each pair,
    /// those of the second half the second value.
    pub(super) fn new(angles: Vec<f32>, width: usize, device: &Device) -> Result<Self> {
        let tokens = angles.len() / width.max(1);
        let cos = angles.iter().map(|angle| angle.cos()).collect::<Vec<_>>();
        let sin = angles.iter().map(|angle| angle.sin()).collect::<Vec<_>>();
        Ok(Self {
            cos: Tensor::from_vec(cos, (tokens, width), device)?,
            sin: Tensor::from_vec(sin, (tokens, width), device)?,
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
        Self::new(angles, width, device)
    }

    /// The cosines and sines, each (L, D)
    pub fn tables(&self) -> [&Tensor; 2] {
        [&self.cos, &self.sin]
    }

    /// Turns the heads of x (R, L, C).
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (r, l, c) = x.dims3()?;
        let (_, d) = self.cos.dims2()?;
        let half = d / 2;
        let heads = x.to_dtype(DType::F32)?.reshape((r, l, c / d, d))?; // (R, L, H, D)
        let first = heads.narrow(3, 0, half)?;
        let second = heads.narrow(3, half, half)?;
        let part = |table: &Tensor, begin: usize| {
            let part = table.narrow(1, begin, half)?;
            part.reshape((1, l, 1, half))
        };
        let [cos, sin] = self.tables();
        let turned_first =
            (first.broadcast_mul(&part(cos, 0)?)? - second.broadcast_mul(&part(sin, 0)?)?)?;
        let turned_second =
            (second.broadcast_mul(&part(cos, half)?)? + first.broadcast_mul(&part(sin, half)?)?)?;
        let turned = Tensor::cat(&[turned_first, turned_second], 3)?;
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
}
