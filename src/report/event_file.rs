//! Event files of TensorBoard: numbers with a tag and a step.
//!
//! A file is a sequence of TFRecords: the length of a record, a checksum of the length, the record,
//! and a checksum of it. A record is a message `Event` in the encoding of Protocol Buffers
//! (tensorflow/core/util/event.proto and tensorflow/core/framework/summary.proto).

use crate::clock::unix_seconds;

/// The name of an event file; TensorBoard reads files whose names contain `tfevents`.
pub const NAME: &str = "events.out.tfevents.0.ttsvar";

/// The record at the beginning of a file, which names the version of the format.
const VERSION: &str = "brain.Event:2";

/// A number at a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// The chart that shows it; parts before a `/` group charts.
    pub tag: String,
    /// Its place on the x axis.
    pub step: usize,
    /// The number.
    pub value: f64,
}

/// The first record of a file.
pub fn head() -> Vec<u8> {
    let mut event = vec![];
    put_double(&mut event, 1, unix_seconds());
    put_bytes(&mut event, 3, VERSION.as_bytes());
    record(&event)
}

/// The record of a number.
pub fn scalar(scalar: &Scalar) -> Vec<u8> {
    let mut value = vec![];
    put_bytes(&mut value, 1, scalar.tag.as_bytes());
    put_float(&mut value, 2, scalar.value as f32);
    let mut summary = vec![];
    put_bytes(&mut summary, 1, &value);
    let mut event = vec![];
    put_double(&mut event, 1, unix_seconds());
    put_key(&mut event, 2, 0);
    put_varint(&mut event, scalar.step as u64);
    put_bytes(&mut event, 5, &summary);
    record(&event)
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked(crc32c(&length)).to_le_bytes());
    record.extend(data);
    record.extend(masked(crc32c(data)).to_le_bytes());
    record
}

/// A checksum as TFRecords store it.
fn masked(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The cyclic redundancy check of Castagnoli.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78; // bits in reverse
    let step = |sum: u32, _| (sum >> 1) ^ (POLYNOMIAL * (sum & 1));
    !bytes
        .iter()
        .fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step))
}

/// The number of a field, and how its value is encoded.
fn put_key(message: &mut Vec<u8>, field: u64, encoding: u64) {
    put_varint(message, field << 3 | encoding);
}

fn put_varint(message: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

fn put_double(message: &mut Vec<u8>, field: u64, number: f64) {
    put_key(message, field, 1);
    message.extend(number.to_le_bytes());
}

fn put_float(message: &mut Vec<u8>, field: u64, number: f32) {
    put_key(message, field, 5);
    message.extend(number.to_le_bytes());
}

fn put_bytes(message: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_key(message, field, 2);
    put_varint(message, bytes.len() as u64);
    message.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        // RFC 3720, appendix B.4, and the check value of CRC-32C.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_record_has_its_length_and_two_checksums() {
        let bytes = scalar(&Scalar {
            tag: "overall".to_owned(),
            step: 300,
            value: 0.5,
        });
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(bytes.len(), 8 + 4 + length + 4);
        let event = &bytes[12..12 + length];
        assert_eq!(event[0], 0x09); // wall_time, a double
        assert_eq!(event[9..12], [0x10, 0xac, 0x02]); // step 300
        let summary = [
            &[0x2a, 16, 0x0a, 14, 0x0a, 7][..],
            b"overall",
            &[0x15, 0, 0, 0, 0x3f],
        ];
        assert_eq!(event[12..], summary.concat());
    }
}
