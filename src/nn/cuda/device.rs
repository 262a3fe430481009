//! The GPU: programs compiled for it, launches on it, and addresses of tensors for as long as a
//! launch needs them.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
};

use candle_core::{
    CudaDevice, CudaStorage, DType, Device, Result, Shape, Storage, Tensor,
    backend::BackendStorage,
    cuda_backend::{
        CudaDType, WrapErr,
        cudarc::{
            driver::{
                CudaSlice, DevicePtr, DevicePtrMut, DeviceRepr, LaunchConfig, PushKernelArg,
                sys::CUdevice_attribute::{
                    self, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
                    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
                },
            },
            nvrtc::{CompileOptions, compile_ptx_with_opts},
        },
    },
    op::BackpropOp,
};
use half::bf16;

use super::{Arg, Call, Program, Scalar, calls::ALIGNMENT};
use crate::nn::kernels_forced;

/// Number types that the kernels support.
pub trait Number: CudaDType + DeviceRepr + 'static {
    const SCALAR: Scalar;
}

impl Number for f32 {
    const SCALAR: Scalar = Scalar::F32;
}

impl Number for bf16 {
    const SCALAR: Scalar = Scalar::Bf16;
}

/// The first generation whose tensor cores know bf16.
const LEAST_CAPABILITY: i32 = 8;

/// The GPU of a tensor, if the kernels support it. `TTSVAR_KERNELS=portable` leaves everything to
/// the tensor library.
pub fn gpu_of(x: &Tensor) -> Option<&CudaDevice> {
    let Device::Cuda(device) = x.device() else {
        return None;
    };
    (!kernels_forced() && capability(device, MAJOR).is_ok_and(|major| major >= LEAST_CAPABILITY))
        .then_some(device)
}

fn capability(device: &CudaDevice, part: CUdevice_attribute) -> Result<i32> {
    device.cuda_stream().context().attribute(part).w()
}

/// A program that was compiled for a generation of GPUs.
struct Compiled {
    /// Its name in the tensor library.
    name: String,
    ptx: String,
}

/// Programs for each generation of GPUs (major, minor).
type Programs = HashMap<(i32, i32), HashMap<Program, Arc<Compiled>>>;

/// All programs compiled so far.
static COMPILED: LazyLock<Mutex<Programs>> = LazyLock::new(Mutex::default);

fn compiled(device: &CudaDevice, program: &Program) -> Result<Arc<Compiled>> {
    let generation = (capability(device, MAJOR)?, capability(device, MINOR)?);
    let mut all = COMPILED
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let programs = all.entry(generation).or_default();
    if let Some(found) = programs.get(program) {
        return Ok(found.clone());
    }
    let source = [
        include_str!("device.cuh"),
        include_str!("values.cuh"),
        program.source,
    ]
    .concat();
    let mut options = vec![format!(
        "--gpu-architecture=compute_{}{}",
        generation.0, generation.1
    )];
    options.extend(program.definitions());
    let options = CompileOptions {
        options,
        name: Some(format!("{}.cu", program.file)),
        ..CompileOptions::default()
    };
    let ptx = compile_ptx_with_opts(source, options).w()?.to_src();
    let found = Arc::new(Compiled {
        name: format!("ttsvar {} {:?}", program.file, program.constants),
        ptx,
    });
    programs.insert(program.clone(), found.clone());
    Ok(found)
}

