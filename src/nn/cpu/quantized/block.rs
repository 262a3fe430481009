//! Blocks of 32 weights in 8 bits.

use half::f16;

use super::BLOCK;

/// The largest integer.
pub(super) const LARGEST: f32 = 127.0;

/// A block of weights as `q8_0` has it.
pub struct Q8Block {
    /// What the integers are to be multiplied by, at least 0.
    pub scale: f16,
    /// Integers between -127 and 127.
    pub values: [i8; BLOCK],
}

impl Q8Block {
    /// Its values.
    pub const VALUES: usize = BLOCK;

    /// Its bytes in files.
    pub const BYTES: usize = size_of::<f16>() + BLOCK;

    /// The largest absolute value of a weight: the largest integer times the largest scale.
    pub(crate) const LARGEST_WEIGHT: f32 = LARGEST * f16::MAX.to_f32_const();

    /// The block that is nearest to these weights, at most 32 of them.
    pub fn new(weights: &[f32]) -> Self {
        let scale = weight_scale(largest(weights));
        let factor = inverse(scale.to_f32());
        let mut values = [0; BLOCK];
        for (value, weight) in values.iter_mut().zip(weights) {
            *value = nearest((weight * factor).clamp(-LARGEST, LARGEST)) as i8;
        }
        Self { scale, values }
    }

    /// Writes the values of whole blocks as files have them.
    pub fn write_values(blocks: &[u8], values: &mut [f32]) {
        let (blocks, _) = blocks.as_chunks::<{ Self::BYTES }>();
        for ([low, high, rest @ ..], values) in blocks.iter().zip(values.chunks_exact_mut(BLOCK)) {
            let scale = f16::from_le_bytes([*low, *high]).to_f32();
            for (value, byte) in values.iter_mut().zip(rest) {
                *value = scale * f32::from(byte.cast_signed());
            }
        }
    }

    /// A block as files have it: its scale, then its integers. Kernels know no integer below -127, so
    /// a block that has one is rounded again, and no scale below 0, so its sign goes to the integers.
    pub(super) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let [low, high, rest @ ..] = bytes;
        let scale = f16::from_le_bytes([*low, *high]);
        let values = rest.map(u8::cast_signed);
        // Looks at all values even when one is found: vectors of them are compared at once.
        let found = rest.iter().fold(false, |found, byte| {
            found | (*byte == i8::MIN.cast_unsigned())
        });
        if found {
            return Self::new(&values.map(|value| scale.to_f32() * f32::from(value)));
        }
        if scale.is_sign_negative() {
            return Self {
                scale: -scale,
                values: values.map(|value| -value),
            };
        }
        Self { scale, values }
    }
}

/// The scale of a block of weights whose largest absolute value is known.
pub(super) fn weight_scale(largest: f32) -> f16 {
    f16::from_f32(largest / LARGEST).min(f16::MAX)
}

/// What to multiply values by to get integers.
pub(super) fn inverse(scale: f32) -> f32 {
    if scale < f32::MIN_POSITIVE {
        0.0
    } else {
        scale.recip()
    }
}

/// So large that adding it leaves no fraction: 1.5 * 2^23.
pub(super) const SHIFT: f32 = 12_582_912.0;

/// The integer nearest to a value between -127 and 127, ties to even. An arbitrary integer for NaN.
#[inline(always)]
pub(super) fn nearest(value: f32) -> i32 {
    let beyond = (value + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits());
    beyond.cast_signed()
}

/// The largest absolute value; NaN if one value is.
#[inline(always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    // Without their sign the bits of numbers have the order of the numbers, with NaN at the top.
    let mut most = 0;
    for value in values {
        most = most.max(value.to_bits() & 0x7fff_ffff);
    }
    f32::from_bits(most)
}
