//! PyTorch files of the time before version 1.6, right and wrong ones.

use proptest::prelude::*;

use crate::support::{
    torch::{PLAIN, Pickle, Tensor, old_file, read, refused, six},
    values,
};

/// Names and tensors as they were saved; each storage has `None` as its sixth part.
fn saved(tensors: &[(&str, Tensor)]) -> Vec<u8> {
    let start = Pickle::new().raw(b"}(");
    tensors
        .iter()
        .fold(start, |pickle, (name, tensor)| {
            pickle.text(name).old_tensor(tensor, b"N")
        })
        .raw(b"u")
        .end()
}

#[test]
fn files_of_the_old_kind_load() {
    let (plain, transposed) = (
        PLAIN,
        Tensor {
            shape: &[3, 2],
            stride: &[1, 3],
            ..PLAIN
        },
    );
    let long = Tensor {
        storage: "LongStorage",
        key: "94",
        elements: 2,
        offset: 1,
        shape: &[1],
        stride: &[1],
    };
    let empty = Tensor {
        key: "95",
        elements: 0,
        shape: &[0, 3],
        stride: &[3, 1],
        ..PLAIN
    };
    let pickle = saved(&[
        ("plain", plain),
        ("transposed", transposed),
        ("long", long),
        ("empty", empty),
    ]);
    let numbers: Vec<u8> = [7i64, -9]
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    let source = read(
        old_file(
            &pickle,
            &[("94", 2, &numbers), ("0", 6, &six()), ("95", 0, &[])],
        ),
        &[],
    )
    .unwrap();
    assert_eq!(source.names(), ["plain", "transposed", "long", "empty"]);
    let loaded = |name: &str| values(&source.load(name).unwrap());
    assert_eq!(loaded("plain"), [0., 1., 2., 3., 4., 5.]);
    assert_eq!(loaded("transposed"), [0., 3., 1., 4., 2., 5.]);
    assert_eq!(loaded("long"), [-9.]);
    assert_eq!(source.info("empty").unwrap().shape, [0, 3]);
}

#[test]
fn tensors_lie_under_the_keys_that_checkpoints_have() {
    let inner = Pickle::new()
        .raw(b"}(")
        .text("meta")
        .raw(b"}")
        .text("state_dict")
        .raw(b"}(");
    let pickle = inner
        .text("layer.weight")
        .old_tensor(&PLAIN, b"N")
        .raw(b"uu")
        .end();
    let source = read(old_file(&pickle, &[("0", 6, &six())]), &["state_dict"]).unwrap();
    assert_eq!(source.names(), ["layer.weight"]);
}

#[test]
fn damaged_and_hostile_files_are_refused() {
    let pickle = saved(&[("layer.weight", PLAIN)]);
    let good = old_file(&pickle, &[("0", 6, &six())]);
    for length in [
        20,
        40,
        100,
        good.len() - 60,
        good.len() - 25,
        good.len() - 1,
    ] {
        refused(good[..length].to_vec(), &[]);
    }
    let with = |pickle: &[u8], storages: &[(&str, i64, &[u8])], parts: &[&str]| {
        refused(old_file(pickle, storages), parts);
    };
    with(
        &pickle,
        &[("0", 7, &six())],
        &["storage `0` has 7 elements, expected 6"],
    );
    with(
        &pickle,
        &[("0", -1, &six())],
        &["storage `0` has -1 elements"],
    );
    with(
        &pickle,
        &[("1", 6, &six())],
        &["storage `1` belongs to no tensor"],
    );
    with(&pickle, &[], &["expected a list of storages"]);
    let huge = Tensor {
        elements: 1 << 60,
        shape: &[1 << 60],
        stride: &[1],
        ..PLAIN
    };
    with(
        &saved(&[("a", huge)]),
        &[("0", 1 << 60, &six())],
        &["storage `0` extends past the end"],
    );
    let far = Tensor { offset: 1, ..PLAIN };
    with(
        &saved(&[("a", far)]),
        &[("0", 6, &six())],
        &["tensor `a`", "offset 1"],
    );
    let elsewhere = Tensor { key: "8", ..PLAIN };
    with(
        &saved(&[("a", PLAIN), ("b", elsewhere)]),
        &[("0", 6, &six())],
        &["tensor `b`", "no such storage"],
    );
    let other = Tensor {
        storage: "HalfStorage",
        ..PLAIN
    };
    with(
        &saved(&[("a", PLAIN), ("b", other)]),
        &[("0", 6, &six())],
        &["storage `0` is declared with two different types or sizes"],
    );
    let inside = Pickle::new()
        .raw(b"}(")
        .text("a")
        .old_tensor(&PLAIN, b"(X\x01\0\0\0vK\0K\x06t")
        .raw(b"u")
        .end();
    with(
        &inside,
        &[("0", 6, &six())],
        &["a storage inside another one"],
    );
    let call = Pickle::new()
        .global("os", "system")
        .raw(b"(")
        .text("touch owned")
        .raw(b"tR")
        .end();
    with(
        &call,
        &[("0", 6, &six())],
        &["the pickle asks for `os.system`"],
    );
    let version = |version: i64| Pickle::new().int(version).end();
    let at = good
        .windows(version(1001).len())
        .position(|window| window == version(1001))
        .unwrap();
    let mut other = good.clone();
    other.splice(at..at + version(1001).len(), version(1002));
    refused(other, &["expected version 1001", "Int(1002)"]);
    let at = good
        .windows(15)
        .position(|window| window == b"little_endian\x88u")
        .unwrap();
    let mut big = good;
    big[at + 13] = 0x89;
    refused(big, &["big-endian"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done to the bytes of a file, reading it ends, with tensors or an error.
    #[test]
    fn mutated_files_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = old_file(&saved(&[("a", PLAIN), ("b", PLAIN)]), &[("0", 6, &six())]);
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = read(bytes, &[]);
    }
}
