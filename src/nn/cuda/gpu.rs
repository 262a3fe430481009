//! An NVIDIA GPU, if this program was built for one, and the use of its memory.

use candle_core::{Device, Result};

/// Opens the first GPU, with one stream for all threads: work runs in the order in which it is
/// queued, so one thread can use the results of another.
///
/// # Errors
/// There is no GPU, or this program was built without `--features cuda`.
pub fn open_gpu() -> Result<Device> {
    let device = Device::new_cuda_with_stream(0)?;
    #[cfg(feature = "cuda")]
    {
        // SAFETY: tensors of this device are used on its one stream only, which orders their uses
        // without events.
        unsafe { device.as_cuda_device()?.disable_event_tracking() };
        pool::keep(&device)?;
    }
    Ok(device)
}

/// The peak GPU memory of this process's tensors, in bytes; `None` for other devices.
pub fn gpu_peak_bytes(device: &Device) -> Option<u64> {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return pool::peak_bytes(device);
    }
    let _ = device;
    None
}

#[cfg(feature = "cuda")]
mod pool {
    use candle_core::{
        Device, Result,
        cuda_backend::{
            WrapErr,
            cudarc::driver::{
                DriverError,
                result::{device::get_default_mem_pool, mem_pool},
                sys::{
                    CUmemPool_attribute::{
                        self, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD as RELEASE_THRESHOLD,
                        CU_MEMPOOL_ATTR_USED_MEM_HIGH as USED_AT_MOST,
                    },
                    CUmemoryPool,
                },
            },
        },
    };

    /// Makes the driver keep freed memory for later tensors. Otherwise memory returns to the system
    /// whenever the host waits for the GPU, and each scale has to allocate it again.
    pub fn keep(device: &Device) -> Result<()> {
        let mut all = u64::MAX;
        let value: *mut u64 = &raw mut all;
        // SAFETY: the attribute is an unsigned number of 64 bits.
        with(device, RELEASE_THRESHOLD, |pool, name| unsafe {
            mem_pool::set_attribute(pool, name, value.cast())
        })
    }

    pub fn peak_bytes(device: &Device) -> Option<u64> {
        let mut bytes = 0u64;
        let value: *mut u64 = &raw mut bytes;
        // SAFETY: the attribute is an unsigned number of 64 bits.
        let read = |pool, name| unsafe { mem_pool::get_attribute(pool, name, value.cast()) };
        with(device, USED_AT_MOST, read).ok()?;
        Some(bytes)
    }

    fn with(
        device: &Device,
        name: CUmemPool_attribute,
        f: impl FnOnce(CUmemoryPool, CUmemPool_attribute) -> std::result::Result<(), DriverError>,
    ) -> Result<()> {
        let stream = device.as_cuda_device()?.cuda_stream();
        // SAFETY: the device is the one of a context that is held.
        let pool = unsafe { get_default_mem_pool(stream.context().cu_device()) }.w()?;
        f(pool, name).w()
    }
}
