//! Whether text says something, or is an encoding of encrypted bytes (base64, base32, base85, hex,
//! an OpenPGP armour): printable is not clear.
//!
//! An encoding draws every letter from its alphabet with the same chance. Words do not: three of
//! four letters are among the six that follow the one before most often. The evidence is a
//! likelihood ratio, so that an alphabet of 21 letters or more (that of every encoding but
//! hexadecimal, which is left out) exceeds a ratio of 2^n at most once in 2^n texts.

/// For each letter, the six that follow it most often in words: counted over 10 MB of licences,
/// documentation, C headers and Python sources.
const FOLLOWERS: [&[u8; 6]; 26] = [
    b"trlnms", b"leuaio", b"oteahl", b"eioasu", b"rnsdxt", b"iorufe", b"enlris", b"eaiotr",
    b"ntsocf", b"eopuas", b"esitna", b"eiaolu", b"epaoib", b"tsdega", b"nrupmf", b"earlot",
    b"ulsrmd", b"eaiosn", b"teispo", b"ehiory", b"rntsel", b"eaoitx", b"iaoher", b"tpxeci",
    b"pogswt", b"easiod",
];
/// Tenths of a bit for a letter that is one of them: 75 percent of those in words, at most 6 of 21.
const COMMON: i32 = 13;
/// And for one that is not.
const RARE: i32 = -14;
/// A letter beyond ASCII, of which no encoding has any.
const FOREIGN: i32 = 40;

/// Evidence for words, in tenths of a bit: the letters in ASCII, whatever is between them.
pub fn words(bytes: &[u8]) -> i32 {
    without_armour_header(bytes)
        .split(|byte| !byte.is_ascii_alphanumeric())
        .map(|token| token.strip_prefix(b"0x").unwrap_or(token))
        .filter(|token| !token.iter().all(u8::is_ascii_hexdigit))
        .flat_map(|token| token.windows(2))
        .map(|pair| follows(pair[0], pair[1]))
        .sum()
}

/// Evidence that UTF-8 text is no encoding, in tenths of a bit.
pub fn text_words(text: &[u8]) -> i32 {
    let foreign = text.iter().filter(|byte| **byte >= 0xc0).count();
    words(text) + i32::try_from(foreign).unwrap_or(0) * FOREIGN
}

fn follows(first: u8, second: u8) -> i32 {
    let begins_a_word = first.is_ascii_lowercase() && second.is_ascii_uppercase();
    if !first.is_ascii_alphabetic() || !second.is_ascii_alphabetic() || begins_a_word {
        return 0;
    }
    let followers = FOLLOWERS[usize::from(first.to_ascii_lowercase() - b'a')];
    if followers.contains(&second.to_ascii_lowercase()) { COMMON } else { RARE }
}

/// Whether text has the form of a document: XML by its declaration, JSON by an object's first
/// member, of which no encoding has all the characters.
pub fn is_document(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    text.starts_with(b"<?xml ")
        || text.starts_with(b"<!DOCTYPE ")
        || (0..text.len()).any(|at| begins_object(&text[at..]))
}

fn begins_object(text: &[u8]) -> bool {
    let Some(member) = text.strip_prefix(b"{") else { return false };
    let Some(name) = member.trim_ascii_start().strip_prefix(b"\"") else { return false };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.$@:/".contains(byte);
    let length = name.iter().take_while(|byte| is_name(byte)).count();
    let Some(after) = name[length..].strip_prefix(b"\"") else { return false };
    length > 0 && after.trim_ascii_start().starts_with(b":")
}

/// What is left without the words of an armour: its first line and the headers up to an empty line
/// (RFC 9580 section 6.2, RFC 7468).
fn without_armour_header(text: &[u8]) -> &[u8] {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let trimmed = text.trim_ascii_start();
    if !trimmed.starts_with(BEGIN) {
        return text;
    }
    let mut rest = trimmed;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        let is_header = line.starts_with(BEGIN) || line.windows(2).any(|part| part == b": ");
        if !is_header {
            return rest;
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_are_those_of_a_likelihood_ratio() {
        // Of any letters of an alphabet of 21 or more, six at most are common.
        let ratio = |weight: i32| 2_f64.powf(f64::from(weight) / 10.0);
        for letters in 21..=26 {
            let letters = f64::from(letters);
            let sum = (6.0 * ratio(COMMON) + (letters - 6.0) * ratio(RARE)) / letters;
            assert!(sum <= 1.0, "{letters}: {sum}");
        }
    }

    #[test]
    fn what_words_are() {
        let cases: [(&str, &str, i32); 10] = [
            ("nothing", "", 0),
            ("two letters", "in", COMMON),
            ("two that hardly follow each other", "xq", RARE),
            ("the case does not count", "IN In", 2 * COMMON),
            ("a new word", "inIn", 2 * COMMON),
            ("digits divide", "i1n", 0),
            ("hexadecimal", "deadbeef 0xfeed CAFE", 0),
            ("hexadecimal and more", "0xinin", 2 * COMMON + RARE),
            ("an armour", "-----BEGIN PGP MESSAGE-----\nVersion: in\n\n", 0),
            ("what is in it", "-----BEGIN PGP MESSAGE-----\n\nin", COMMON),
        ];
        for (what, text, expected) in cases {
            assert_eq!(words(text.as_bytes()), expected, "{what}");
        }
        assert_eq!(text_words("\u{442}\u{435}".as_bytes()), 2 * FOREIGN);
    }

    #[test]
    fn what_documents_are() {
        let cases = [
            ("", false),
            ("{", false),
            ("{\"a\":1}", true),
            (" {\n  \"a_b\" : {", true),
            ("[{\"a\":1}]", true),
            ("Content-Length: 12\r\n\r\n{\"a\":", true),
            ("{\"a\"}", false),
            ("{\"\":1}", false),
            ("<?xml version=\"1.0\"?>", true),
            ("<a>", false),
        ];
        for (text, expected) in cases {
            assert_eq!(is_document(text.as_bytes()), expected, "{text}");
        }
    }
}
