//! A block of the transformers of encoder and decoder. Norms have no weights; in the decoder, scale
//! and shift come from the time, separately for patches and registers.

use candle_core::{DType, Device, Result, Tensor};

use super::{TransformerConfig, Watch};
use crate::nn::{Linear, Mlp, Weights, attention, modulate, residual};

/// Added to variances before the root.
pub(super) const EPS: f32 = 1e-5;

/// Scale and shift of the norms, and factors of the branches, for one part of the tokens.
#[derive(Clone, Debug)]
pub(super) struct Modulation {
    gate_attn: Option<Tensor>, // each (D)
    gate_mlp: Option<Tensor>,
    shift_attn: Tensor,
    scale_attn: Tensor,
    shift_mlp: Tensor,
    scale_mlp: Tensor,
}

impl Modulation {
    /// That of a network without a time: norms alone.
    pub fn none(width: usize, dtype: DType, device: &Device) -> Result<Self> {
        let zeros = Tensor::zeros(width, dtype, device)?;
        Ok(Self {
            gate_attn: None,
            gate_mlp: None,
            shift_attn: zeros.clone(),
            scale_attn: zeros.clone(),
            shift_mlp: zeros.clone(),
            scale_mlp: zeros,
        })
    }

    /// The six vectors in the order of the checkpoint: (6, D)
    fn of_rows(rows: &Tensor) -> Result<Self> {
        Ok(Self {
            gate_attn: Some(rows.get(0)?),
            gate_mlp: Some(rows.get(1)?),
            shift_attn: rows.get(2)?,
            scale_attn: rows.get(3)?,
            shift_mlp: rows.get(4)?,
            scale_mlp: rows.get(5)?,
        })
    }
}

/// Tokens that are modulated alike.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Their number in each sequence.
    pub tokens: usize,
    pub modulation: Modulation,
}

/// Self-attention and a gated feed-forward.
#[derive(Clone, Debug)]
pub(super) struct Block {
    wq: Linear,
    wk: Linear,
    wv: Linear,
    proj: Linear,
    mlp: Mlp,
    ada_ln: Option<Linear>,
    head_width: usize,
    head_norm: Option<Tensor>, // zeros (head width), if queries and keys are normalised
}

impl Block {
    /// Reads a block of vectors of `width` values below `w`.
    pub fn load(w: &Weights, width: usize, config: &TransformerConfig) -> crate::Result<Self> {
        let attn = w.pp("attn");
        let linear = |name: &str| Linear::load_no_bias(&attn.pp(name), width, width);
        let ada_ln = w.pp("adaLN_modulation.1");
        let head_width = config.head_width;
        if !width.is_multiple_of(head_width) {
            let expected = format!("heads of {head_width} values");
            return Err(attn.mismatch("wq.weight", expected, format!("a width of {width}")));
        }
        let zeros = |_| Tensor::zeros(head_width, w.held_as(), w.device());
        Ok(Self {
            wq: linear("wq")?,
            wk: linear("wk")?,
            wv: linear("wv")?,
            proj: linear("proj")?,
            mlp: Mlp::load_gated_apart(&w.pp("mlp"), width, ["fc1", "fc3", "fc2"])?,
            ada_ln: match ada_ln.has("weight") {
                true => Some(load_ada_ln(&ada_ln, width)?),
                false => None,
            },
            head_width,
            head_norm: config.qk_norm.then_some(()).map(zeros).transpose()?,
        })
    }

    /// What a time (1, D) after SiLU makes of a block, (1, values); nothing without a time.
    pub fn modulation(&self, active: &Tensor) -> Result<Option<Tensor>> {
        self.ada_ln
            .as_ref()
            .map(|layer| layer.forward(active))
            .transpose()
    }

