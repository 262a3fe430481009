//! Feature maps of convolutional networks. In main memory the channels of a pixel lie together,
//! with room for a border of zeros, so that a convolution reads its inputs where they are;
//! elsewhere they are tensors (B, C, H, W).

use std::borrow::Cow;

use candle_core::{DType, Device, Result, Tensor};
use half::bf16;
use rayon::prelude::*;

use super::{
    stored::Stored,
    values::{Values, is_cpu_f32},
};

/// Images inside a convolutional network.
#[derive(Clone, Debug)]
pub struct FeatureMap(pub(crate) Held);

/// The storage of a feature map.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    /// Processed by the tensor library: (B, C, H, W).
    Tensor(Tensor),
    /// Processed by the kernels of this crate.
    F32(HostMap<f32>),
    /// The same, rounded to bf16.
    Bf16(HostMap<bf16>),
}

impl FeatureMap {
    /// From (B, C, H, W).
    pub fn new(x: &Tensor) -> Result<Self> {
        Ok(Self(if is_cpu_f32(x) {
            Held::F32(HostMap::from_tensor(x)?)
        } else {
            Held::Tensor(x.clone())
        }))
    }

    /// The same with values kept as `dtype` where the kernels of this crate serve them.
    pub fn kept_as(dtype: DType, x: &Tensor) -> Result<Self> {
        let map = Self::new(x)?;
        match &map.0 {
            Held::F32(values) if dtype == DType::BF16 => Ok(bf16::any(values.converted())),
            _ => Ok(map),
        }
    }

    /// In main memory, as `T`.
    pub(crate) fn to_host<T: Cell>(&self) -> Result<Cow<'_, HostMap<T>>> {
        if let Some(map) = T::among(self) {
            return Ok(Cow::Borrowed(map));
        }
        Ok(Cow::Owned(match &self.0 {
            Held::Tensor(x) => HostMap::from_tensor(x)?.converted(),
            Held::F32(map) => map.converted(),
            Held::Bf16(map) => map.converted(),
        }))
    }

    /// (B, C, H, W)
    pub fn to_tensor(&self) -> Result<Tensor> {
        match &self.0 {
            Held::Tensor(x) => Ok(x.clone()),
            Held::F32(map) => map.to_tensor(),
            Held::Bf16(map) => map.to_tensor(),
        }
    }
}

/// An element type of maps in main memory.
pub(crate) trait Cell: Stored {
    /// The map, if its elements have this type.
    fn among(map: &FeatureMap) -> Option<&HostMap<Self>>;

    /// The map without its type.
    fn any(map: HostMap<Self>) -> FeatureMap;
}

impl Cell for f32 {
    fn among(map: &FeatureMap) -> Option<&HostMap<Self>> {
        if let Held::F32(map) = &map.0 {
            Some(map)
        } else {
            None
        }
    }

    fn any(map: HostMap<Self>) -> FeatureMap {
        FeatureMap(Held::F32(map))
    }
}

impl Cell for bf16 {
    fn among(map: &FeatureMap) -> Option<&HostMap<Self>> {
        if let Held::Bf16(map) = &map.0 {
            Some(map)
        } else {
            None
        }
    }

    fn any(map: HostMap<Self>) -> FeatureMap {
        FeatureMap(Held::Bf16(map))
    }
}

/// (B, H, W, C) with `border` more pixels of zeros on each of the four sides.
#[derive(Clone, Debug)]
pub(crate) struct HostMap<T = f32> {
    pub(crate) values: Vec<T>,
    pub(crate) images: usize,
    pub(crate) size: (usize, usize),
    pub(crate) channels: usize,
    pub(crate) border: usize,
}

impl HostMap {
    fn from_tensor(x: &Tensor) -> Result<Self> {
        let (b, c, h, w) = x.dims4()?;
        let mut map = Self::zeros(b, (h, w), c, 0);
        let x = x.contiguous()?;
        let planes = Values::from_f32(&x)?;
        let plane = &planes[..];
        let pixels = h * w;
        map.values
            .par_chunks_mut((w * c).max(1))
            .enumerate()
            .for_each(|(i, row)| {
                let from = i / h * c * pixels + i % h * w;
                for (x, pixel) in row.chunks_exact_mut(c).enumerate() {
                    pixel
                        .iter_mut()
                        .enumerate()
                        .for_each(|(channel, v)| *v = plane[from + channel * pixels + x]);
                }
            });
        Ok(map)
    }
}

impl<T: Stored> HostMap<T> {
    pub(crate) fn zeros(
        images: usize,
        size: (usize, usize),
        channels: usize,
        border: usize,
    ) -> Self {
        let pixels = (size.0 + 2 * border) * (size.1 + 2 * border);
        Self {
            values: T::zeros(images * pixels * channels),
            images,
            size,
            channels,
            border,
        }
    }

