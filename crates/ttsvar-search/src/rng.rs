//! Random numbers that depend on (seed, lineage, scale) and on nothing else, so that pruning,
//! batching and the number of threads or machines never change what a candidate draws.

use rand_chacha::{
    ChaCha12Rng,
    rand_core::{RngCore, SeedableRng},
};

/// The descent of a candidate. The first copy of a row keeps its lineage, further copies begin new
/// ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lineage(u64);

impl Lineage {
    /// The lineage of start row `i`.
    pub fn root(i: usize) -> Self {
        Self(mix(i as u64))
    }

    /// The lineage of the `copy`-th copy of a row selected after `scale`; copy 0 keeps its lineage.
    pub fn copy(self, scale: usize, copy: usize) -> Self {
        if copy == 0 {
            self
        } else {
            Self(mix(self.0 ^ mix(((scale as u64) << 32) | copy as u64)))
        }
    }
}

/// SplitMix64's finalizer (Steele, Lea & Flood 2014): a bijection, so distinct roots never share a
/// lineage. Two copies practically never do.
fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The purpose of a stream. Streams of different purposes are independent: choosing rows never
/// changes the tokens that they draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Drawing the tokens of a candidate.
    Sample,
    /// Selecting rows.
    Select,
    /// Choosing the seed of a sample in an evaluation.
    Evaluate,
    /// Resampling results, for confidence intervals.
    Bootstrap,
    /// Choosing the layout of a candidate.
    Layout,
}

/// A stream of random numbers: ChaCha with 12 rounds, keyed by seed, purpose, lineage and scale.
pub struct Stream(ChaCha12Rng);

impl Stream {
    /// The stream with which a candidate draws the tokens of `scale`.
    pub fn sample(seed: u64, lineage: Lineage, scale: usize) -> Self {
        Self::keyed(seed, Purpose::Sample, lineage.0, scale)
    }

    /// The stream with which a candidate chooses its layout.
    pub fn layout(seed: u64, lineage: Lineage) -> Self {
        Self::keyed(seed, Purpose::Layout, lineage.0, 0)
    }

    /// The stream with which the rows of a round are chosen after `scale`.
    pub fn select(seed: u64, round: usize, scale: usize) -> Self {
        Self::keyed(seed, Purpose::Select, round as u64, scale)
    }

    /// The stream from which the seed of sample number `sample` of prompt number `case` comes.
    pub fn evaluate(seed: u64, case: usize, sample: usize) -> Self {
        Self::keyed(seed, Purpose::Evaluate, case as u64, sample)
    }

    /// The stream with which results are resampled for the `round`-th time.
    pub fn bootstrap(round: usize) -> Self {
        Self::keyed(0, Purpose::Bootstrap, round as u64, 0)
    }

    fn keyed(seed: u64, purpose: Purpose, lineage: u64, scale: usize) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&lineage.to_le_bytes());
        key[16..24].copy_from_slice(&(scale as u64).to_le_bytes());
        key[24] = purpose as u8;
        Self(ChaCha12Rng::from_seed(key))
    }

    /// A number in [0, 1) with 24 random bits.
    pub fn uniform(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// A number that can serve as a seed, small enough to be exact in every JSON reader.
    pub fn seed(&mut self) -> u64 {
        self.0.next_u64() >> 11
    }

    /// One of 0 to `count` - 1; `count` is at least 1.
    pub fn below(&mut self, count: usize) -> usize {
        ((self.uniform_f64() * count as f64) as usize).min(count - 1)
    }

    /// A number in [0, 1) with 53 random bits.
    pub fn uniform_f64(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(mut stream: Stream) -> [f32; 4] {
        [(); 4].map(|()| stream.uniform())
    }

    #[test]
    fn a_stream_depends_on_each_part_of_its_key() {
        let base = first(Stream::sample(1, Lineage::root(0), 0));
        assert_eq!(base, first(Stream::sample(1, Lineage::root(0), 0)));
        assert_ne!(base, first(Stream::sample(2, Lineage::root(0), 0)));
        assert_ne!(base, first(Stream::sample(1, Lineage::root(1), 0)));
        assert_ne!(base, first(Stream::sample(1, Lineage::root(0), 1)));
        assert_ne!(base, first(Stream::select(1, 0, 0)));
        assert_ne!(base, first(Stream::layout(1, Lineage::root(0))));
    }

    #[test]
    fn the_first_copy_keeps_its_lineage_and_the_others_begin_new_ones() {
        let parent = Lineage::root(3);
        assert_eq!(parent.copy(2, 0), parent);
        assert_ne!(parent.copy(2, 1), parent);
        assert_ne!(parent.copy(2, 1), parent.copy(2, 2));
        assert_ne!(parent.copy(2, 1), parent.copy(3, 1));
    }
}
