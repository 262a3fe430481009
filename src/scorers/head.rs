//! A scoring head: linear layers in sequence without activations, from features to one number.

use candle_core::{DType, Tensor};

use crate::{
    Result,
    nn::{Linear, Weights},
};

/// The layers. Between them was Dropout in training.
pub struct Head(Vec<Linear>);

impl Head {
    /// Loads the layers at the indices `places` below `w`, from `width` numbers to one; the weights
    /// determine the widths in between.
    ///
    /// # Errors
    /// A tensor is missing, or the last layer has more than one output.
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

    /// Floating-point operations for one image.
    pub fn flops(&self) -> f64 {
        self.0.iter().map(|layer| layer.flops(1)).sum()
    }
}