    fn to_tensor(&self) -> Result<Tensor> {
        let (h, w) = self.size;
        let c = self.channels;
        let mut out = vec![0.0; self.images * c * h * w];
        out.par_chunks_mut((h * w).max(1))
            .enumerate()
            .for_each(|(i, plane)| {
                for (y, row) in plane.chunks_exact_mut(w).enumerate() {
                    let from = &self.row(i / c, y)[i % c..];
                    row.iter_mut()
                        .zip(from.iter().step_by(c))
                        .for_each(|(out, v)| *out = v.value());
                }
            });
        Tensor::from_vec(out, (self.images, c, h, w), &Device::Cpu)
    }

    fn converted<U: Stored>(&self) -> HostMap<U> {
        let values = self
            .values
            .par_iter()
            .map(|v| U::rounded(v.value()))
            .collect();
        let Self {
            images,
            size,
            channels,
            border,
            ..
        } = *self;
        HostMap {
            values,
            images,
            size,
            channels,
            border,
        }
    }

    /// Values from one row to the next.
    pub(crate) fn row_stride(&self) -> usize {
        (self.size.1 + 2 * self.border) * self.channels
    }

    /// Values from one image to the next.
    pub(crate) fn image_stride(&self) -> usize {
        (self.size.0 + 2 * self.border) * self.row_stride()
    }

    /// The index at which row `y` of an image begins, after its border.
    pub(super) fn at(&self, image: usize, y: usize) -> usize {
        image * self.image_stride()
            + (y + self.border) * self.row_stride()
            + self.border * self.channels
    }

    /// (W * C) values
    pub(crate) fn row(&self, image: usize, y: usize) -> &[T] {
        &self.values[self.at(image, y)..][..self.size.1 * self.channels]
    }

    /// Bands of at most `rows` rows of a map without a border: the image, which of its bands, the
    /// values.
    pub(crate) fn bands(&mut self, rows: usize) -> Vec<(usize, (usize, &mut [T]))> {
        debug_assert_eq!(self.border, 0, "a band with a border");
        let image = self.image_stride().max(1);
        let band = (rows * self.row_stride()).max(1);
        let of_image = self.values.chunks_mut(image).enumerate();
        of_image
            .flat_map(|(i, values)| {
                values
                    .chunks_mut(band)
                    .enumerate()
                    .map(move |band| (i, band))
            })
            .collect()
    }

    /// A map of the same size whose rows are made from rows of this one by `f(image, row, out)`,
    /// in parallel.
    pub(crate) fn map_rows(&self, border: usize, f: impl Fn(usize, &[T], &mut [T]) + Sync) -> Self {
        let mut out = Self::zeros(self.images, self.size, self.channels, border);
        let stride = out.row_stride();
        let rows = self.size.0 + 2 * border;
        let margin = border * self.channels;
        let length = self.size.1 * self.channels;
        out.values
            .par_chunks_mut(stride.max(1))
            .enumerate()
            .for_each(|(i, out)| {
                if let Some(y) = (i % rows).checked_sub(border).filter(|y| *y < self.size.0) {
                    f(
                        i / rows,
                        self.row(i / rows, y),
                        &mut out[margin..margin + length],
                    );
                }
            });
        out
    }

    /// The same map with a border of at least this width.
    pub(crate) fn with_border(&self, border: usize) -> Cow<'_, Self> {
        if self.border >= border {
            return Cow::Borrowed(self);
        }
        Cow::Owned(self.map_rows(border, |_, row, out| out.copy_from_slice(row)))
    }

    /// A map that must have `channels`, its pixels filled up with zeros to `width` values.
    pub(crate) fn filled_up(&self, channels: usize, width: usize) -> Result<Cow<'_, Self>> {
        if self.channels != channels {
            candle_core::bail!(
                "expected a map of {channels} channels, found {}",
                self.channels
            );
        }
        if width == channels {
            return Ok(Cow::Borrowed(self));
        }
        let Self {
            images,
            size,
            border,
            ..
        } = *self;
        let mut out = Self::zeros(images, size, width, border);
        for (to, from) in out
            .values
            .chunks_exact_mut(width.max(1))
            .zip(self.values.chunks_exact(channels.max(1)))
        {
            to[..channels].copy_from_slice(from);
        }
        Ok(Cow::Owned(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::noise::Noise;

    #[test]
    fn maps_give_their_tensors_back() {
        let x = Noise::seeded(1).tensor((2, 3, 4, 5));
        let map = HostMap::from_tensor(&x).unwrap();
        assert_eq!(
            map.row(1, 2)[3 * 3 + 1],
            x.get(1).unwrap().get(1).unwrap().to_vec2::<f32>().unwrap()[2][3]
        );
        let back = map.with_border(2).to_tensor().unwrap();
        let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(flat(&back), flat(&x));
    }
}