/// Queues a call behind everything that was queued for the device.
///
/// # Safety
/// Its addresses are those of memory on this device, of the size that its other arguments say, that
/// stays for as long as what is queued next can run.
pub unsafe fn start(device: &CudaDevice, call: &Call) -> Result<()> {
    let program = compiled(device, &call.program)?;
    let function = device.get_or_load_custom_func(call.kernel, &program.name, &program.ptx)?;
    let mut builder = function.builder();
    for arg in &call.args {
        match arg {
            Arg::Address(value) => builder.arg(value),
            Arg::Int(value) => builder.arg(value),
            Arg::Long(value) => builder.arg(value),
            Arg::Real(value) => builder.arg(value),
        };
    }
    let config = LaunchConfig {
        grid_dim: call.grid.into(),
        block_dim: (call.threads, 1, 1),
        shared_mem_bytes: 0, // what kernels share is declared in them
    };
    // SAFETY: the arguments are those that `calls` made for this kernel; the caller vouches for the
    // memory.
    unsafe { builder.launch(config) }.w()?;
    Ok(())
}

/// A tensor in the form that kernels need: contiguous and aligned.
pub fn ready(x: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    let offset = x.layout().start_offset() * x.dtype().size_in_bytes();
    if (offset as u64).is_multiple_of(ALIGNMENT) {
        Ok(x)
    } else {
        x.force_contiguous()
    }
}

/// Calls `f` with the addresses of tensors of one type that are [`ready`]. Work on them that other
/// streams have begun is waited for, and work that `f` queues will be.
pub fn lend<T: Number, R>(
    device: &CudaDevice,
    tensors: &[&Tensor],
    f: impl FnOnce(&[u64]) -> Result<R>,
) -> Result<R> {
    let held: Vec<_> = tensors.iter().map(|t| t.storage_and_layout()).collect();
    let stream = device.cuda_stream();
    let mut lent = Vec::with_capacity(held.len());
    for (storage, layout) in &held {
        let Storage::Cuda(storage) = &**storage else {
            candle_core::bail!("expected a tensor on a GPU, found one in main memory")
        };
        if storage.device().id() != device.id() {
            candle_core::bail!("expected tensors on one GPU, found two devices");
        }
        let (first, guard) = storage.as_cuda_slice::<T>()?.device_ptr(&stream);
        lent.push((
            first + (layout.start_offset() * size_of::<T>()) as u64,
            guard,
        ));
    }
    f(&lent.iter().map(|(address, _)| *address).collect::<Vec<_>>())
}

/// Memory for results of these many numbers each, which `f` has to fill, given their addresses.
pub fn make<T: Number>(
    device: &CudaDevice,
    counts: &[usize],
    f: impl FnOnce(&[u64]) -> Result<()>,
) -> Result<Vec<CudaSlice<T>>> {
    // SAFETY: nothing reads the memory before `f` has queued what fills it.
    let slices = counts
        .iter()
        .map(|count| unsafe { device.alloc::<T>(*count) });
    let mut slices = slices.collect::<Result<Vec<_>>>()?;
    let stream = device.cuda_stream();
    let lent: Vec<_> = slices
        .iter_mut()
        .map(|slice| slice.device_ptr_mut(&stream))
        .collect();
    f(&lent.iter().map(|(address, _)| *address).collect::<Vec<_>>())?;
    drop(lent);
    Ok(slices)
}

/// Calls `f` with the address of a copy of some numbers on the device.
pub fn bring<T: DeviceRepr + 'static, R>(
    device: &CudaDevice,
    values: &[T],
    f: impl FnOnce(u64) -> Result<R>,
) -> Result<R> {
    let copy = device.clone_htod(values)?;
    let stream = device.cuda_stream();
    let (address, _guard) = copy.device_ptr(&stream);
    f(address)
}

/// A result of [`make`] as a tensor.
pub fn tensor<T: Number>(
    device: &CudaDevice,
    slice: CudaSlice<T>,
    shape: impl Into<Shape>,
) -> Tensor {
    let storage = CudaStorage::wrap_cuda_slice(slice, device.clone());
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}

/// Returns whether all tensors have the same, supported type.
pub fn alike(tensors: &[&Tensor]) -> bool {
    let dtype = tensors.first().map(|t| t.dtype());
    matches!(dtype, Some(DType::BF16 | DType::F32))
        && tensors.iter().all(|t| Some(t.dtype()) == dtype)
}
