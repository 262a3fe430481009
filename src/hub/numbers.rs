//! Numbers of a file as a tensor, read right into its memory.

use candle_core::{DType, Device, Tensor, WithDType};
use half::{bf16, f16, slice::HalfFloatSliceExt, vec::HalfBitsVecExt};

use crate::{
    Error, Result,
    nn::{ReadPart, advise_large_pages},
};

#[cfg(target_endian = "big")]
compile_error!("numbers are read as files have them, with the lowest byte first");

/// The tensor of this type and shape whose bytes `read` writes.
///
/// # Errors
/// `read` fails.
pub(super) fn tensor(
    dtype: DType,
    shape: &[usize],
    read: impl FnOnce(&mut [u8]) -> Result<()>,
) -> Result<Tensor> {
    match dtype {
        DType::F64 => of(shape, numbers::<f64>(shape, read)?),
        DType::F32 => of(shape, numbers::<f32>(shape, read)?),
        DType::F16 => of(
            shape,
            numbers::<u16>(shape, read)?.reinterpret_into::<f16>(),
        ),
        DType::BF16 => of(
            shape,
            numbers::<u16>(shape, read)?.reinterpret_into::<bf16>(),
        ),
        DType::I64 => of(shape, numbers::<i64>(shape, read)?),
        DType::I32 => of(shape, numbers::<i32>(shape, read)?),
        DType::I16 => of(shape, numbers::<i16>(shape, read)?),
        DType::U32 => of(shape, numbers::<u32>(shape, read)?),
        DType::U8 => of(shape, numbers::<u8>(shape, read)?),
        other => Err(Error::internal(format!("a tensor of {other:?} is read"))),
    }
}

fn of<T: WithDType>(shape: &[usize], values: Vec<T>) -> Result<Tensor> {
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// A number of which every pattern of bits is one.
trait Plain: Copy + Default {}

impl Plain for f64 {}
impl Plain for f32 {}
impl Plain for i64 {}
impl Plain for i32 {}
impl Plain for i16 {}
impl Plain for u32 {}
impl Plain for u16 {}
impl Plain for u8 {}

fn numbers<T: Plain>(
    shape: &[usize],
    read: impl FnOnce(&mut [u8]) -> Result<()>,
) -> Result<Vec<T>> {
    let count = match shape.contains(&0) {
        true => 0,
        false => shape.iter().product(),
    };
    let mut values = vec![T::default(); count];
    advise_large_pages(&mut values);
    read(as_bytes(&mut values))?;
    Ok(values)
}

/// Reads parts of a tensor as f32 whose numbers of this type are stored in order. `read` fills memory
/// with the bytes that begin at some byte of the tensor. `None` for types that are read whole.
pub(super) fn parts<'a>(
    dtype: DType,
    read: impl Fn(u64, &mut [u8]) -> Result<()> + Send + Sync + 'a,
) -> Option<ReadPart<'a, f32>> {
    match dtype {
        DType::F32 => Some(Box::new(move |first, part| {
            read((first * size_of::<f32>()) as u64, as_bytes(part))
        })),
        DType::F16 => Some(Box::new(move |first, part| {
            let stored: Vec<f16> = halves(first, part.len(), &read)?.reinterpret_into();
            stored.convert_to_f32_slice(part);
            Ok(())
        })),
        DType::BF16 => Some(Box::new(move |first, part| {
            let stored: Vec<bf16> = halves(first, part.len(), &read)?.reinterpret_into();
            stored.convert_to_f32_slice(part);
            Ok(())
        })),
        _ => None,
    }
}

/// `count` numbers of 16 bits from number `first` on.
fn halves(
    first: usize,
    count: usize,
    read: impl Fn(u64, &mut [u8]) -> Result<()>,
) -> Result<Vec<u16>> {
    let mut stored = vec![0; count];
    read((first * size_of::<u16>()) as u64, as_bytes(&mut stored))?;
    Ok(stored)
}

/// The bytes of numbers, as files store them.
fn as_bytes<T: Plain>(values: &mut [T]) -> &mut [u8] {
    let length = size_of_val(values);
    // SAFETY: The slice has as many bytes as the values, which it borrows mutably. Every pattern of
    // bits is a value of `T`, and none of its bytes is padding.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), length) }
}
