//! Names in certificates as text, whatever they are encoded in (RFC 4514, RFC 5280 section
//! 4.1.2.4).
//!
//! Nothing is left out and nothing can be taken for something else: what separates names is escaped
//! where it is part of one, and what cannot be decoded is replaced.

use std::fmt::Write as _;

use x509_parser::{
    asn1_rs::{Any, Tag, ToDer as _},
    objects::{oid_registry, oid2abbrev},
    x509::X509Name,
};

/// A distinguished name: its parts as they stand in the certificate, `, ` between them and ` + `
/// inside a part of several attributes.
#[must_use]
pub fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    for (index, part) in name.iter_rdn().enumerate() {
        for (attribute_index, attribute) in part.iter().enumerate() {
            text.push_str(match (index, attribute_index) {
                (0, 0) => "",
                (_, 0) => ", ",
                _ => " + ",
            });
            match oid2abbrev(attribute.attr_type(), oid_registry()) {
                Ok(word) => text.push_str(word),
                Err(_) => text.push_str(&attribute.attr_type().to_id_string()),
            }
            text.push('=');
            push_value(&mut text, attribute.attr_value());
        }
    }
    text
}

/// An attribute's value: a string escaped, anything else as `#` and its encoding in hex.
fn push_value(text: &mut String, value: &Any<'_>) {
    if let Some(string) = string(value.tag(), value.data) {
        return push_escaped(text, &string);
    }
    text.push('#');
    for byte in value.to_der_vec().unwrap_or_default() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
}

/// What a string of this type says; `None` for other types.
fn string(tag: Tag, bytes: &[u8]) -> Option<String> {
    Some(match tag {
        Tag::Utf8String => String::from_utf8_lossy(bytes).into_owned(),
        // Meant are subsets of ASCII, or with T.61 and the like a character set that nobody uses:
        // such fields hold UTF-8, or else Latin-1.
        Tag::NumericString
        | Tag::PrintableString
        | Tag::VisibleString
        | Tag::GeneralString
        | Tag::GraphicString
        | Tag::ObjectDescriptor
        | Tag::Ia5String
        | Tag::T61String
        | Tag::VideotexString => utf8_or_latin1(bytes),
        Tag::BmpString => {
            let (units, rest) = bytes.as_chunks::<2>();
            let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
            let mut string: String = char::decode_utf16(units)
                .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect();
            string.extend((!rest.is_empty()).then_some(char::REPLACEMENT_CHARACTER));
            string
        }
        Tag::UniversalString => {
            let (points, rest) = bytes.as_chunks::<4>();
            let points = points.iter().map(|point| char::from_u32(u32::from_be_bytes(*point)));
            let mut string: String =
                points.map(|point| point.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
            string.extend((!rest.is_empty()).then_some(char::REPLACEMENT_CHARACTER));
            string
        }
        _ => return None,
    })
}

/// Bytes as the UTF-8 that they are, else each as a character of Latin-1.
pub(super) fn utf8_or_latin1(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

/// Escapes what has a meaning between names (RFC 4514 section 2.4), and what does not show.
fn push_escaped(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => text.extend(['\\', character]),
            ' ' if index == 0 || index == last => text.push_str("\\ "),
            '#' if index == 0 => text.push_str("\\#"),
            character => push_visible(text, character),
        }
    }
}

/// Appends a character, or where it does not show the bytes of its UTF-8 as `\` and two digits.
pub(super) fn push_visible(text: &mut String, character: char) {
    if is_visible(character) {
        text.push(character);
        return;
    }
    for byte in character.encode_utf8(&mut [0; 4]).bytes() {
        // Writing to a String cannot fail.
        let _ = write!(text, "\\{byte:02X}");
    }
}

/// False for control characters, and for those that change how the text around them is shown: of no
/// width, line ends, direction of writing.
const fn is_visible(character: char) -> bool {
    !matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Text that was escaped nowhere: only what does not show is.
pub(super) fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    text.chars().for_each(|character| push_visible(&mut visible, character));
    visible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_every_type_are_shown() {
        for (tag, bytes, shown) in [
            (Tag::Utf8String, &b"plain"[..], "plain"),
            (Tag::Utf8String, "M\u{fc}ller".as_bytes(), "M\u{fc}ller"),
            (Tag::Utf8String, b"M\xfcller", "M\u{fffd}ller"),
            (Tag::T61String, b"M\xfcller", "M\u{fc}ller"),
            (Tag::T61String, "M\u{fc}ller".as_bytes(), "M\u{fc}ller"),
            (Tag::PrintableString, b"a*b_c@d", "a*b_c@d"),
            (Tag::Ia5String, b"\xe9t\xe9", "\u{e9}t\u{e9}"),
            (Tag::BmpString, b"\0M\0\xfc\x4e\x2d", "M\u{fc}\u{4e2d}"),
            (Tag::BmpString, b"\0M\0", "M\u{fffd}"),
            (Tag::BmpString, b"\xd8\0\0M", "\u{fffd}M"),
            (Tag::UniversalString, b"\0\x01\xf6\0\0\0\0M", "\u{1f600}M"),
            (Tag::UniversalString, b"\0\x11\0\0\0\0\0M\0", "\u{fffd}M\u{fffd}"),
        ] {
            assert_eq!(string(tag, bytes).as_deref(), Some(shown), "{tag} {bytes:?}");
        }
        assert_eq!(string(Tag::Integer, b"\x01"), None);
    }

    #[test]
    fn what_separates_names_is_escaped_inside_of_one() {
        for (value, escaped) in [
            ("edge", "edge"),
            ("edge, O=Other", "edge\\, O\\=Other"),
            ("a+b\"c\\d<e>f;g", "a\\+b\\\"c\\\\d\\<e\\>f\\;g"),
            (" #x ", "\\ #x\\ "),
            ("#x", "\\#x"),
            (" ", "\\ "),
            ("", ""),
            ("two  words", "two  words"),
            ("a\0b\nc", "a\\00b\\0Ac"),
            ("\u{1b}[31m", "\\1B[31m"),
            ("\u{202e}txt.exe", "\\E2\\80\\AEtxt.exe"),
        ] {
            let mut text = String::new();
            push_escaped(&mut text, value);
            assert_eq!(text, escaped, "{value:?}");
        }
    }
}
