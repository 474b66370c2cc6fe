use super::*;

/// DER of this tag; contents of up to 64 KiB.
fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(contents.len()).unwrap().to_be_bytes();
    let length = match contents.len() {
        ..128 => vec![low],
        128..256 => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag][..], &length, contents].concat()
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    der(0x30, &parts.concat())
}

/// An object identifier of arcs that take at most two bytes each.
fn oid(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u32> = dotted.split('.').map(|arc| arc.parse().unwrap()).collect();
    let mut bytes = Vec::new();
    for arc in std::iter::once(arcs[0] * 40 + arcs[1]).chain(arcs[2..].iter().copied()) {
        let groups: Vec<u8> = (0..5).map(|n| (arc >> (7 * n)).to_le_bytes()[0] & 0x7f).collect();
        let last = groups.iter().rposition(|group| *group != 0).unwrap_or(0);
        bytes.extend((0..=last).rev().map(|n| groups[n] | if n == 0 { 0 } else { 0x80 }));
    }
    der(6, &bytes)
}

/// A name of one attribute, a common name of this string type.
fn name(tag: u8, value: &[u8]) -> Vec<u8> {
    sequence(&[der(0x31, &sequence(&[oid("2.5.4.3"), der(tag, value)]))])
}

/// A public key of this algorithm.
fn key(algorithm: &str, parameters: &[u8], key: &[u8]) -> Vec<u8> {
    let algorithm = sequence(&[oid(algorithm), parameters.to_vec()]);
    sequence(&[algorithm, der(3, &[&[0], key].concat())])
}

/// A certificate with these parts; its signature is none.
fn certificate(subject: &[u8], key: &[u8], sans: &[u8]) -> Vec<u8> {
    signed_with(&sequence(&[oid("1.2.840.10045.4.3.2")]), subject, key, sans)
}

/// One that says that it is signed with this.
fn signed_with(signature: &[u8], subject: &[u8], key: &[u8], sans: &[u8]) -> Vec<u8> {
    let signature = signature.to_vec();
    let validity = sequence(&[der(0x17, b"260101000000Z"), der(0x17, b"270101000000Z")]);
    let alternative = sequence(&[sequence(&[oid("2.5.29.17"), der(4, &der(0x30, sans))])]);
    let body = sequence(&[
        der(0xa0, &der(2, &[2])),
        der(2, &[7]),
        signature.clone(),
        name(0x0c, b"Root"),
        validity,
        subject.to_vec(),
        key.to_vec(),
        der(0xa3, &alternative),
    ]);
    sequence(&[body, signature, der(3, &[0, 1])])
}

fn facts_of(der: Vec<u8>) -> Result<CertificateFacts, Malformed> {
    facts(&Chain { end_entity: der.into(), length: 1, ..Chain::default() })
}

fn p256() -> Vec<u8> {
    key("1.2.840.10045.2.1", &oid("1.2.840.10045.3.1.7"), &[4; 65])
}

#[test]
fn names_of_every_encoding_are_shown() {
    for (tag, value, shown) in [
        (0x0c, &b"edge"[..], "CN=edge"),
        (0x0c, b"edge\xff", "CN=edge\u{fffd}"),
        (0x13, b"edge*_", "CN=edge*_"),
        (0x14, b"M\xfcller", "CN=M\u{fc}ller"),
        (0x16, b"\xe9", "CN=\u{e9}"),
        (0x1e, b"\0M\0\xfc", "CN=M\u{fc}"),
        (0x1c, b"\0\0\0M", "CN=M"),
        (0x0c, b"edge, O=Example", "CN=edge\\, O\\=Example"),
        (0x0c, b"", "CN="),
        (0x04, b"\x01\x02", "CN=#04020102"),
    ] {
        let facts = facts_of(certificate(&name(tag, value), &p256(), b"")).unwrap();
        assert_eq!(facts.subject, shown, "{tag:#x} {value:?}");
        assert_eq!(facts.issuer, "CN=Root");
    }
}

#[test]
fn parts_of_a_name_keep_their_order_and_unknown_ones_their_identifier() {
    let attribute = |kind: &str, value: &[u8]| sequence(&[oid(kind), der(0x0c, value)]);
    let pair = [attribute("2.5.4.3", b"edge"), attribute("2.5.4.5", b"7")].concat();
    let subject = sequence(&[
        der(0x31, &attribute("2.5.4.10", b"Example")),
        der(0x31, &pair),
        der(0x31, &attribute("1.2.3.4", b"x")),
    ]);
    let facts = facts_of(certificate(&subject, &p256(), b"")).unwrap();
    assert_eq!(facts.subject, "O=Example, CN=edge + serialNumber=7, 1.2.3.4=x");
}

#[test]
fn alternative_names_of_every_kind_are_shown() {
    let sans = [
        der(0x82, b"edge.example.org"),
        der(0x82, b"b\xfccher.example"),
        der(0x86, b"spiffe://example.org/edge"),
        der(0x81, b"a\n@example.org"),
        der(0x87, &[10, 0, 0, 1]),
        der(0xa4, &name(0x0c, b"a,b")),
        der(0x88, &oid("1.2.3.4")[2..]),
    ];
    let facts = facts_of(certificate(&name(0x0c, b"x"), &p256(), &sans.concat())).unwrap();
    assert_eq!(
        facts.sans,
        [
            "DNS:edge.example.org",
            "DNS:b\u{fc}cher.example",
            "URI:spiffe://example.org/edge",
            "email:a\\0A@example.org",
            "IP:10.0.0.1",
            "dirname:CN=a\\,b",
            "RID:1.2.3.4",
        ]
    );
}

