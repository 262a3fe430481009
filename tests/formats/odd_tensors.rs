//! Tensors of types that no network reads never make a file unreadable; only a network that asks
//! for one is told. Numbers that are not finite are refused with the name of their tensor.

use std::sync::Arc;

use candle_core::Device;
use ttsvar::{
    hub,
    nn::{Dtype, TensorSource, Weights},
};

use crate::support::{
    torch::{PLAIN, Pickle, Tensor, archive, memory, six},
    values,
};

/// A file with the readable tensor `layer.weight`, and `odd` as this part of a pickle.
fn beside(odd: Pickle) -> Vec<u8> {
    let pickle = Pickle::new().raw(b"}(").text("odd").raw(&odd.0);
    let pickle = pickle.text("layer.weight").tensor(&PLAIN).raw(b"u").end();
    archive(&pickle, &[("0", &six())])
}

fn open(file: Vec<u8>) -> Arc<dyn TensorSource> {
    hub::open(memory(file), &[]).unwrap_or_else(|error| panic!("{error}"))
}

/// The error of a network that asks for `odd`.
fn asked_for(source: Arc<dyn TensorSource>) -> String {
    let weights = Weights::new(source, Dtype::F32, &Device::Cpu);
    let error = weights.get(1, "odd").unwrap_err();
    error.to_string()
}

fn part() -> Pickle {
    Pickle(Vec::new())
}

#[test]
fn every_kind_of_tensor_may_lie_beside_the_others() {
    let stored = |storage| part().tensor(&Tensor { storage, ..PLAIN });
    let typed = |dtype: &str| {
        let begun = part()
            .global("torch._utils", "_rebuild_tensor_v3")
            .raw(b"((");
        let begun = begun
            .text("storage")
            .global("torch.storage", "UntypedStorage");
        let begun = begun.text("0").text("cpu").int(24).raw(b"tQ");
        let begun = begun.int(0).ints(&[6]).ints(&[1]).raw(b"\x89");
        let begun = begun.global("collections", "OrderedDict").raw(b")R");
        begun.global("torch", dtype).raw(b"tR")
    };
    let sparse = part()
        .global("torch._utils", "_rebuild_sparse_tensor")
        .raw(b"(")
        .global("torch.serialization", "_get_layout")
        .raw(b"(")
        .text("torch.sparse_coo")
        .raw(b"tR(")
        .tensor(&PLAIN)
        .tensor(&PLAIN)
        .ints(&[2, 3])
        .raw(b"ttR");
    let meta = part()
        .global("torch._utils", "_rebuild_meta_tensor_no_storage")
        .raw(b"(")
        .global("torch", "float32")
        .ints(&[2, 3])
        .ints(&[3, 1])
        .raw(b"\x89tR");
    let quantized = part()
        .global("torch._utils", "_rebuild_qtensor")
        .raw(b"(")
        .global("torch", "per_tensor_affine")
        .raw(b"tR");
    let cases = [
        (stored("CharStorage"), "int8"),
        (stored("ComplexFloatStorage"), "complex64"),
        (stored("QInt8Storage"), "qint8"),
        (typed("float8_e4m3fn"), "float8_e4m3fn"),
        (typed("float8_e5m2"), "float8_e5m2"),
        (typed("uint16"), "uint16"),
        (typed("uint64"), "uint64"),
        (sparse, "a sparse tensor"),
        (meta, "meta device"),
        (quantized, "a quantized tensor"),
    ];
    for (odd, kind) in cases {
        let source = open(beside(odd));
        assert_eq!(source.names(), ["odd", "layer.weight"], "{kind}");
        assert_eq!(values(&source.load("layer.weight").unwrap()).len(), 6);
        let message = asked_for(source);
        assert!(
            message.contains("tensor `odd`") && message.contains(kind),
            "{message}"
        );
    }
}