    /// x (B, L, D) -> (B, L, D). `bias` is added to the scores of attention.
    pub fn forward(
        &self,
        x: &Tensor,
        parts: &[Part],
        bias: Option<&Tensor>,
        number: usize,
        watch: &mut Watch,
    ) -> Result<Tensor> {
        let h = per_part([x], parts, |m, [x]| {
            modulate(&x, &m.scale_attn, &m.shift_attn, EPS)
        })?;
        let h = self.attend(&h, bias, number, watch)?;
        watch("attn", Some(number), &h);
        let x = per_part([x, &h], parts, |m, [x, h]| {
            residual(&x, &h, m.gate_attn.as_ref())
        })?;
        let h = per_part([&x], parts, |m, [x]| {
            modulate(&x, &m.scale_mlp, &m.shift_mlp, EPS)
        })?;
        let h = self.mlp.forward(&h)?;
        watch("mlp", Some(number), &h);
        let x = per_part([&x, &h], parts, |m, [x, h]| {
            residual(&x, &h, m.gate_mlp.as_ref())
        })?;
        watch("out", Some(number), &x);
        Ok(x)
    }

    fn attend(
        &self,
        x: &Tensor,
        bias: Option<&Tensor>,
        number: usize,
        watch: &mut Watch,
    ) -> Result<Tensor> {
        let q = self.normalised(&self.wq.forward(x)?)?;
        let k = self.normalised(&self.wk.forward(x)?)?;
        let v = self.wv.forward(x)?;
        watch("q", Some(number), &q);
        watch("k", Some(number), &k);
        let heads = self.wq.outputs() / self.head_width;
        let scale = 8.0 / self.head_width as f32; // attention.py:61, not the usual root
        self.proj
            .forward(&attention(&q, &k, &v, heads, scale, bias)?)
    }

    /// Each head by itself: (B, L, D) -> (B, L, D)
    fn normalised(&self, x: &Tensor) -> Result<Tensor> {
        let Some(zeros) = &self.head_norm else {
            return Ok(x.clone());
        };
        let (b, l, d) = x.dims3()?;
        let heads = x.reshape((b, l * d / self.head_width, self.head_width))?;
        modulate(&heads, zeros, zeros, EPS)?.reshape((b, l, d))
    }
}

/// The layer from a time to the six vectors of a block, for all tokens or for both parts.
fn load_ada_ln(w: &Weights, width: usize) -> crate::Result<Linear> {
    let [rows, _] = w.dims("weight")?;
    if rows != 6 * width && rows != 12 * width {
        let expected = format!("{} or {} rows", 6 * width, 12 * width);
        return Err(w.mismatch("weight", expected, rows.to_string()));
    }
    Linear::load(w, width, rows)
}

/// The parts of a sequence of `patches` patches and `registers` registers, modulated by (1, 6 D) or
/// by (1, 12 D), of which patches have the first half.
pub(super) fn parts(
    values: &Tensor,
    width: usize,
    patches: usize,
    registers: usize,
) -> Result<Vec<Part>> {
    let rows = values.reshape(((), width))?; // (6, D) or (12, D)
    let of_patches = Modulation::of_rows(&rows.narrow(0, 0, 6)?)?;
    let of_registers = match rows.dims()[0] {
        12 => Modulation::of_rows(&rows.narrow(0, 6, 6)?)?,
        _ => of_patches.clone(),
    };
    Ok(vec![
        Part {
            tokens: patches,
            modulation: of_patches,
        },
        Part {
            tokens: registers,
            modulation: of_registers,
        },
    ])
}

/// Applies `f` to each part of the tokens (B, L, D) and joins the results.
pub(super) fn per_part<const N: usize>(
    x: [&Tensor; N],
    parts: &[Part],
    f: impl Fn(&Modulation, [Tensor; N]) -> Result<Tensor>,
) -> Result<Tensor> {
    if let [part] = parts {
        return f(&part.modulation, x.map(Tensor::clone));
    }
    let mut first = 0;
    let mut joined = Vec::with_capacity(parts.len());
    for part in parts {
        let mut own = x.map(Tensor::clone);
        for x in &mut own {
            *x = x.narrow(1, first, part.tokens)?.contiguous()?;
        }
        joined.push(f(&part.modulation, own)?);
        first += part.tokens;
    }
    Tensor::cat(&joined, 1)
}
