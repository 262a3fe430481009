//! Convolutions as products of a pixel's surroundings with packed weights, read where they lie in
//! the map.

use candle_core::Result;
use rayon::prelude::*;

use super::{
    feature_map::HostMap,
    panels::{Panels, Results, Rows},
    stored::Stored,
};

/// The outputs that begin at `at` and lie `step` apart, all computed with the same weights.
pub(crate) struct Phase<'a, T> {
    pub panels: &'a Panels<T>,
    /// Offsets of each tap's values from the corner of the border, for the first output.
    pub taps: &'a [usize],
    pub at: (usize, usize),
    pub step: usize,
}

/// Approximate number of pixels in output rows that are computed together: one panel of weights
/// after the other is applied to them while their inputs stay in a core's cache.
const BAND: usize = 512;

/// Output pixel (y, x) of a phase reads from input pixel (y, x) on.
pub(crate) fn convolve<T: Stored>(
    x: &HostMap<T>,
    out: &mut HostMap<T>,
    phases: &[Phase<T>],
    add: bool,
) -> Result<()> {
    let Some(first) = phases.first() else {
        return Ok(());
    };
    let step = first.step;
    let (height, width) = out.size;
    if x.channels != first.panels.row_width()
        || out.images != x.images
        || out.channels != first.panels.outputs()
        || out.border != 0
    {
        candle_core::bail!("the maps of a convolution do not fit together");
    }
    let stride = out.row_stride();
    let channels = out.channels;
    let rows = (BAND / width.max(1))
        .clamp(1, height.max(1))
        .next_multiple_of(step);
    out.bands(rows)
        .into_par_iter()
        .for_each_init(Vec::new, |room, (image, (band, values))| {
            let origin = image * x.image_stride() + band * rows / step * x.row_stride();
            T::in_f32(values, add, room, |values| {
                for phase in phases {
                    for panel in 0..phase.panels.count() {
                        let column = phase.panels.columns(&(panel..panel + 1)).start;
                        for (i, y) in (phase.at.0..values.len() / stride)
                            .step_by(step)
                            .enumerate()
                        {
                            let first = origin + i * x.row_stride();
                            let count = (width - phase.at.1).div_ceil(step);
                            let from = Rows {
                                values: &x.values,
                                first,
                                stride: x.channels,
                                taps: phase.taps,
                                count,
                            };
                            let first = y * stride + phase.at.1 * channels + column;
                            let to = Results {
                                values,
                                first,
                                stride: step * channels,
                                add,
                            };
                            phase.panels.multiply(panel..panel + 1, from, to);
                        }
                    }
                }
            });
        });
    Ok(())
}