/// What a tensor of a subclass or with attributes, and one of another device, are made from.
#[test]
fn tensors_with_attributes_are_read() {
    let tensor = Pickle(Vec::new()).tensor(&PLAIN).0;
    let arguments = tensor
        .strip_prefix(b"ctorch._utils\n_rebuild_tensor_v2\n")
        .and_then(|rest| rest.strip_suffix(b"R"))
        .unwrap();
    let odd = part()
        .global("torch._tensor", "_rebuild_from_type_v2")
        .raw(b"(")
        .global("torch._utils", "_rebuild_tensor_v2")
        .global("torch.nn.parameter", "Parameter")
        .raw(arguments)
        .raw(b"}tR");
    let source = open(beside(odd));
    assert_eq!(values(&source.load("odd").unwrap()).len(), 6);
}

/// A tensor whose numbers are not in the file harms only those who ask for it.
#[test]
fn a_tensor_without_its_numbers_is_reported_when_it_is_read() {
    let odd = part().tensor(&Tensor { key: "7", ..PLAIN });
    let source = open(beside(odd));
    assert_eq!(values(&source.load("layer.weight").unwrap()).len(), 6);
    let message = source.load("odd").unwrap_err().to_string();
    assert!(
        message.contains("tensor `odd`") && message.contains("data/7"),
        "{message}"
    );
}

#[test]
fn safetensors_may_hold_types_that_no_network_reads() {
    for dtype in ["I8", "U16", "U64", "F8_E4M3", "F8_E5M2", "F4", "C64"] {
        let header = format!(
            r#"{{"layer.weight":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}},
                "odd":{{"dtype":"{dtype}","shape":[1],"data_offsets":[4,12]}}}}"#
        );
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&[0; 12]);
        let source = open(bytes);
        assert_eq!(values(&source.load("layer.weight").unwrap()), [0.0]);
        let message = asked_for(source);
        assert!(
            message.contains("tensor `odd`") && message.contains(dtype),
            "{message}"
        );
    }
}

#[test]
fn numbers_that_are_not_finite_are_refused_with_their_tensor() {
    for (number, shown) in [
        (f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        (f32::NEG_INFINITY, "-inf"),
    ] {
        let mut numbers = six();
        numbers[16..20].copy_from_slice(&number.to_le_bytes());
        let pickle = Pickle::new().raw(b"}(").text("layer.weight").tensor(&PLAIN);
        let file = archive(&pickle.raw(b"u").end(), &[("0", &numbers)]);
        let weights = Weights::new(open(file), Dtype::F32, &Device::Cpu);
        let message = weights.get((2, 3), "layer.weight").unwrap_err().to_string();
        let end = format!("expected finite numbers, found {shown} at element 4");
        assert!(
            message.contains("tensor `layer.weight`") && message.ends_with(&end),
            "{message}"
        );
    }
    // A double that no f32 can hold
    let big: Vec<u8> = (0..6).flat_map(|_| 1e300f64.to_le_bytes()).collect();
    let double = Tensor {
        storage: "DoubleStorage",
        ..PLAIN
    };
    let pickle = Pickle::new()
        .raw(b"}(")
        .text("layer.weight")
        .tensor(&double);
    let file = archive(&pickle.raw(b"u").end(), &[("0", &big)]);
    let weights = Weights::new(open(file), Dtype::F32, &Device::Cpu);
    assert!(weights.get((2, 3), "layer.weight").is_err());
}

#[test]
fn whole_numbers_are_no_weights() {
    let whole = Tensor {
        storage: "IntStorage",
        ..PLAIN
    };
    let pickle = Pickle::new().raw(b"}(").text("layer.weight").tensor(&whole);
    let file = archive(&pickle.raw(b"u").end(), &[("0", &six())]);
    let weights = Weights::new(open(file), Dtype::F32, &Device::Cpu);
    let message = weights.get((2, 3), "layer.weight").unwrap_err().to_string();
    assert!(
        message.ends_with("expected floating-point numbers, found i32"),
        "{message}"
    );
}
