//! The CAs that a server names in its CertificateRequest (RFC 5246 section 7.4.4, RFC 8446 section
//! 4.2.4): whom the client's certificate is to lead to.

use std::sync::Arc;

use x509_parser::{prelude::FromDer as _, x509::X509Name};

use super::{
    fields::Fields,
    hello::{TlsVersion, extensions},
    name::distinguished_name,
};

/// Names that are kept, and their bytes. Programs that trust what browsers do have some 150.
const MAX_NAMES: usize = 512;
const MAX_BYTES: usize = 64 * 1024;

/// The extension of TLS 1.3 (RFC 8446 section 4.2.4).
const CERTIFICATE_AUTHORITIES: u16 = 47;

/// Distinguished names of CAs, DER encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorities {
    names: Vec<Box<[u8]>>,
    is_whole: bool,
}

impl Authorities {
    /// Those of a CertificateRequest; `None` where it cannot be read. Any CA will do where there are
    /// none.
    #[must_use]
    pub fn of_request(version: TlsVersion, body: &[u8]) -> Option<Arc<Self>> {
        let mut fields = Fields::of(body);
        // The context (TLS 1.3), or the kinds of certificates.
        let _first = fields.prefixed::<1>()?;
        let list = if version.encrypts_handshake() {
            let block = fields.prefixed::<2>()?;
            let named = extensions(block).find(|(number, ..)| *number == CERTIFICATE_AUTHORITIES);
            match named {
                Some((.., content)) => Fields::of(content).prefixed::<2>()?,
                None => &[],
            }
        } else {
            if version >= TlsVersion::TLS12 {
                let _signature_algorithms = fields.prefixed::<2>()?;
            }
            fields.prefixed::<2>()?
        };
        Self::of(list).map(Arc::new)
    }

    fn of(list: &[u8]) -> Option<Self> {
        let mut list = Fields::of(list);
        let mut authorities = Self { names: Vec::new(), is_whole: true };
        let mut bytes = 0;
        while !list.rest().is_empty() {
            let name = list.prefixed::<2>()?;
            bytes += name.len();
            if authorities.names.len() >= MAX_NAMES || bytes > MAX_BYTES {
                authorities.is_whole = false;
                break;
            }
            authorities.is_whole &= parsed(name).is_some();
            authorities.names.push(name.into());
        }
        Some(authorities)
    }

    /// Whether all that were named are kept and can be read.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Whether none is named: any will do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Their names as [`CertificateFacts`](super::certificate_facts::CertificateFacts) have them,
    /// without those that are none.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.names.iter().filter_map(|der| parsed(der)).map(|name| distinguished_name(&name))
    }
}

fn parsed(der: &[u8]) -> Option<X509Name<'_>> {
    let (rest, name) = X509Name::from_der(der).ok()?;
    rest.is_empty().then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `CN=a`, DER encoded.
    const A: &[u8] = b"\x30\x0c\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01a";

    fn prefixed(bytes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).expect("short");
        [&length.to_be_bytes(), bytes].concat()
    }

    #[test]
    fn the_names_of_a_request_are_read() {
        let list = prefixed(&prefixed(A));
        let clear = [&[1, 64][..], &prefixed(&[4, 3]), &list].concat();
        let old = [&[1, 64][..], &list].concat();
        let extension = [&[0, 47][..], &prefixed(&list)].concat();
        let other = [&[0, 13][..], &prefixed(&prefixed(&[4, 3]))].concat();
        let encrypted = [&[0][..], &prefixed(&[&other[..], &extension].concat())].concat();
        let none = [&[0][..], &prefixed(&other)].concat();
        let nobody = [&[1, 64][..], &prefixed(&[4, 3]), &[0, 0]].concat();
        let damaged =
            [&[1, 64][..], &prefixed(&[4, 3]), &prefixed(&prefixed(b"\x30\x7f"))].concat();
        let (old_version, tls12, tls13) =
            (TlsVersion(0x0302), TlsVersion::TLS12, TlsVersion::TLS13);
        for (name, version, body, expected) in [
            ("1.1", old_version, &old, Some(&["CN=a"][..])),
            ("1.2", tls12, &clear, Some(&["CN=a"])),
            ("1.3", tls13, &encrypted, Some(&["CN=a"])),
            ("1.3, none", tls13, &none, Some(&[])),
            ("1.2, none", tls12, &nobody, Some(&[])),
            ("no name", tls12, &damaged, Some(&[])),
            ("cut", tls12, &clear[..clear.len() - 1].to_vec(), None),
        ] {
            let read = Authorities::of_request(version, body);
            let is_whole = read.as_ref().is_some_and(|read| read.is_whole());
            assert_eq!(is_whole, !matches!(name, "no name" | "cut"), "{name}");
            let names = read.map(|read| read.names().collect::<Vec<_>>());
            let expected = expected.map(|all| all.iter().map(ToString::to_string).collect());
            assert_eq!(names, expected, "{name}");
        }
    }

    #[test]
    fn more_names_than_are_kept_are_told() {
        let many = prefixed(A).repeat(MAX_NAMES + 1);
        let many = Authorities::of(&many).expect("a list");
        assert!(!many.is_whole() && many.names().count() == MAX_NAMES);
        let long = prefixed(&vec![0x30; 40_000]).repeat(2);
        assert_eq!(Authorities::of(&long).map(|long| long.is_whole()), Some(false));
    }
}
