//! Sinusoidal position embeddings.
//!
//! Reference: huggingface/transformers at v4.49.0,
//! `src/transformers/models/mask2former/modeling_mask2former.py`, lines 846-885.

use candle_core::{Device, Result, Tensor};

/// Sines and cosines of the place in a grid, rows first: (rows * columns, width). Places count from
/// 1 and are shares of the grid's side times 2 pi, which makes them independent of the image size
/// (Hugging Face, `Mask2FormerSinePositionEmbedding` with `normalize`).
pub(super) fn waves(
    (rows, columns): (usize, usize),
    width: usize,
    device: &Device,
) -> Result<Tensor> {
    let half = width / 2;
    let down = axis(rows, half);
    let across = axis(columns, half);
    let mut values = Vec::with_capacity(rows * columns * 2 * half);
    for row in down.chunks_exact(half) {
        for column in across.chunks_exact(half) {
            values.extend_from_slice(row);
            values.extend_from_slice(column);
        }
    }
    Tensor::from_vec(values, (rows * columns, 2 * half), device)
}

/// `count` numbers for each place of an axis: sine and cosine in turn.
fn axis(places: usize, count: usize) -> Vec<f32> {
    const LONGEST: f32 = 10_000.0;
    const EPS: f32 = 1e-6; // of the original, against a division by 0
    let wave = |place: usize, i: usize| {
        let angle = (place + 1) as f32 / (places as f32 + EPS) * std::f32::consts::TAU;
        let angle = angle / LONGEST.powf((2 * (i / 2)) as f32 / count as f32);
        if i.is_multiple_of(2) {
            angle.sin()
        } else {
            angle.cos()
        }
    };
    (0..places)
        .flat_map(|place| (0..count).map(move |i| wave(place, i)))
        .collect()
}
