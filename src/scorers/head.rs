//! Linear layers one behind the other with no bend between them, from features to one number.

use candle_core::{DType, Tensor};

use crate::{
    Result,
    nn::{Linear, Weights},
};

/// The layers; between them stood Dropout while they were trained.
pub struct Head(Vec<Linear>);

impl Head {
    /// The layers at these `places` below `w`, from `width` numbers to one; the widths between are
    /// read off the weights.
    ///
    /// # Errors
    /// A tensor is missing, or they do not lead to one number.
    pub fn load(w: &Weights, places: &[usize], mut width: usize) -> Result<Self> {
        let mut layers = Vec::new();
        for place in places {
            let w = w.pp(place);
            let [outputs, _] = w.dims("weight")?;
            layers.push(Linear::load(&w, width, outputs)?);
            width = outputs;
        }
        match places.last() {
            Some(last) if width != 1 => {
                Err(w
                    .pp(last)
                    .mismatch("weight", "one score", format!("{width}")))
            }
            _ => Ok(Self(layers)),
        }
    }

    /// Features (B, C) -> B numbers.
    ///
    /// # Errors
    /// The features are of another width.
    pub fn forward(&self, features: &Tensor) -> Result<Vec<f32>> {
        let mut x = features.unsqueeze(1)?; // (B, 1, C)
        for layer in &self.0 {
            x = layer.forward(&x)?;
        }
        Ok(x.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
    }

    /// Floating-point operations for one picture.
    pub fn flops(&self) -> f64 {
        self.0.iter().map(|layer| layer.flops(1)).sum()
    }
}
