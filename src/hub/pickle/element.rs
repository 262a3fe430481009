//! The types of numbers that PyTorch stores, including those that no network here reads.

use candle_core::DType;

/// A type of stored numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElementType {
    /// The name of the type in PyTorch.
    pub name: &'static str,
    /// Bytes per element.
    pub width: usize,
    /// The type as networks read it; none if they cannot.
    pub dtype: Option<DType>,
}

const fn readable(name: &'static str, width: usize, dtype: DType) -> ElementType {
    ElementType {
        name,
        width,
        dtype: Some(dtype),
    }
}

const fn unreadable(name: &'static str, width: usize) -> ElementType {
    ElementType {
        name,
        width,
        dtype: None,
    }
}

/// Bytes without a type, whose tensors name it.
pub(super) const UNTYPED: ElementType = unreadable("bytes", 1);

const ELEMENTS: [ElementType; 31] = [
    readable("float32", 4, DType::F32),
    readable("float64", 8, DType::F64),
    readable("float16", 2, DType::F16),
    readable("bfloat16", 2, DType::BF16),
    readable("int64", 8, DType::I64),
    readable("int32", 4, DType::I32),
    readable("int16", 2, DType::I16),
    readable("uint32", 4, DType::U32),
    readable("uint8", 1, DType::U8),
    readable("bool", 1, DType::U8),
    unreadable("int8", 1),
    unreadable("uint16", 2),
    unreadable("uint64", 8),
    unreadable("complex32", 4),
    unreadable("complex64", 8),
    unreadable("complex128", 16),
    unreadable("float8_e4m3fn", 1),
    unreadable("float8_e4m3fnuz", 1),
    unreadable("float8_e5m2", 1),
    unreadable("float8_e5m2fnuz", 1),
    unreadable("float8_e8m0fnu", 1),
    unreadable("float4_e2m1fn_x2", 1),
    unreadable("qint8", 1),
    unreadable("quint8", 1),
    unreadable("qint32", 4),
    unreadable("quint4x2", 1),
    unreadable("quint2x4", 1),
    unreadable("bits8", 1),
    unreadable("bits16", 2),
    unreadable("uint4", 1),
    unreadable("int4", 1),
];

/// Storage classes of the module `torch`, without their ending `Storage`.
const CLASSES: [(&str, &str); 19] = [
    ("Float", "float32"),
    ("Double", "float64"),
    ("Half", "float16"),
    ("BFloat16", "bfloat16"),
    ("Long", "int64"),
    ("Int", "int32"),
    ("Short", "int16"),
    ("Char", "int8"),
    ("Byte", "uint8"),
    ("Bool", "bool"),
    ("ComplexHalf", "complex32"),
    ("ComplexFloat", "complex64"),
    ("ComplexDouble", "complex128"),
    ("QInt8", "qint8"),
    ("QUInt8", "quint8"),
    ("QInt32", "qint32"),
    ("QUInt4x2", "quint4x2"),
    ("QUInt2x4", "quint2x4"),
    ("UInt16", "uint16"),
];

/// The type of this name, such as `float32`.
pub(super) fn by_name(name: &str) -> Option<ElementType> {
    ELEMENTS.into_iter().find(|element| element.name == name)
}

/// The type that a storage class holds, such as `FloatStorage`.
pub(super) fn of_storage(class: &str) -> Option<ElementType> {
    let kind = class.strip_suffix("Storage")?;
    if kind == "Untyped" {
        return Some(UNTYPED);
    }
    let (_, name) = CLASSES.iter().find(|(class, _)| *class == kind)?;
    by_name(name)
}
