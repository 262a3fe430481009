//! The closed list of names that a pickle may ask for, and what calling one of them gives.

use std::sync::Arc;

use super::{ElementType, Global, Node, Storage, Value, View, element, machine::Machine};

/// The meaning of `module.name`, or `None` for every name that is not on the list.
pub(super) fn find(module: &str, name: &str) -> Option<Global> {
    Some(match (module, name) {
        ("collections", "OrderedDict" | "defaultdict" | "Counter")
        | ("builtins" | "__builtin__", "dict") => Global::Dict,
        ("torch._utils", _) => rebuild(name)?,
        ("torch._tensor", "_rebuild_from_type_v2") => Global::RebuildFromType,
        ("torch", "Size") => Global::Size,
        ("torch" | "torch.storage", _) if name.ends_with("Storage") => {
            Global::Storage(element::of_storage(name)?)
        }
        ("torch", "device") => Global::Skipped("device"),
        ("torch", "Tensor") | ("torch.nn.parameter", "Parameter" | "Buffer") => {
            Global::Skipped("class")
        }
        ("torch.serialization", "_get_layout") => Global::Skipped("layout"),
        (
            "torch",
            "strided" | "contiguous_format" | "channels_last" | "preserve_format" | "sparse_coo"
            | "per_tensor_affine" | "per_channel_affine",
        ) => Global::Skipped("layout"),
        ("torch", _) => Global::Type(element::by_name(name)?),
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

/// The functions of `torch._utils` that make tensors.
fn rebuild(name: &str) -> Option<Global> {
    Some(match name {
        "_rebuild_tensor" | "_rebuild_tensor_v2" => Global::RebuildTensor,
        "_rebuild_tensor_v3" => Global::RebuildTypedTensor,
        "_rebuild_parameter"
        | "_rebuild_parameter_with_state"
        | "_rebuild_device_tensor_from_cpu_tensor" => Global::RebuildParameter,
        "_rebuild_sparse_tensor" => Global::Unreadable("a sparse tensor"),
        "_rebuild_sparse_csr_tensor" => Global::Unreadable("a sparse tensor"),
        "_rebuild_nested_tensor" => Global::Unreadable("a nested tensor"),
        "_rebuild_qtensor" => Global::Unreadable("a quantized tensor"),
        "_rebuild_meta_tensor_no_storage" => {
            Global::Unreadable("a tensor on the meta device, without numbers")
        }
        "_rebuild_wrapper_subclass" | "_rebuild_device_tensor_from_numpy" => {
            Global::Unreadable("a tensor of another library")
        }
        _ => return None,
    })
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
            Ok(Value::Tensor(
                machine.add_tensor(Node::Tensor(Arc::new(view)))?,
            ))
        }
        Global::RebuildTypedTensor => {
            let view = typed_view(machine, arguments)?;
            Ok(Value::Tensor(
                machine.add_tensor(Node::Tensor(Arc::new(view)))?,
            ))
        }
        Global::RebuildFromType => from_type(machine, arguments),
        Global::Unreadable(kind) => Ok(Value::Tensor(machine.add_tensor(Node::Unreadable(kind))?)),
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
        Global::Type(_) => Err("a type of numbers that is called".into()),
        Global::Skipped(kind) => Ok(Value::Opaque(kind)),
    }
}

/// `_rebuild_from_type_v2(function, type, arguments, state)`: a tensor with attributes, or of a
/// subclass.
fn from_type(machine: &mut Machine<'_>, arguments: &[Value]) -> Result<Value, String> {
    let [Value::Global(function), _, Value::Tuple(index), ..] = arguments else {
        return Err("a tensor of a type without a function that makes it".into());
    };
    // A function that makes another type would let a file nest calls.
    if *function == Global::RebuildFromType {
        return Err("a tensor of a type inside another one".into());
    }
    match machine.node(*index) {
        Some(Node::Sequence(items)) if items.len() <= 16 => {
            let items = items.clone();
            call(machine, *function, &items)
        }
        _ => Err("a tensor with too many parts".into()),
    }
}

/// `_rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype)`: a view of
/// untyped bytes.
fn typed_view(machine: &Machine<'_>, arguments: &[Value]) -> Result<View, String> {
    let mut view = view(machine, arguments)?;
    let Some(Value::Global(Global::Type(element))) = arguments.get(6) else {
        return Err("a tensor without a type".into());
    };
    let bytes = view
        .storage
        .elements
        .checked_mul(view.storage.element.width);
    let Some(bytes) = bytes else {
        return Err(format!("a storage of {} elements", view.storage.elements));
    };
    view.storage.elements = bytes / element.width;
    view.storage.element = *element;
    Ok(view)
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
        storage: (**storage).clone(),
        offset: size(offset, "storage offset")?,
        shape,
        stride,
    })
}

fn sizes(machine: &Machine<'_>, value: &Value, what: &str) -> Result<Vec<usize>, String> {
    const MOST_AXES: usize = 8; // the layers of this crate have at most 5
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
            Value::Global(Global::Storage(element)),
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
            Ok(storage(key.clone(), *element, elements))
        }
        _ => Err("a persistent id that does not name a tensor storage".into()),
    }
}

/// The same in protocol 0, which has only the text of that tuple:
/// `('storage', <class 'torch.FloatStorage'>, '94', 'cpu', 6, None)`.
pub(super) fn persistent_text(text: &str) -> Result<Storage, String> {
    let parts = || {
        let rest = text.strip_prefix("('storage', <class 'torch.")?;
        let (class, rest) = rest.split_once("'>, '")?;
        let (key, rest) = rest.split_once("', '")?;
        let (_location, rest) = rest.split_once("', ")?;
        let elements = rest.split([',', ')']).next()?.parse().ok()?;
        let class = class.strip_prefix("storage.").unwrap_or(class);
        Some(storage(key.into(), element::of_storage(class)?, elements))
    };
    parts().ok_or_else(|| "a persistent id that does not name a tensor storage".into())
}

fn storage(key: Arc<str>, element: ElementType, elements: usize) -> Storage {
    Storage {
        key,
        element,
        elements,
    }
}
