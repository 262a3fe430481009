//! The hash by which texts, images and masks are named or divided. It does not depend on the version
//! of the program or of Rust, and keeps no secrets.

/// A hash by Fowler, Noll and Vo: FNV-1a with 64 bits.
pub fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_authors() {
        // From the tables of test vectors of FNV-1a, 64 bits, by Landon Curt Noll.
        for (text, hash) in [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            assert_eq!(fnv(text.bytes()), hash, "{text}");
        }
    }
}
