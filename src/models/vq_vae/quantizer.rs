//! Ids and their codes: each scale's tokens are rows of a codebook, each scale's codes are added to
//! the latent after a convolution.

use candle_core::{DType, Device, Result, Tensor};

use crate::nn::{Conv2d, FeatureMap, Linear, Weights, area, bicubic};

/// The number of convolutions that the scales share (`share_quant_resi`).
pub(super) const PHIS: usize = 4;

/// The share of a convolution in its result (`quant_resi`); the rest is its input.
const PHI_SHARE: f64 = 0.5;

/// Codebook and convolutions, computed in f32 in main memory, since their results add up.
#[derive(Clone, Debug)]
pub struct Quantizer {
    embedding: Tensor, // (V, d)
    mixture: Linear,   // V -> d, the same values
    qresi_ls: Vec<Conv2d>,
}

impl Quantizer {
    /// Reads `embedding` and `quant_resi` below `w`; the sizes are the file's.
    pub fn load(w: &Weights) -> crate::Result<Self> {
        let w = w.exact();
        let [vocabulary, channels] = w.dims("embedding.weight")?;
        let embedding = w.get((vocabulary, channels), "embedding.weight")?;
        let phi = |i| load_phi(&w.pp("quant_resi.qresi_ls").pp(i), channels);
        Ok(Self {
            mixture: Linear::new(embedding.t()?.contiguous()?, None)?,
            embedding,
            qresi_ls: (0..PHIS).map(phi).collect::<crate::Result<_>>()?,
        })
    }

    /// The number of codes V.
    pub fn vocabulary(&self) -> usize {
        self.mixture.inputs()
    }

    /// Values of a code, and of a latent cell.
    pub fn channels(&self) -> usize {
        self.mixture.outputs()
    }

    /// The codes of ids: (L, d)
    pub fn vectors(&self, ids: &[u32]) -> Result<Tensor> {
        let ids = Tensor::from_slice(ids, ids.len(), &Device::Cpu)?;
        self.embedding.index_select(&ids, 0)
    }

    /// The codes of one scale's ids, row-major over `grid` -> (1, d, rows, columns)
    pub fn codes(&self, ids: &[u32], grid: (usize, usize)) -> Result<Tensor> {
        self.as_map(&self.vectors(ids)?, grid)
    }

    /// Mixtures of codes by probabilities (L, V), row-major over `grid` -> (1, d, rows, columns)
    pub fn mixed_codes(&self, probabilities: &Tensor, grid: (usize, usize)) -> Result<Tensor> {
        self.as_map(&self.mixture.forward(probabilities)?, grid)
    }

    /// (L, d) -> (1, d, rows, columns)
    fn as_map(&self, codes: &Tensor, (rows, columns): (usize, usize)) -> Result<Tensor> {
        let map = codes.t()?.contiguous()?;
        map.reshape((1, self.channels(), rows, columns))
    }

    /// Adds scale `scale` of `scales` to the running sum: `codes` are resized to `size`, the
    /// finished latent's, and convolved.
    pub fn add(
        &self,
        sum: Option<&Tensor>,
        codes: &Tensor,
        size: (usize, usize),
        [scale, scales]: [usize; 2],
    ) -> Result<Tensor> {
        let codes = bicubic(codes, size)?;
        let phi = &self.qresi_ls[phi_of_scale(scale, scales)];
        let convolved = phi.forward(&FeatureMap::new(&codes)?)?.to_tensor()?;
        let codes = ((codes * (1.0 - PHI_SHARE))? + (convolved * PHI_SHARE)?)?;
        sum.map_or(Ok(codes.clone()), |sum| sum + codes)
    }

    /// The running sum as the transformer reads it at the next scale: (1, d, rows, columns) -> (1,
    /// L, d) over `grid`.
    pub fn tokens(&self, sum: &Tensor, grid: (usize, usize)) -> Result<Tensor> {
        area(sum, grid)?
            .flatten_from(2)?
            .transpose(1, 2)?
            .contiguous()
    }

    /// Turns an encoder's output (1, d, H, W) into ids, scale by scale
    /// (`f_to_idxBl_or_fhat`): each scale takes the nearest codes of what the coarser ones left
    /// over, averaged over its cells. `grids` are (rows, columns); the last is (H, W).
    pub fn quantize(
        &self,
        latent: &Tensor,
        grids: &[(usize, usize)],
    ) -> Result<Vec<QuantizedScale>> {
        let (_, channels, height, width) = latent.dims4()?;
        let mut sum = Tensor::zeros((1, channels, height, width), DType::F32, &Device::Cpu)?;
        let mut scales = Vec::with_capacity(grids.len());
        for (scale, grid) in grids.iter().enumerate() {
            let rest = self.tokens(&(latent - &sum)?, *grid)?.squeeze(0)?; // (L, d)
            let ids = self.nearest(&rest)?;
            let codes = self.codes(&ids, *grid)?;
            sum = self.add(Some(&sum), &codes, (height, width), [scale, grids.len()])?;
            scales.push(QuantizedScale {
                ids,
                sum: sum.clone(),
            });
        }
        Ok(scales)
    }

    /// The ids of the codes nearest to vectors (L, d), the first of equally near ones.
    fn nearest(&self, vectors: &Tensor) -> Result<Vec<u32>> {
        let codes = self.embedding.to_vec2::<f32>()?;
        let distance = |vector: &[f32], code: &[f32]| -> f32 {
            let apart = vector.iter().zip(code).map(|(a, b)| (a - b) * (a - b));
            apart.sum()
        };
        let nearest = |vector: &Vec<f32>| {
            let distances = codes.iter().map(|code| distance(vector, code));
            let nearest = distances
                .enumerate()
                .min_by(|(_, a), (_, b)| a.total_cmp(b));
            nearest.map_or(0, |(id, _)| id as u32)
        };
        Ok(vectors.to_vec2::<f32>()?.iter().map(nearest).collect())
    }
}

fn load_phi(w: &Weights, channels: usize) -> crate::Result<Conv2d> {
    let shape: [usize; 4] = w.dims("weight")?;
    if shape != [channels, channels, 3, 3] {
        let expected = format!("[{channels}, {channels}, 3, 3]");
        return Err(w.mismatch("weight", expected, format!("{shape:?}")));
    }
    Conv2d::load(w, 1, 1)
}

/// One scale of a quantized latent.
#[derive(Clone, Debug)]
pub struct QuantizedScale {
    /// One id per token, row-major.
    pub ids: Vec<u32>,
    /// Sum of this and all coarser scales, at full size: (1, d, H, W)
    pub sum: Tensor,
}

/// The convolution of scale `scale` of `scales`: the one whose tick is nearest to the scale's
/// position between 0 and 1, the first of equally near ones. Some scales lie exactly between two
/// ticks; as in the original, rounding in f64 decides there.
pub fn phi_of_scale(scale: usize, scales: usize) -> usize {
    let first = 1.0 / 3.0 / PHIS as f64;
    let last = 1.0 - first;
    let step = (last - first) / (PHIS - 1) as f64;
    let position = match scales {
        0 | 1 => 0.0,
        _ => scale as f64 / (scales - 1) as f64,
    };
    let tick = |i: usize| match i + 1 {
        PHIS => last,
        _ => i as f64 * step + first,
    };
    let distances = (0..PHIS).map(|i| (tick(i) - position).abs());
    let nearest = distances
        .enumerate()
        .min_by(|(_, a), (_, b)| a.total_cmp(b));
    nearest.map_or(0, |(i, _)| i)
}
