//! Named tensors of a checkpoint, handed to the layers one prefix at a time, each checked for its
//! shape.

use std::{
    collections::BTreeSet,
    fmt::Display,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use candle_core::{DType, Device, Shape, Tensor};

use super::{
    dtype::Dtype,
    finite::{check_for_8_bits, find_not_finite_of_part, find_not_finite_scale, first_not_finite},
    tensor_source::{OpenMatrix, StoredType, TensorInfo, TensorSource},
};
use crate::{Error, LoadError, Result};

/// A view of a [`TensorSource`] below some prefix; reads tensors as one floating-point type onto
/// one device.
///
/// A view of the header alone ([`Weights::of_header`]) checks names, shapes and types in the same
/// way, but gives stand-ins that take no memory, so that a network can be measured before it is
/// read.
#[derive(Clone)]
pub struct Weights {
    source: Arc<dyn TensorSource>,
    read: Arc<Mutex<BTreeSet<String>>>,
    memory: Arc<Memory>,
    watch: Option<Arc<dyn Fn(u64) + Send + Sync>>,
    prefix: String,
    dtype: Dtype,
    device: Device,
    has_values: bool,
}

/// Bytes that layers take.
#[derive(Debug, Default)]
struct Memory {
    /// Of what is kept.
    kept: AtomicU64,
    /// Of what was read, as it is stored.
    stored: AtomicU64,
    /// Of the largest matrix in f32, which sources that cannot read in parts hold.
    room: AtomicU64,
    /// At the widest moment so far, with the tensor that is being read and the layer that is being
    /// made of it.
    peak: AtomicU64,
}

impl Memory {
    fn note(&self, beside: u64) {
        let lasting = self.kept.load(Ordering::Relaxed) + self.room.load(Ordering::Relaxed);
        self.peak.fetch_max(lasting + beside, Ordering::Relaxed);
    }

    /// A matrix takes `bytes` while it is packed; others may have taken more before.
    fn make_room(&self, bytes: u64) {
        self.room.fetch_max(bytes, Ordering::Relaxed);
    }

    fn keep(&self, bytes: u64) {
        self.kept.fetch_add(bytes, Ordering::Relaxed);
    }

    fn release(&self, bytes: u64) {
        self.kept.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Weights {
    /// All tensors of `source` onto `device`. The CPU keeps matrices in `dtype` and computes in f32; other devices hold and compute everything in `dtype`.
    pub fn new(source: Arc<dyn TensorSource>, dtype: Dtype, device: &Device) -> Self {
        Self {
            source,
            read: Arc::default(),
            memory: Arc::default(),
            watch: None,
            prefix: String::new(),
            dtype,
            device: device.clone(),
            has_values: true,
        }
    }

    /// The same for a network that is only measured: every tensor has the shape of the file's and
    /// the value NaN, so that nothing computed with it passes for a result.
    pub fn of_header(source: Arc<dyn TensorSource>, dtype: Dtype, device: &Device) -> Self {
        Self {
            has_values: false,
            ..Self::new(source, dtype, device)
        }
    }

    /// The same with a function that is told the size in bytes of every tensor that was read.
    pub fn watched(self, watch: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self {
            watch: Some(Arc::new(watch)),
            ..self
        }
    }

    /// Tensors of another file, which belong to the same network.
    pub fn beside(&self, source: Arc<dyn TensorSource>) -> Self {
        Self {
            source,
            read: Arc::default(),
            prefix: String::new(),
            ..self.clone()
        }
    }

    /// Returns whether tensors have their values. Those of a header have only their shapes.
    pub fn has_values(&self) -> bool {
        self.has_values
    }

    /// The tensors below `name`, as PyTorch separates them, by a dot.
    pub fn pp(&self, name: impl Display) -> Self {
        Self {
            prefix: self.path(&name.to_string()),
            ..self.clone()
        }
    }

    /// The data type in which the matrices of linear layers are kept.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The device onto which tensors are read.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns whether the tensor exists.
    pub fn has(&self, name: &str) -> bool {
        self.source.info(&self.path(name)).is_some()
    }

    /// Numbers in all tensors that were read.
    pub fn values_read(&self) -> usize {
        let read = self
            .read
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let infos = read.iter().filter_map(|name| self.source.info(name));
        infos.map(|info| info.values()).sum()
    }

    /// Bytes of everything that was read, in the form in which layers keep it.
    pub fn bytes_kept(&self) -> u64 {
        self.memory.kept.load(Ordering::Relaxed)
    }

    /// Bytes of everything that was read, as it is stored.
    pub fn bytes_stored(&self) -> u64 {
        self.memory.stored.load(Ordering::Relaxed)
    }

    /// Bytes at the widest moment of reading: what was kept until then, the tensor that was being
    /// read, and the layer that was being made of it.
    pub fn peak_bytes(&self) -> u64 {
        self.memory
            .peak
            .load(Ordering::Relaxed)
            .max(self.bytes_kept())
    }

    /// A layer keeps `bytes` in place of the tensor of `elements` values that it read.
    pub(super) fn keep_instead(&self, elements: usize, bytes: u64) {
        self.memory.note(bytes);
        self.memory.keep(bytes);
        self.memory
            .release((elements * self.held_as().size_in_bytes()) as u64);
    }

    /// A tensor that a layer was made of is kept beside it.
    pub fn keep_too(&self, tensor: &Tensor) {
        self.memory
            .keep((tensor.elem_count() * self.held_as().size_in_bytes()) as u64);
    }

    /// Tensors that were read from here, one behind the other along the first axis.
    ///
    /// # Errors
    /// Their shapes do not fit together.
    pub fn join(&self, parts: &[Tensor]) -> Result<Tensor> {
        let elements: usize = parts.iter().map(Tensor::elem_count).sum();
        self.memory
            .note((elements * self.held_as().size_in_bytes()) as u64);
        if self.has_values || parts.is_empty() {
            return Ok(Tensor::cat(parts, 0)?);
        }
        let rows = parts.iter().map(|part| part.dims()[0]).sum();
        let mut shape = parts[0].dims().to_vec();
        shape[0] = rows;
        self.stand_in(shape)
    }

    /// A tensor of this shape that takes no memory.
    pub(super) fn stand_in(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        let value = Tensor::new(f32::NAN, &self.device)?.to_dtype(self.held_as())?;
        Ok(value.broadcast_as(shape)?)
    }

    /// The type that tensors have once they are read, and that activations have.
    pub fn held_as(&self) -> DType {
        if self.device.is_cpu() {
            DType::F32
        } else {
            self.dtype.of_activations()
        }
    }

    /// The expected number of numbered children `name.0`, `name.1`, ...: one more than the highest
    /// number. Loading them all then names the tensor that a damaged file lacks in the
    /// middle.
    pub fn count(&self, name: &str) -> usize {
        let parent = self.path(&format!("{name}."));
        let number = |name: &String| {
            name.strip_prefix(&parent)?
                .split_once('.')?
                .0
                .parse::<usize>()
                .ok()
        };
        let names = self.source.names();
        let highest = names.iter().filter_map(number).max();
        // A file cannot ask for a long loop
        highest.map_or(0, |highest| highest.saturating_add(1).min(names.len()))
    }

    /// Sizes of the axes of a tensor that must be there and have `N` of them, none of them 0.
    pub fn dims<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
        let info = self.info(name, || format!("{N} axes"))?;
        let found = format!("{:?}", info.shape);
        if info.shape.contains(&0) {
            return Err(self.mismatch(name, "sizes of 1 or more", found));
        }
        info.shape
            .try_into()
            .map_err(|_| self.mismatch(name, format!("{N} axes"), found))
    }

    /// Number of values of a tensor that must be there.
    pub fn elements(&self, name: &str) -> Result<usize> {
        Ok(self.info(name, || "some values".to_owned())?.values())
    }

    /// Reads a tensor that must have this shape.
    pub fn get(&self, shape: impl Into<Shape>, name: &str) -> Result<Tensor> {
        self.check_shape(&shape.into(), name)?;
        self.read(name)
    }

    /// Opens a matrix (outputs, inputs) for `pack`, which reads it in parts into main memory. The
    /// values of a header are not there: then there is no result.
    ///
    /// # Errors
    /// The shape is another one, a value is not finite, or the file cannot be read.
    pub(super) fn read_matrix<T>(
        &self,
        shape: (usize, usize),
        name: &str,
        pack: impl FnOnce(OpenMatrix) -> Result<T>,
    ) -> Result<Option<T>> {
        let shape = shape.into();
        self.check_shape(&shape, name)?;
        let (path, info) = self.begin_reading(name)?;
        // Sources that cannot read in parts hold the whole matrix.
        self.memory
            .make_room((shape.elem_count() * size_of::<f32>()) as u64);
        self.memory.note(match info.is_stored_as(DType::F32) {
            true => 0,
            false => info.bytes(),
        });
        if !self.has_values {
            return Ok(None);
        }
        let origin = self.source.origin();
        let check = |found| self.check_finite(&path, found);
        let packed = pack(match self.source.open_matrix(&path)? {
            OpenMatrix::Q8_0(read) if self.dtype == Dtype::Q8 => {
                OpenMatrix::Q8_0(Box::new(move |first, part| {
                    read(first, part)?;
                    check(find_not_finite_scale(first, part))
                }))
            }
            matrix => {
                let read = matrix.into_values();
                let is_rounded = self.dtype == Dtype::Q8;
                let tensor = &path;
                OpenMatrix::Values(Box::new(move |first, part| {
                    read(first, part)?;
                    match is_rounded {
                        true => check_for_8_bits(&origin, tensor, first, part),
                        false => check(find_not_finite_of_part(first, part)),
                    }
                }))
            }
        })?;
        self.report_read(&info);
        Ok(Some(packed))
    }

    /// Reads a tensor of `shape.elem_count()` values with any axes, and gives it this shape.
    pub fn get_reshaped(&self, shape: impl Into<Shape>, name: &str) -> Result<Tensor> {
        let shape = shape.into();
        let info = self.info(name, || format!("{} values", shape.elem_count()))?;
        if info.values() != shape.elem_count() {
            let expected = format!("{} values", shape.elem_count());
            return Err(self.mismatch(name, expected, format!("{:?}", info.shape)));
        }
        Ok(self.read(name)?.reshape(shape)?)
    }

    /// Reads integers, such as positions, with any axes.
    pub fn whole_numbers(&self, name: &str) -> Result<Vec<i64>> {
        let path = self.path(name);
        self.info(name, || "integers".to_owned())?;
        let stored = self.source.load(&path)?;
        if !stored.dtype().is_int() {
            let found = format!("{:?}", stored.dtype()).to_lowercase();
            return Err(self.mismatch(name, "integers", found));
        }
        self.mark_as_read(path);
        Ok(stored.flatten_all()?.to_dtype(DType::I64)?.to_vec1()?)
    }

    /// The same tensors, read in f32 into main memory, for small parts whose results are added up.
    pub fn exact(&self) -> Self {
        Self {
            dtype: Dtype::F32,
            device: Device::Cpu,
            ..self.clone()
        }
    }

    /// Reads a single number, in f32 whatever the type of the matrices.
    pub fn number(&self, name: &str) -> Result<f32> {
        let info = self.info(name, || "one number".to_owned())?;
        if info.values() != 1 {
            return Err(self.mismatch(name, "one number", format!("{:?}", info.shape)));
        }
        let stored = self.exact().read(name)?;
        Ok(stored.flatten_all()?.get(0)?.to_scalar()?)
    }

    /// Names that no layer has read, in order: tensors of the file that the model does not know.
    pub fn unread(&self) -> Vec<String> {
        let read = self
            .read
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut names = self.source.names();
        names.retain(|name| !read.contains(name));
        names.sort();
        names
    }

    /// The error for a tensor that is not what this model needs.
    pub fn mismatch(
        &self,
        name: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Error {
        Error::from(LoadError::Tensor {
            origin: self.source.origin(),
            tensor: self.path(name),
            expected: expected.into(),
            found: found.into(),
        })
    }

    fn check_shape(&self, shape: &Shape, name: &str) -> Result<()> {
        let expected = || format!("{:?}", shape.dims());
        let info = self.info(name, expected)?;
        if info.shape == shape.dims() {
            return Ok(());
        }
        Err(self.mismatch(name, expected(), format!("{:?}", info.shape)))
    }

    fn read(&self, name: &str) -> Result<Tensor> {
        let (path, info) = self.begin_reading(name)?;
        self.count_tensor(&info);
        if !self.has_values {
            return self.stand_in(info.shape);
        }
        let stored = self.source.load(&path)?;
        self.report_read(&info);
        let tensor = stored.to_dtype(self.held_as())?;
        drop(stored);
        self.check_finite(&path, first_not_finite(&tensor)?)?;
        Ok(tensor.to_device(&self.device)?)
    }

    /// The path and the description of a tensor of floating-point numbers, which is marked as read.
    fn begin_reading(&self, name: &str) -> Result<(String, TensorInfo)> {
        let info = self.info(name, || "floating-point numbers".to_owned())?;
        if let StoredType::Readable(stored) = info.element
            && !stored.is_float()
        {
            let found = format!("{stored:?}").to_lowercase();
            return Err(self.mismatch(name, "floating-point numbers", found));
        }
        let bytes = info.bytes();
        self.memory.stored.fetch_add(bytes, Ordering::Relaxed);
        let path = self.path(name);
        self.mark_as_read(path.clone());
        Ok((path, info))
    }

    /// Tells the watch of a tensor that was read.
    fn report_read(&self, info: &TensorInfo) {
        if let Some(watch) = &self.watch {
            watch(info.bytes());
        }
    }

    fn check_finite(&self, tensor: &str, found: Option<String>) -> Result<()> {
        match found {
            None => Ok(()),
            Some(found) => Err(Error::from(LoadError::NotFinite {
                origin: self.source.origin(),
                tensor: tensor.to_owned(),
                found,
            })),
        }
    }

    /// Counts a tensor that is read and kept: as it is stored, if that is another type, and as it is
    /// held.
    fn count_tensor(&self, info: &TensorInfo) {
        let elements = info.values();
        let held = (elements * self.held_as().size_in_bytes()) as u64;
        let stored = info.bytes();
        match info.is_stored_as(self.held_as()) {
            true => self.memory.note(held),
            false => self.memory.note(stored + held),
        }
        self.memory.keep(held);
    }

    fn mark_as_read(&self, path: String) {
        self.read
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .insert(path);
    }

    fn info(&self, name: &str, expected: impl FnOnce() -> String) -> Result<TensorInfo> {
        let path = self.path(name);
        match self.source.info(&path) {
            Some(TensorInfo {
                element: StoredType::Unreadable(kind),
                ..
            }) => Err(self.mismatch(name, expected(), format!("{kind}, which cannot be read"))),
            Some(info) => Ok(info),
            None => Err(Error::from(LoadError::Missing {
                origin: self.source.origin(),
                expected: expected() + &self.instead_of(&path),
                tensor: path,
            })),
        }
    }

    /// The end of a message about a tensor that is missing: one that may be it.
    fn instead_of(&self, path: &str) -> String {
        let names = self.source.names();
        let ending = format!(".{path}");
        match names.iter().find(|name| name.ends_with(&ending)) {
            Some(similar) => format!(", but there is `{}`", similar.escape_debug()),
            None => String::new(),
        }
    }

    fn path(&self, name: &str) -> String {
        match (self.prefix.as_str(), name) {
            ("", name) => name.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, name) => format!("{prefix}.{name}"),
        }
    }
}
