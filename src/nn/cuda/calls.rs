//! Launches of kernels: the number of blocks, constants and arguments. Addresses are those of
//! contiguous tensors whose first number lies at a multiple of [`ALIGNMENT`] bytes.

use super::{
    Arg::{Address, Int, Long, Real},
    Call, Program, Scalar,
};

/// Bytes that a thread reads at once, at most.
pub const ALIGNMENT: u64 = 16;

/// Neighbours that a thread of most kernels treats together.
pub const TOGETHER: usize = 4;

const WARP: usize = 32;
const THREADS: usize = 256; // of a block, by default
const ATTENDING: usize = 128; // of a block of attention
const SLICE: usize = 1 << 14; // values of a group that one block treats

/// The most that the second and third axis of a grid can have.
const MOST_BLOCKS: usize = u16::MAX as usize;

fn program(
    file: &'static str,
    source: &'static str,
    scalar: Scalar,
    constants: &[(&'static str, usize)],
) -> Program {
    let scalar = ("BF16", usize::from(scalar == Scalar::Bf16));
    Program {
        file,
        source,
        constants: [&[scalar], constants].concat(),
    }
}

/// Rows (rows, width): `(x - mean) / std * (base + scale) + shift`. Addresses: x, scale,
/// shift, result.
pub fn normalise(
    scalar: Scalar,
    at: [u64; 4],
    rows: usize,
    width: usize,
    base: f32,
    eps: f32,
) -> Call {
    let source = include_str!("normalise.cu");
    let [x, scale, shift, out] = at.map(Address);
    Call {
        program: program("normalise", source, scalar, &[("THREADS", THREADS)]),
        kernel: "normalise",
        grid: [rows as u32, 1, 1],
        threads: THREADS as u32,
        args: vec![
            x,
            scale,
            shift,
            out,
            Int(width as i32),
            Real(base),
            Real(eps),
        ],
    }
}

/// `x + gamma * h` over `count` values, `gamma` of `width`. Addresses: x, h, gamma or 0, result.
pub fn residual(scalar: Scalar, at: [u64; 4], count: usize, width: usize) -> Call {
    let [x, h, gamma, out] = at.map(Address);
    Call {
        program: program(
            "residual",
            include_str!("residual.cu"),
            scalar,
            &[("THREADS", THREADS)],
        ),
        kernel: "residual",
        grid: [count.div_ceil(TOGETHER * THREADS) as u32, 1, 1],
        threads: THREADS as u32,
        args: vec![x, h, gamma, out, Long(count as i64), Int(width as i32)],
    }
}

/// Sizes of projections that are split: rows, tokens, heads, and the width of a head, which is
/// even.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    pub rows: usize,
    pub tokens: usize,
    pub heads: usize,
    pub width: usize,
}

/// Queries, keys and values of projections (R, L, 3 C). Addresses: projections, temperatures,
/// cosines, sines, queries, and a table of addresses: of the keys and then of the values of each
/// row.
pub fn split_and_rotate(scalar: Scalar, at: [u64; 6], sizes: Heads) -> Call {
    let Heads {
        rows,
        tokens,
        heads,
        width,
    } = sizes;
    let all = rows * tokens * heads;
    let mut args = at.map(Address).to_vec();
    args.extend([
        Long(all as i64),
        Int(tokens as i32),
        Int(heads as i32),
        Int(width as i32),
    ]);
    Call {
        program: program(
            "rotate",
            include_str!("rotate.cu"),
            scalar,
            &[("THREADS", THREADS)],
        ),
        kernel: "split_and_rotate",
        grid: [all.div_ceil(THREADS / WARP) as u32, 1, 1],
        threads: THREADS as u32,
        args,
    }
}

/// Sizes of maps that are normalised: images, groups of each, channels of a group, pixels.
#[derive(Clone, Copy, Debug)]
pub struct Groups {
    pub images: usize,
    pub groups: usize,
    pub channels: usize,
    pub pixels: usize,
}

impl Groups {
    fn size(self) -> usize {
        self.channels * self.pixels
    }

    fn slices(self) -> usize {
        self.size().div_ceil(SLICE)
    }

    /// f32 numbers that the first of the two kernels leaves for the second.
    pub fn found(self) -> usize {
        2 * self.images * self.groups * self.slices()
    }

    /// Returns whether the kernels support these sizes.
    pub fn served(self) -> bool {
        self.size() > 0
            && self.size().is_multiple_of(TOGETHER)
            && self.images * self.groups <= MOST_BLOCKS
    }
}

/// Maps (B, C, H, W), followed by a SiLU if `silu`. Addresses: maps, sums of the first call,
/// weight, bias, result.
pub fn group_norm(scalar: Scalar, at: [u64; 5], sizes: Groups, eps: f32, silu: bool) -> [Call; 2] {
    let [x, found, weight, bias, out] = at.map(Address);
    let Groups {
        images,
        groups,
        channels,
        pixels,
    } = sizes;
    let size = Long(sizes.size() as i64);
    let grid = [sizes.slices() as u32, (images * groups) as u32, 1];
    let call = |kernel, args| Call {
        program: program(
            "group_norm",
            include_str!("group_norm.cu"),
            scalar,
            &[("THREADS", THREADS), ("SLICE", SLICE)],
        ),
        kernel,
        grid,
        threads: THREADS as u32,
        args,
    };
    let groups = Int(groups as i32);
    let channels = Int(channels as i32);
    let pixels = Long(pixels as i64);
    let apply = vec![
        x,
        found,
        weight,
        bias,
        out,
        size,
        groups,
        channels,
        pixels,
        Real(eps),
        Int(i32::from(silu)),
    ];
    [
        call("group_sums", vec![x, found, size]),
        call("group_apply", apply),
    ]
}

/// The keys and values that one row sees: for each block the addresses of keys and values, and how
/// many tokens it has.
pub type Blocks = Vec<(u64, u64, usize)>;

/// The table that attention reads: where the blocks of each row begin in it and where the last
/// row's end, then the blocks.
pub fn table(rows: &[Blocks]) -> Vec<u64> {
    let mut table =
        Vec::with_capacity(rows.len() + 1 + 3 * rows.iter().map(Vec::len).sum::<usize>());
    let mut begin = rows.len() + 1;
    table.push(begin as u64);
    for blocks in rows {
        begin += 3 * blocks.len();
        table.push(begin as u64);
    }
    table.extend(
        rows.iter()
            .flatten()
            .flat_map(|(k, v, tokens)| [*k, *v, *tokens as u64]),
    );
    table
}

/// Returns whether the kernels support heads of this width and fit them into shared memory.
pub fn attention_served(scalar: Scalar, sizes: Heads) -> bool {
    let step = if scalar == Scalar::Bf16 { 16 } else { 4 };
    let width = sizes.width > 0 && sizes.width.is_multiple_of(step) && sizes.width <= 128;
    width
        && sizes.rows > 0
        && sizes.tokens > 0
        && sizes.heads <= MOST_BLOCKS
        && sizes.rows <= MOST_BLOCKS
}

/// `softmax(scale * q k^T) v` for queries (R, L, C). Addresses: queries, the [`table`], result.
pub fn attention(scalar: Scalar, at: [u64; 3], sizes: Heads, scale: f32) -> Call {
    let (file, source, queries) = match scalar {
        Scalar::Bf16 => (
            "attention_bf16",
            include_str!("attention_bf16.cu"),
            ATTENDING / WARP * 16,
        ),
        Scalar::F32 => (
            "attention_f32",
            include_str!("attention_f32.cu"),
            ATTENDING / 4,
        ),
    };
    let Heads {
        rows,
        tokens,
        heads,
        width,
    } = sizes;
    let [q, table, out] = at.map(Address);
    let scale = scale * std::f32::consts::LOG2_E; // powers are of two
    Call {
        program: program(
            file,
            source,
            scalar,
            &[("THREADS", ATTENDING), ("WIDTH", width)],
        ),
        kernel: "attention",
        grid: [tokens.div_ceil(queries) as u32, heads as u32, rows as u32],
        threads: ATTENDING as u32,
        args: vec![
            q,
            table,
            out,
            Int(tokens as i32),
            Int(heads as i32),
            Real(scale),
        ],
    }
}
