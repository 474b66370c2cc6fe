//! What web servers speak to applications: FastCGI, uwsgi, SCGI, AJP.

use super::{begins, big16, byte, little16, made_of};

/// FCGI_BEGIN_REQUEST (FastCGI 1.0 section 5.1), or FCGI_GET_VALUES (section 4.1).
pub fn fastcgi(bytes: &[u8]) -> Option<bool> {
    const BEGIN_REQUEST: u8 = 1;
    const GET_VALUES: u8 = 9;
    if byte(bytes, 0)? != 1 {
        return Some(false);
    }
    let (kind, request, length) = (byte(bytes, 1)?, big16(bytes, 2)?, big16(bytes, 4)?);
    if kind == BEGIN_REQUEST {
        let (role, body) = (big16(bytes, 8)?, bytes.get(8..16)?);
        let keeps_role =
            length == 8 && request != 0 && byte(bytes, 7)? == 0 && (1..=3).contains(&role);
        // Flags, of which there is one, and what is reserved.
        return Some(keeps_role && body[2] <= 1 && body[3..].iter().all(|byte| *byte == 0));
    }
    if kind != GET_VALUES || request != 0 || !(4..=256).contains(&length) {
        return Some(false);
    }
    // A name with its length, and the length of a value that is empty.
    Some(byte(bytes, 7)? == 0 && byte(bytes, 9)? == 0 && begins(bytes.get(10..)?, b"FCGI_")?)
}

/// A packet of variables (uWSGI protocol): modifiers 0, then keys and values after their lengths.
pub fn uwsgi(bytes: &[u8]) -> Option<bool> {
    if byte(bytes, 0)? != 0 {
        return Some(false);
    }
    let size = little16(bytes, 1)?;
    let (modifier, key) = (byte(bytes, 3)?, little16(bytes, 4)?);
    if modifier != 0 || !(4..=64).contains(&key) || size < key + 4 {
        return Some(false);
    }
    let is_variable = |c: u8| c.is_ascii_uppercase() || c == b'_' || c.is_ascii_digit();
    if !made_of(bytes, 6, key.into(), is_variable)? {
        return Some(false);
    }
    Some(little16(bytes, 6 + usize::from(key))? <= size - key - 4)
}

/// A netstring of headers, the first of which is CONTENT_LENGTH (SCGI specification).
pub fn scgi(bytes: &[u8]) -> Option<bool> {
    let digits = bytes.iter().take(7).take_while(|c| c.is_ascii_digit()).count();
    if !(1..7).contains(&digits) && bytes.len() > digits {
        return Some(false);
    }
    begins(bytes.get(digits..)?, b":CONTENT_LENGTH\0")
}

/// A packet of the web server (AJP 1.3): its magic, and a request to forward or a ping.
pub fn ajp(bytes: &[u8]) -> Option<bool> {
    if !begins(bytes, &[0x12, 0x34])? {
        return Some(false);
    }
    let (length, code) = (big16(bytes, 2)?, byte(bytes, 4)?);
    match code {
        2 => Some(length <= 8192 && byte(bytes, 5)? <= 28 && big16(bytes, 6)? <= 64),
        10 => Some(length == 1),
        _ => Some(false),
    }
}
