//! TensorBoard's event files, as far as scalars go.
//!
//! A file is a row of records in TensorFlow's framing (<https://www.tensorflow.org/tutorials/load_data/tfrecord>, "TFRecords
//! format details"): the length of the data as a `u64`, its masked CRC-32C, the data, and their masked CRC-32C, all
//! little-endian. The data are protocol buffers of type `Event`, whose fields are those of `tensorboard/compat/proto/`
//! (`event.proto`, `summary.proto`) in TensorBoard's repository; how fields are encoded:
//! <https://protobuf.dev/programming-guides/encoding/>.

/// The first record of a file: which format it has. `time` is in seconds since 1970, here and below.
pub fn version(time: f64) -> Vec<u8> {
    let mut event = event(time, 0);
    bytes(&mut event, 3, b"brain.Event:2");
    record(&event)
}

/// That a process begins with `step`: TensorBoard forgets what it has of this step and of later ones. It does not at the first
/// of these records, so every file has one.
pub fn start(time: f64, step: u64) -> Vec<u8> {
    const STATUS_START: u64 = 1;
    let mut event = event(time, step);
    let mut session = Vec::new();
    integer(&mut session, 1, STATUS_START);
    bytes(&mut event, 7, &session);
    record(&event)
}

/// Values by their tags at a step.
pub fn scalars(time: f64, step: u64, values: &[(String, f32)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in values {
        let mut of_tag = Vec::new();
        bytes(&mut of_tag, 1, tag.as_bytes());
        key(&mut of_tag, 2, Wire::Fixed32);
        of_tag.extend(value.to_le_bytes());
        bytes(&mut summary, 1, &of_tag);
    }
    let mut event = event(time, step);
    bytes(&mut event, 5, &summary);
    record(&event)
}

/// An event that says when and at which step, and nothing yet.
fn event(time: f64, step: u64) -> Vec<u8> {
    let mut event = Vec::new();
    key(&mut event, 1, Wire::Fixed64);
    event.extend(time.to_le_bytes());
    if step > 0 {
        integer(&mut event, 2, step); // 0 is what a field is that is left out
    }
    event
}

/// How the value of a field is encoded.
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Fixed32 = 5,
}

fn key(out: &mut Vec<u8>, field: u64, wire: Wire) {
    varint(out, field << 3 | wire as u64);
}

fn integer(out: &mut Vec<u8>, field: u64, value: u64) {
    key(out, field, Wire::Varint);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    key(out, field, Wire::Bytes);
    varint(out, value.len() as u64);
    out.extend(value);
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length).to_le_bytes(), data, &masked_crc(data).to_le_bytes()].concat()
}

/// TensorFlow's mask, without which the checksum of data that hold their own checksum would be a constant.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Castagnoli's polynomial, bits reversed: RFC 3720, section 12.1. That of zip files, which `crc32fast` has, is another.
fn crc32c(data: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    const TABLE: [u32; 256] = {
        let (mut table, mut byte) = ([0; 256], 0);
        while byte < 256 {
            let (mut crc, mut bit) = (byte as u32, 0);
            while bit < 8 {
                crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
        }
        table
    };
    !data.iter().fold(u32::MAX, |crc, byte| (crc >> 8) ^ TABLE[(crc as u8 ^ byte) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 3720, appendix B.4.
    #[test]
    fn checksums_are_castagnolis() {
        let up: Vec<u8> = (0..32).collect();
        let down: Vec<u8> = (0..32).rev().collect();
        for (data, crc) in [
            (&[0; 32][..], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&up, 0x46dd_794e),
            (&down, 0x113f_db5c),
            (b"", 0),
        ] {
            assert_eq!(crc32c(data), crc, "{data:?}");
        }
    }

    /// Against records that TensorBoard's own writer made.
    #[test]
    fn records_are_those_of_tensorboard() {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(version(1.5)), VERSION);
        assert_eq!(hex(start(1.5, 300)), START);
        assert_eq!(hex(scalars(1.5, 300, &[("a/b".into(), 0.1), ("c".into(), f32::NAN)])), SCALARS);
    }

    const VERSION: &str = "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c";
    const START: &str = "100000000000000095fbfe1809000000000000f83f10ac023a020801713b788a";
    const SCALARS: &str = "2400000000000000422b804d09000000000000f83f10ac022a160a0a0a03612f6215cdcccc3d0a080a0163150000c07fb5aa411a";
}
