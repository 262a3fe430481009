//! Named tensors of a checkpoint, handed to the layers one prefix at a time, each checked for its
//! shape.

use std::{
    collections::BTreeSet,
    fmt::Display,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use candle_core::{DType, Device, Shape, Tensor};

use super::{
    advise_large_pages,
    cpu::to_vec,
    dtype::Dtype,
    finite::{find_not_finite, find_not_finite_scale, first_not_finite},
};
use crate::{Error, LoadError, Result};

/// The description of a tensor in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// Element type as stored.
    pub element: StoredType,
}

impl TensorInfo {
    /// Returns whether its values are stored in this type.
    fn is_stored_as(&self, dtype: DType) -> bool {
        self.element == StoredType::Readable(dtype)
    }

    /// Bytes of its values, as far as their type is known.
    pub fn bytes(&self) -> u64 {
        let values: usize = self.shape.iter().product();
        match self.element {
            StoredType::Readable(dtype) => (values * dtype.size_in_bytes()) as u64,
            StoredType::Unreadable(_) => 0,
        }
    }
}

/// The element type of a stored tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredType {
    /// A type that networks can read.
    Readable(DType),
    /// Another type or kind of tensor, such as `complex64` or a sparse one.
    Unreadable(String),
}

/// Tensors by which the checkpoint of a network is recognised.
#[derive(Debug)]
pub struct Signature {
    /// Sets of names, one per layout of published files; a state dict has all names of one set.
    pub layouts: &'static [&'static [&'static str]],
}

/// The state dict that was chosen in a checkpoint with several or with an unusual one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDictChoice {
    /// The file.
    pub origin: String,
    /// The prefix of the tensors that are read; empty for the top level of the file.
    pub chosen: String,
    /// True if published files have their tensors there.
    pub is_usual: bool,
    /// True if the user asked for it by name.
    pub is_asked_for: bool,
    /// The prefixes of other state dicts that fit.
    pub others: Vec<String>,
}

/// Somewhere that tensors come from: a file, several shards, memory.
pub trait TensorSource: Send + Sync {
    /// The file or folder, for messages.
    fn origin(&self) -> String;

    /// Every tensor's name.
    fn names(&self) -> Vec<String>;

    /// Shape and type of a tensor, without reading it; `None` if there is no tensor of that name.
    fn info(&self, name: &str) -> Option<TensorInfo>;

    /// Reads a tensor into main memory, in the type it is stored in.
    fn load(&self, name: &str) -> Result<Tensor>;

    /// Reads the values of a tensor, row by row, into `values`, which has as many. Sources whose
    /// values are stored so read right into it.
    fn load_into(&self, name: &str, values: &mut [f32]) -> Result<()> {
        copy_values(&self.load(name)?, values)
    }

    /// Reads the blocks of a matrix that is stored as GGUF's `q8_0` in place of what `blocks` holds.
    /// Returns whether it is.
    fn load_q8_0(&self, _name: &str, _blocks: &mut Vec<u8>) -> Result<bool> {
        Ok(false)
    }

    /// The name under which the file was saved, if it tells; renaming it later does not change that.
    fn saved_as(&self) -> Option<&str> {
        None
    }

    /// The state dict that these tensors are, if the file left a choice.
    fn state_dict(&self) -> Option<&StateDictChoice> {
        None
    }
}

/// A matrix as it was read.
pub(super) enum StoredMatrix<'a> {
    /// Its values, row by row.
    Values(&'a [f32]),
    /// Its blocks of GGUF's `q8_0`, row by row.
    Q8_0(&'a [u8]),
}

impl StoredMatrix<'_> {
    fn find_not_finite(&self) -> Option<String> {
        match self {
            Self::Values(values) => find_not_finite(values),
            Self::Q8_0(blocks) => find_not_finite_scale(blocks),
        }
    }
}

/// Copies the values of a tensor, row by row, to `values`, which has as many.
pub(crate) fn copy_values(tensor: &Tensor, values: &mut [f32]) -> Result<()> {
    values.copy_from_slice(&to_vec(&tensor.to_dtype(DType::F32)?)?);
    Ok(())
}

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
    room: Arc<Mutex<Room>>,
    watch: Option<Arc<dyn Fn(u64) + Send + Sync>>,
    prefix: String,
    dtype: Dtype,
    device: Device,
    has_values: bool,
}

/// Memory for the matrix that is being packed. Clearing new memory for each would take more time
/// than everything else.
#[derive(Debug, Default)]
struct Room {
    values: Vec<f32>,
    blocks: Vec<u8>,
}

/// Bytes that layers take.
#[derive(Debug, Default)]
struct Memory {
    /// Of what is kept.
    kept: AtomicU64,
    /// Of what was read, as it is stored.
    stored: AtomicU64,
    /// Of [`Weights::room`].
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

