//! What machines are controlled with: Modbus, EtherNet/IP.

use super::{big16, byte, little16, little32};

/// Bytes before the function: transaction, protocol 0, length and unit.
const HEAD: usize = 7;

/// A request (Modbus Messaging on TCP/IP section 3.1.3, application protocol V1.1b3 section 6):
/// protocol 0, and a function with the very length that its arguments give it.
///
/// A short request has no room for encryption and its tag, so that its length is evidence too.
/// Function 6, whose arguments are any two numbers, is not told by itself.
pub fn modbus(bytes: &[u8]) -> Option<bool> {
    let (protocol, length) = (big16(bytes, 2)?, big16(bytes, 4)?);
    if protocol != 0 || !(2..=254).contains(&length) {
        return Some(false);
    }
    let number = |at: usize| big16(bytes, HEAD + at);
    let counted = |at: usize| byte(bytes, HEAD + at).map(u16::from);
    // Arguments of the request, without unit and function.
    let arguments = length - 2;
    Some(match (byte(bytes, HEAD)?, arguments) {
        // Read bits, read registers: how many.
        (1 | 2, 4) => (1..=2000).contains(&number(3)?),
        (3 | 4, 4) => (1..=125).contains(&number(3)?),
        // Write one bit: on or off.
        (5, 4) => matches!(number(3)?, 0 | 0xff00),
        // Ask for status, counters, the log, the server's name.
        (7 | 11 | 12 | 17, 0) => true,
        // Diagnose: what.
        (8, 4) => number(1)? <= 20,
        // Write bits, write registers: how many, and in how many bytes.
        (15, 6..) => {
            let (bits, size) = (number(3)?, counted(5)?);
            bits.div_ceil(8) == size && size > 0 && arguments == 5 + size
        }
        (16, 6..) => {
            let (registers, size) = (number(3)?, counted(5)?);
            registers.checked_mul(2) == Some(size) && size > 0 && arguments == 5 + size
        }
        // Read and write records of files: references of type 6.
        (20 | 21, 8..) => counted(1)? == arguments - 1 && counted(2)? == 6,
        // Read and write registers in one.
        (23, 11..) => {
            let (written, size) = (number(7)?, counted(9)?);
            let fits = written.checked_mul(2) == Some(size) && arguments == 9 + size;
            fits && (1..=125).contains(&number(3)?)
        }
        // Identify yourself: type 14, which category, which object.
        (43, 3) => counted(1)? == 14 && (1..=4).contains(&counted(2)?),
        _ => false,
    })
}

/// The first command of EtherNet/IP (ODVA, CIP volume 2 section 2-3), perhaps after an empty one: ask
/// who is there, or register, without a session, a status or options.
pub fn enip(bytes: &[u8]) -> Option<bool> {
    const HEADER: usize = 24;
    let command = bytes.strip_prefix(&[0; HEADER]).unwrap_or(bytes);
    let fits = matches!(
        (little16(command, 0)?, little16(command, 2)?),
        (0x04 | 0x63 | 0x64, 0) | (0x65, 4)
    );
    let is_nothing = bytes.len() < HEADER && bytes.iter().all(|byte| *byte == 0);
    if is_nothing {
        return None;
    }
    if !fits {
        return Some(false);
    }
    // A context of the sender's is between status and options.
    Some(little32(command, 4)? == 0 && little32(command, 8)? == 0 && little32(command, 20)? == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_length_of_their_arguments() {
        let frame = |length: u8, pdu: &[u8]| [&[7, 9, 0, 0, 0, length, 1], pdu].concat();
        let cases: [(&str, u8, &[u8], bool); 22] = [
            ("read coils", 6, &[1, 0, 0, 0x07, 0xd0], true),
            ("too many coils", 6, &[1, 0, 0, 0x07, 0xd1], false),
            ("read registers", 6, &[3, 0, 0, 0, 10], true),
            ("no register", 6, &[3, 0, 0, 0, 0], false),
            ("too many registers", 6, &[4, 0, 0, 0, 126], false),
            ("a longer frame", 80, &[3, 0, 0, 0, 10], false),
            ("write a coil", 6, &[5, 0, 1, 0xff, 0], true),
            ("half on", 6, &[5, 0, 1, 0x7f, 0], false),
            ("write a register", 6, &[6, 0, 1, 0, 3], false),
            ("ask for status", 2, &[7], true),
            ("diagnose", 6, &[8, 0, 4, 0, 0], true),
            ("write coils", 8, &[15, 0, 0, 0, 7, 1, 0x55], true),
            ("in too many bytes", 9, &[15, 0, 0, 0, 7, 2, 0x55], false),
            ("write registers", 11, &[16, 0, 0, 0, 2, 4, 0, 1], true),
            ("of which there are fewer", 11, &[16, 0, 0, 0, 3, 4, 0, 1], false),
            ("in another length", 12, &[16, 0, 0, 0, 2, 4, 0, 1], false),
            ("read records", 10, &[20, 7, 6, 0, 4, 0, 1], true),
            ("of another type", 10, &[20, 7, 5, 0, 4, 0, 1], false),
            ("read and write", 13, &[23, 0, 0, 0, 1, 0, 0, 0, 1, 2], true),
            ("identify", 5, &[43, 14, 1, 0], true),
            ("an answer that refuses", 3, &[0x83, 2], false),
            ("a function that is none", 6, &[99, 0, 0, 0, 1], false),
        ];
        for (what, length, pdu, expected) in cases {
            assert_eq!(modbus(&frame(length, pdu)), Some(expected), "{what}");
        }
    }
}
