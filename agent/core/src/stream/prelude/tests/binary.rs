//! Openings in binary protocols, and after them.

use super::*;

const STARTUP: &[u8] = b"\0\0\0\x12\0\x03\0\0user\0bob\0\0";

/// A bind without name and password.
const LDAP_ANONYMOUS: &[u8] = b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00";
const LDAP_GSSAPI: &[u8] =
    b"\x30\x16\x02\x01\x01\x60\x11\x02\x01\x03\x04\x00\xa3\x0a\x04\x06GSSAPI\x04\x00";
/// A search of the root entry.
const LDAP_ROOT: &[u8] = b"\x30\x25\x02\x01\x01\x63\x20\x04\x00\x0a\x01\x00\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00\x87\x0bobjectClass\x30\x00";

#[expect(clippy::too_many_lines, reason = "a table")]
pub fn cases() -> Vec<Case> {
    let text = |text: &str| text.as_bytes().to_vec();
    let postgresql = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
    let mysql = |flags: u8| {
        let mut packet = vec![32, 0, 0, 1, 0x85, flags | 2];
        packet.resize(36, 0);
        packet
    };
    let greeting = b"\x4a\0\0\0\x0a5.7.0\0".to_vec();
    let ldap_starttls = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037".to_vec();
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0caaaabbbbccdd".to_vec();
    vec![
        ("nothing", vec![], vec![], "pending", "pending"),
        ("tls", client_hello(), vec![], "tls [0, 0] direct", "tls [0, 0] direct"),
        ("half a record header", vec![0x16, 3], vec![], "pending", "undecided"),
        ("binary", vec![1, 2, 3, 4], vec![], "pending", "undecided"),
        ("more binary", vec![1; 128], vec![], "clear other", "clear other"),
        (
            "unknown upgrade",
            tls(b"CNXN....STLS...."),
            answer(b"STLS...."),
            "tls [16, 8] other",
            "tls [16, 8] other",
        ),
        ("mysql greets", vec![], greeting.clone(), "pending", "greeted mysql"),
        ("tls server only", vec![], server_hello(), "pending", "tls [0, 0] direct"),
        (
            "proxy v1 and tls",
            tls(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"),
            vec![],
            "tls [32, 0] direct",
            "tls [32, 0] direct",
        ),
        ("proxy v2 and http", [&v2[..], b"GET / HTTP/1.1\r\n\r\n"].concat(), vec![], "clear http/1", "clear http/1"),
        ("proxy v2 and tls", tls(&v2), vec![], "tls [28, 0] direct", "tls [28, 0] direct"),
        ("half of proxy v1", text("PROXY TCP4"), vec![], "pending", "undecided"),
        (
            "postgresql accepted",
            tls(&postgresql),
            answer(b"S"),
            "tls [8, 1] postgresql",
            "tls [8, 1] postgresql",
        ),
        ("postgresql asked", postgresql.to_vec(), vec![], "pending", "unfinished postgresql"),
        (
            "postgresql accepted, then nothing",
            postgresql.to_vec(),
            text("S"),
            "pending",
            "unfinished postgresql",
        ),
        (
            "postgresql declined, then nothing",
            postgresql.to_vec(),
            text("N"),
            "pending",
            "unfinished postgresql",
        ),
        (
            "postgresql under GSSAPI",
            [&postgresql[..7], &[0x30], &[0; 40]].concat(),
            text("G"),
            "opaque postgresql-gssapi",
            "opaque postgresql-gssapi",
        ),
        (
            "postgresql: GSSAPI declined, TLS accepted",
            tls(&[&postgresql[..7], &[0x30], &postgresql[..]].concat()),
            answer(b"NS"),
            "tls [16, 2] postgresql",
            "tls [16, 2] postgresql",
        ),
        (
            "postgresql declined",
            [&postgresql[..], STARTUP].concat(),
            text("N"),
            "clear postgresql",
            "clear postgresql",
        ),
        (
            "postgresql in the clear",
            STARTUP.to_vec(),
            vec![],
            "clear postgresql",
            "clear postgresql",
        ),
        ("mysql asks", mysql(8), greeting.clone(), "pending", "unfinished mysql"),
        (
            "mysql upgrades",
            tls(&mysql(8)),
            answer(&greeting),
            "tls [36, 11] mysql",
            "tls [36, 11] mysql",
        ),
        ("mysql in the clear", mysql(0), greeting, "clear mysql", "clear mysql"),
        ("ldap asks", ldap_starttls.clone(), vec![], "pending", "unfinished ldap"),
        (
            "ldap is refused",
            ldap_starttls.clone(),
            b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00".to_vec(),
            "pending",
            "clear ldap",
        ),
        (
            "ldap binds in a way that may encrypt",
            b"\x30\x16\x02\x01\x01\x60\x11\x02\x01\x03\x04\x00\xa3\x0a\x04\x06GSSAPI\x04\x00\0\0\0\x30".to_vec(),
            vec![],
            "opaque ldap",
            "opaque ldap",
        ),
        (
            "ldap upgrades",
            tls(&ldap_starttls),
            answer(b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"),
            "tls [31, 14] ldap",
            "tls [31, 14] ldap",
        ),
        (
            "ldap binds anonymously",
            LDAP_ANONYMOUS.to_vec(),
            vec![],
            "pending",
            "clear ldap",
        ),
        (
            "ldap binds with a password",
            b"\x30\x12\x02\x01\x01\x60\x0d\x02\x01\x03\x04\x04cn=a\x80\x02pw".to_vec(),
            vec![],
            "clear ldap",
            "clear ldap",
        ),
        (
            "ldap binds anonymously, then upgrades",
            tls(&[LDAP_ANONYMOUS, &ldap_starttls].concat()),
            answer(b"\x30\x0c\x02\x01\x02\x78\x07\x0a\x01\x00\x04\x00\x04\x00"),
            "tls [45, 14] ldap",
            "tls [45, 14] ldap",
        ),
        ("ldap asks what there is", LDAP_ROOT.to_vec(), vec![], "pending", "clear ldap"),
        (
            "ldap asks what there is, then upgrades",
            tls(&[LDAP_ROOT, &ldap_starttls].concat()),
            answer(b"\x30\x0c\x02\x01\x02\x78\x07\x0a\x01\x00\x04\x00\x04\x00"),
            "tls [70, 14] ldap",
            "tls [70, 14] ldap",
        ),
        (
            "ldap asks what there is, then seals",
            [LDAP_ROOT, LDAP_GSSAPI, b"\0\0\0\x30"].concat(),
            vec![],
            "opaque ldap",
            "opaque ldap",
        ),
        (
            "ldap asks what there is, binds by GSSAPI, and asks on",
            [LDAP_ROOT, LDAP_GSSAPI, LDAP_ROOT].concat(),
            vec![],
            "clear ldap",
            "clear ldap",
        ),
        (
            "ldap binds by NTLM, then seals",
            [
                b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x89\x00",
                &b"\x30\x10\x02\x01\x02\x60\x0b\x02\x01\x03\x04\x04NTLM\x8b\x00"[..],
                b"\0\0\0\x64\x01",
            ]
            .concat(),
            vec![],
            "opaque ldap",
            "opaque ldap",
        ),
        (
            "ldap searches a tree",
            [&LDAP_ROOT[..11], &[1], &LDAP_ROOT[12..]].concat(),
            vec![],
            "clear ldap",
            "clear ldap",
        ),
        (
            "ldap, then something",
            [LDAP_ROOT, &evenly_spread(60)].concat(),
            vec![],
            "pending",
            "undecided",
        ),
        (
            "openvpn",
            b"\0\x0e\x3812345678\0\0\0\0\0".to_vec(),
            vec![],
            "opaque openvpn",
            "opaque openvpn",
        ),
        (
            "a kafka client without a name",
            b"\0\0\0\x12\0\x03\0\x01\0\0\0\x02\xff\xff\0\0\0\x01".to_vec(),
            vec![],
            "clear kafka",
            "clear kafka",
        ),
        (
            "postgresql: GSSAPI and TLS declined",
            [&postgresql[..7], &[0x30], &postgresql[..], STARTUP].concat(),
            text("NN"),
            "clear postgresql",
            "clear postgresql",
        ),
        (
            "postgresql declined, then something",
            [&postgresql[..], &evenly_spread(60)].concat(),
            text("N"),
            "pending",
            "undecided",
        ),
        ("one byte of each", vec![0x99], vec![0xe7], "pending", "undecided"),
        (
            "openvpn's opcode in the number of a query",
            b"\0\x1d\x38\x22\x01\0\0\x01\0\0\0\0\0\0\x07example".to_vec(),
            vec![],
            "clear dns",
            "clear dns",
        ),
        (
            "mongodb's sixth request is no ALTS",
            b"\x48\0\0\0\x06\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0".to_vec(),
            vec![],
            "clear mongodb",
            "clear mongodb",
        ),
        (
            "amqp asks",
            b"AMQP\x02\x01\0\0".to_vec(),
            b"AMQP\x02\x01\0\0".to_vec(),
            "pending",
            "unfinished amqp",
        ),
        (
            "evenly spread bytes",
            evenly_spread(200),
            vec![],
            "pending",
            "undecided",
        ),
        (
            "socks4, server side only",
            vec![4, 1, 1, 187, 1, 2, 3, 4, 0],
            answer(&[0, 90, 0, 0, 0, 0, 0, 0]),
            "pending",
            "tls [9, 8] socks",
        ),
        (
            "socks5",
            tls(&[5, 1, 0, 5, 1, 0, 1, 1, 2, 3, 4, 1, 187]),
            answer(&[5, 0, 5, 0, 0, 1, 1, 2, 3, 4, 1, 187]),
            "tls [13, 12] socks",
            "tls [13, 12] socks",
        ),
    ]
}