    /// Values of matrices take `bytes`, unless others took more before.
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
            room: Arc::default(),
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
        infos.map(|info| info.shape.iter().product::<usize>()).sum()
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
            self.dtype.of_maps()
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
        Ok(self
            .info(name, || "some values".to_owned())?
            .shape
            .iter()
            .product())
    }

    /// Reads a tensor that must have this shape.
    pub fn get(&self, shape: impl Into<Shape>, name: &str) -> Result<Tensor> {
        self.check_shape(&shape.into(), name)?;
        self.read(name)
    }

    /// Reads a matrix (outputs, inputs) into main memory, and gives its values, row by row, to
    /// `make`. The values of a header are not there: then there is no result.
    pub(super) fn with_matrix<T>(
        &self,
        shape: (usize, usize),
        name: &str,
        make: impl FnOnce(StoredMatrix) -> T,
    ) -> Result<Option<T>> {
        let shape = shape.into();
        self.check_shape(&shape, name)?;
        let (path, info) = self.begin_reading(name)?;
        let count = shape.elem_count();
        self.memory.make_room((count * size_of::<f32>()) as u64);
        self.memory.note(match info.is_stored_as(DType::F32) {
            true => 0,
            false => info.bytes(),
        });
        if !self.has_values {
            return Ok(None);
        }
        // Taken out, so that a thread which helps with this matrix may begin another one.
        let mut room = std::mem::take(&mut *self.lock_room());
        let in_blocks =
            self.dtype == Dtype::Q8 && self.source.load_q8_0(&path, &mut room.blocks)?;
        let matrix = match in_blocks {
            true => StoredMatrix::Q8_0(&room.blocks),
            false => StoredMatrix::Values(self.load_values(&path, count, &mut room.values)?),
        };
        self.report_read(&info);
        self.check_finite(path, matrix.find_not_finite())?;
        let made = make(matrix);
        *self.lock_room() = room;
        Ok(Some(made))
    }

    /// The values of a tensor, in memory that is used again if it suffices.
    fn load_values<'r>(
        &self,
        path: &str,
        count: usize,
        room: &'r mut Vec<f32>,
    ) -> Result<&'r [f32]> {
        if room.len() < count {
            *room = vec![]; // not both at once
            *room = vec![0.0; count];
            advise_large_pages(room);
        }
        let values = &mut room[..count];
        self.source.load_into(path, values)?;
        Ok(values)
    }

    fn lock_room(&self) -> MutexGuard<'_, Room> {
        self.room
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Reads a tensor of `shape.elem_count()` values with any axes, and gives it this shape.
    pub fn get_reshaped(&self, shape: impl Into<Shape>, name: &str) -> Result<Tensor> {
        let shape = shape.into();
        let info = self.info(name, || format!("{} values", shape.elem_count()))?;
        if info.shape.iter().product::<usize>() != shape.elem_count() {
            let expected = format!("{} values", shape.elem_count());
            return Err(self.mismatch(name, expected, format!("{:?}", info.shape)));
        }
        Ok(self.read(name)?.reshape(shape)?)
    }

    /// Reads whole numbers, such as positions, with any axes.
    pub fn whole_numbers(&self, name: &str) -> Result<Vec<i64>> {
        let path = self.path(name);
        self.info(name, || "whole numbers".to_owned())?;
        let stored = self.source.load(&path)?;
        if !stored.dtype().is_int() {
            let found = format!("{:?}", stored.dtype()).to_lowercase();
            return Err(self.mismatch(name, "whole numbers", found));
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
        if info.shape.iter().product::<usize>() != 1 {
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
        self.check_finite(path, first_not_finite(&tensor)?)?;
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

    fn check_finite(&self, tensor: String, found: Option<String>) -> Result<()> {
        match found {
            None => Ok(()),
            Some(found) => Err(Error::from(LoadError::NotFinite {
                origin: self.source.origin(),
                tensor,
                found,
            })),
        }
    }

    /// Counts a tensor that is read and kept: as it is stored, if that is another type, and as it is
    /// held.
    fn count_tensor(&self, info: &TensorInfo) {
        let elements: usize = info.shape.iter().product();
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
            None => Err(self.mismatch(name, expected(), self.absent(&path))),
        }
    }

    /// Says that there is no tensor of this name, and names one that may be it.
    fn absent(&self, path: &str) -> String {
        let names = self.source.names();
        let ending = format!(".{path}");
        match names.iter().find(|name| name.ends_with(&ending)) {
            Some(similar) => format!("no such tensor, but `{}`", similar.escape_debug()),
            None => "no such tensor".to_owned(),
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
