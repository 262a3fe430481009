//! The closed list of names that a pickle may ask for, and what calling one of them gives.

use candle_core::DType;

use super::{Global, Node, Storage, Value, View, machine::Machine};

/// The meaning of `module.name`, or `None` for every name that is not on the list.
pub(super) fn find(module: &str, name: &str) -> Option<Global> {
    Some(match (module, name) {
        ("collections", "OrderedDict" | "defaultdict" | "Counter")
        | ("builtins" | "__builtin__", "dict") => Global::Dict,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
            Global::RebuildParameter
        }
        ("torch", "Size") => Global::Size,
        ("torch" | "torch.storage", _) if name.ends_with("Storage") => storage(name)?,
        ("torch", "device") => Global::Skipped("device"),
        (
            "torch",
            "float32" | "float64" | "float16" | "bfloat16" | "int64" | "int32" | "int16" | "int8"
            | "uint8",
        ) => Global::Skipped("dtype"),
        ("torch", "bool" | "strided" | "contiguous_format") => Global::Skipped("dtype"),
        ("argparse", "Namespace") => Global::Skipped("Namespace"),
        ("builtins" | "__builtin__", "set" | "frozenset") => Global::Skipped("set"),
        (
            "builtins" | "__builtin__",
            "int" | "float" | "bool" | "str" | "list" | "tuple" | "bytearray" | "complex",
        ) => Global::Skipped("plain value"),
        ("_codecs", "encode") => Global::Skipped("bytes"),
        ("numpy", "dtype" | "ndarray") => Global::Skipped("numpy value"),
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar" | "_reconstruct") => {
            Global::Skipped("numpy value")
        }
        (
            "pathlib" | "pathlib._local",
            "PosixPath" | "WindowsPath" | "PurePosixPath" | "PureWindowsPath",
        ) => Global::Skipped("path"),
        _ => return None,
    })
}

fn storage(class: &str) -> Option<Global> {
    let (dtype, width) = match class {
        "FloatStorage" => (DType::F32, 4),
        "DoubleStorage" => (DType::F64, 8),
        "HalfStorage" => (DType::F16, 2),
        "BFloat16Storage" => (DType::BF16, 2),
        "LongStorage" => (DType::I64, 8),
        "IntStorage" => (DType::I32, 4),
        "ShortStorage" => (DType::I16, 2),
        "ByteStorage" | "BoolStorage" => (DType::U8, 1),
        _ => return None,
    };
    Some(Global::Storage(dtype, width))
}

/// The value of `global(*arguments)`; the error describes the problem with the arguments.
pub(super) fn call(
    machine: &mut Machine<'_>,
    global: Global,
    arguments: &[Value],
) -> Result<Value, String> {
    match global {
        Global::Dict => match arguments {
            [] | [Value::Global(_)] => Ok(Value::Dict(machine.add(Node::Mapping(Vec::new())))),
            [dictionary @ Value::Dict(_)] => Ok(dictionary.clone()),
            _ => Err("a dictionary made from other values than a dictionary".into()),
        },
        Global::RebuildTensor => {
            let view = view(machine, arguments)?;
            Ok(Value::Tensor(machine.add(Node::Tensor(Box::new(view)))))
        }
        Global::RebuildParameter => match arguments {
            [tensor @ Value::Tensor(_), ..] => Ok(tensor.clone()),
            _ => Err("a parameter without a tensor".into()),
        },
        Global::Size => match arguments {
            [] => Ok(Value::Tuple(machine.add(Node::Sequence(Vec::new())))),
            [size @ (Value::Tuple(_) | Value::List(_))] => Ok(size.clone()),
            _ => Err("a torch.Size that is not a tuple".into()),
        },
        Global::Storage(..) => {
            Err("a storage class that is called; its data should be in a member of the file".into())
        }
        Global::Skipped(kind) => Ok(Value::Opaque(kind)),
    }
}

fn view(machine: &Machine<'_>, arguments: &[Value]) -> Result<View, String> {
    let [storage, offset, shape, stride, ..] = arguments else {
        return Err(format!(
            "a tensor of {} parts, expected storage, offset, size and stride",
            arguments.len()
        ));
    };
    let Value::Storage(storage) = storage else {
        return Err("a tensor without a storage".into());
    };
    let Some(Node::Storage(storage)) = machine.node(*storage) else {
        return Err("a tensor without a storage".into());
    };
    let shape = sizes(machine, shape, "size")?;
    let stride = sizes(machine, stride, "stride")?;
    if shape.len() != stride.len() {
        return Err(format!(
            "a tensor with {} sizes and {} strides",
            shape.len(),
            stride.len()
        ));
    }
    Ok(View {
        storage: storage.clone(),
        offset: size(offset, "storage offset")?,
        shape,
        stride,
    })
}

fn sizes(machine: &Machine<'_>, value: &Value, what: &str) -> Result<Vec<usize>, String> {
    const MOST_AXES: usize = 16; // the layers of this crate have at most 5
    let (Value::Tuple(index) | Value::List(index)) = value else {
        return Err(format!("a tensor whose {what} is not a tuple"));
    };
    match machine.node(*index) {
        Some(Node::Sequence(items)) if items.len() <= MOST_AXES => {
            items.iter().map(|i| size(i, what)).collect()
        }
        _ => Err(format!("a tensor of more than {MOST_AXES} axes")),
    }
}

fn size(value: &Value, what: &str) -> Result<usize, String> {
    match value {
        Value::Int(number) => usize::try_from(*number)
            .map_err(|_| format!("a tensor whose {what} is negative: {number}")),
        _ => Err(format!("a tensor whose {what} is not an integer")),
    }
}

/// The storage that a persistent id names: `("storage", class, key, location, elements)`, before
/// PyTorch 1.6 with a sixth part, which no longer meant anything.
pub(super) fn persistent(parts: &[Value]) -> Result<Storage, String> {
    match parts {
        [_, _, _, _, _, Value::Tuple(_), ..] => {
            Err("a storage inside another one, as PyTorch wrote it before 0.4".into())
        }
        [
            Value::Str(kind),
            Value::Global(Global::Storage(dtype, width)),
            Value::Str(key),
            _,
            elements,
            ..,
        ] if &**kind == "storage" => {
            let elements = match elements {
                Value::Int(n) => {
                    usize::try_from(*n).map_err(|_| format!("a storage of {n} elements"))?
                }
                _ => return Err("a storage whose number of elements is not an integer".into()),
            };
            Ok(Storage {
                key: key.clone(),
                dtype: *dtype,
                width: *width,
                elements,
            })
        }
        _ => Err("a persistent id that does not name a tensor storage".into()),
    }
}