#[test]
fn keys_are_called_by_their_curve() {
    const EC: &str = "1.2.840.10045.2.1";
    let rsa = |modulus: &[u8]| sequence(&[der(2, modulus), der(2, &[1, 0, 1])]);
    let spelled_out = sequence(&[der(2, &[1])]);
    for (algorithm, parameters, value, shown) in [
        (EC, oid("1.2.840.10045.3.1.7"), vec![4; 65], "p256"),
        (EC, oid("1.2.840.10045.3.1.7"), vec![2; 33], "p256"),
        (EC, oid("1.3.132.0.34"), vec![4; 97], "p384"),
        (EC, oid("1.3.132.0.35"), vec![4; 133], "p521"),
        (EC, oid("1.3.132.0.10"), vec![4; 65], "secp256k1"),
        (EC, oid("1.3.36.3.3.2.8.1.1.7"), vec![4; 65], "brainpoolP256r1"),
        (EC, oid("1.2.156.10197.1.301"), vec![4; 65], "sm2"),
        (EC, oid("1.2.3.4"), vec![4; 65], "ec-1.2.3.4"),
        (EC, spelled_out, vec![4; 65], "ec-explicit-256"),
        (EC, der(5, &[]), vec![4; 65], "ec-unnamed-256"),
        (EC, vec![], vec![4; 65], "ec-unnamed-256"),
        ("1.2.840.113549.1.1.1", der(5, &[]), rsa(&[&[0][..], &[0x80; 256]].concat()), "rsa2048"),
        ("1.2.840.113549.1.1.1", der(5, &[]), rsa(&[0x40; 256]), "rsa2047"),
        ("1.2.840.113549.1.1.10", vec![], rsa(&[0x40; 256]), "rsa-pss2047"),
        ("1.2.840.113549.1.1.10", vec![], vec![7], "rsa-pss"),
        ("1.3.101.112", vec![], vec![1; 32], "ed25519"),
        ("1.3.101.113", vec![], vec![1; 57], "ed448"),
        ("2.16.840.1.101.3.4.3.18", vec![], vec![1; 1952], "mldsa65"),
        ("2.16.840.1.101.3.4.3.20", vec![], vec![1; 32], "slhdsa-sha2-128s"),
        ("1.2.3.4", vec![], vec![1; 32], "1.2.3.4"),
    ] {
        let der = certificate(&name(0x0c, b"x"), &key(algorithm, &parameters, &value), b"");
        assert_eq!(facts_of(der).unwrap().public_key, shown);
    }
}

#[test]
fn signatures_are_called_by_their_hash() {
    let pss = |parameters: &[u8]| sequence(&[oid("1.2.840.113549.1.1.10"), parameters.to_vec()]);
    let with_hash = |hash: &str| pss(&sequence(&[der(0xa0, &sequence(&[oid(hash)]))]));
    for (algorithm, shown) in [
        (sequence(&[oid("1.2.840.10045.4.3.2")]), "ecdsa-with-SHA256"),
        (with_hash("2.16.840.1.101.3.4.2.1"), "rsassa-pss-sha256"),
        (with_hash("2.16.840.1.101.3.4.2.3"), "rsassa-pss-sha512"),
        (with_hash("2.16.840.1.101.3.4.2.9"), "rsassa-pss-2.16.840.1.101.3.4.2.9"),
        (pss(&sequence(&[])), "rsassa-pss-sha1"),
        (pss(&[]), "rsassa-pss-unknown"),
        (sequence(&[oid("1.3.101.112")]), "ed25519"),
        (sequence(&[oid("1.2.3.4")]), "1.2.3.4"),
    ] {
        let der = signed_with(&algorithm, &name(0x0c, b"x"), &p256(), b"");
        assert_eq!(facts_of(der).unwrap().signature, shown);
    }
}

#[test]
fn what_is_no_certificate_is_an_error() {
    let whole = certificate(&name(0x0c, b"x"), &p256(), b"");
    for (what, der) in [
        ("nothing", vec![]),
        ("half of one", whole[..whole.len() / 2].to_vec()),
        ("a raw public key", p256()),
    ] {
        assert!(facts_of(der).is_err(), "{what}");
    }
}

#[test]
fn a_certificate_in_a_message_is_not_empty() {
    let list = |entries: &[u8]| [&[0, 0, u8::try_from(entries.len()).unwrap()], entries].concat();
    let list_13 = |entries: &[u8]| [vec![0], list(entries)].concat();
    for (what, entries, entries_13, length) in [
        ("none", &[][..], &[][..], Some(0)),
        ("one", &[0, 0, 1, 7], &[0, 0, 1, 7, 0, 0], Some(1)),
        ("an empty one", &[0, 0, 0], &[0, 0, 0, 0, 0], None),
        (
            "an empty one at the end",
            &[0, 0, 1, 7, 0, 0, 0],
            &[0, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0],
            None,
        ),
    ] {
        let read = [parse_chain(&list(entries)), parse_chain_13(&list_13(entries_13))];
        assert_eq!(read.map(|chain| chain.ok().map(|chain| chain.length)), [length; 2], "{what}");
    }
}
