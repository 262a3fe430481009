//! From latents to images.

use candle_core::{DType, Tensor};
use ttsvar_search::{DecodeSize, FeatureMap, Image};

use crate::{Result, nn::check_finite};

/// Latent cells (rows, columns) that are decoded of a latent of (rows, columns) cells; `patch` is
/// the number of pixels along one side of a cell.
pub(super) fn decoded_cells(
    size: DecodeSize,
    (rows, columns): (usize, usize),
    patch: usize,
) -> (usize, usize) {
    let DecodeSize::Preview(pixels) = size else {
        return (rows, columns);
    };
    let factor = pixels as f64 / (rows.min(columns) * patch) as f64;
    let scaled = |cells: usize| ((cells as f64 * factor.min(1.0)).round() as usize).max(1);
    (scaled(rows), scaled(columns))
}

/// The output of a decoder, (1, 3, height, width) around [-1, 1], as an image.
///
/// # Errors
/// It contains NaN or infinite numbers.
pub(super) fn to_image(decoded: &Tensor) -> Result<Image> {
    check_finite("the decoded image", decoded)?;
    let (_, _, height, width) = decoded.dims4()?;
    let planes = decoded
        .to_dtype(DType::F32)?
        .flatten_all()?
        .to_vec1::<f32>()?;
    Ok(Image::from_chw(width, height, &planes))
}

/// The hidden state (L, C) of a scale with this grid as a map.
pub(super) fn hidden_map(hidden: &Tensor, grid: (usize, usize)) -> Result<FeatureMap> {
    let (height, width) = grid;
    let hidden = hidden.to_dtype(DType::F32)?.t()?; // (C, L)
    let values = hidden.flatten_all()?.to_vec1::<f32>()?;
    Ok(FeatureMap::new(hidden.dims()[0], height, width, values)?)
}

/// A running sum (1, channels, rows, columns) as a map.
pub(super) fn latent_map(sum: &Tensor) -> Result<FeatureMap> {
    let (_, channels, height, width) = sum.dims4()?;
    let values = sum.flatten_all()?.to_vec1::<f32>()?;
    Ok(FeatureMap::new(channels, height, width, values)?)
}

/// The parts (L, C) of a tensor (R, L, C), each with memory of its own: a part that is kept does not
/// keep the others.
pub(super) fn separate(x: &Tensor) -> Result<Vec<Tensor>> {
    let parts = (0..x.dims()[0]).map(|row| Ok(x.get(row)?.force_contiguous()?));
    parts.collect()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_part_of_a_tensor_keeps_only_its_own_numbers() {
        let x = Tensor::arange(0f32, 24.0, &Device::Cpu).unwrap();
        let x = x.reshape((4, 3, 2)).unwrap();
        for (row, part) in separate(&x).unwrap().iter().enumerate() {
            let expected = x.get(row).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(part.to_vec2::<f32>().unwrap(), expected);
            let (storage, _) = part.storage_and_layout();
            let candle_core::Storage::Cpu(candle_core::CpuStorage::F32(numbers)) = &*storage else {
                panic!("expected f32 on the processor");
            };
            assert_eq!(numbers.len(), 6);
        }
    }
}
