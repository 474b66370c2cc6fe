//! What a server sends along with its certificate: an OCSP response (RFC 6066 section 8, RFC 8446
//! section 4.4.2.1), and signed certificate timestamps (RFC 6962 section 3.3).

use std::sync::Arc;

use super::{fields::Fields, hello::extensions};

/// Longest OCSP response that is kept, in bytes. Those in use have some 500 to 2,500.
const MAX_STAPLE: usize = 16 * 1024;

const STATUS_REQUEST: u16 = 5;
const SIGNED_CERTIFICATE_TIMESTAMP: u16 = 18;
/// The one kind of status that is in use (RFC 6066 section 8).
const OCSP: u8 = 1;

/// What came along with a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// An OCSP response, DER encoded.
    pub staple: Option<Arc<[u8]>>,
    /// How many signed certificate timestamps, beside those in the certificate.
    pub timestamps: u16,
}

/// The response in a `CertificateStatus`: a message up to TLS 1.2, the content of an extension in
/// TLS 1.3. `None` where it is another kind, is cut, or is longer than is kept.
#[must_use]
pub fn staple(body: &[u8]) -> Option<Arc<[u8]>> {
    let mut fields = Fields::of(body);
    let [kind] = fields.array()?;
    let response = fields.prefixed::<3>()?;
    let is_kept = kind == OCSP && !response.is_empty() && response.len() <= MAX_STAPLE;
    is_kept.then(|| response.into())
}

/// What came along with the first certificate of a Certificate message of TLS 1.3.
#[must_use]
pub fn of_certificate_13(body: &[u8]) -> Status {
    let first = || {
        let mut fields = Fields::of(body);
        let _context = fields.prefixed::<1>()?;
        let mut list = Fields::of(fields.prefixed::<3>()?);
        let _certificate = list.prefixed::<3>()?;
        list.prefixed::<2>()
    };
    let mut status = Status::default();
    for (number, _, content) in extensions(first().unwrap_or_default()) {
        match number {
            STATUS_REQUEST => status.staple = staple(content),
            SIGNED_CERTIFICATE_TIMESTAMP => status.timestamps = timestamps(content),
            _ => {}
        }
    }
    status
}

/// How many timestamps a ServerHello up to TLS 1.2 has.
#[must_use]
pub fn timestamps_of_server_hello(body: &[u8]) -> u16 {
    let block = || {
        let mut fields = Fields::of(body);
        let _version_and_random = fields.bytes(2 + 32)?;
        let _session = fields.prefixed::<1>()?;
        let _cipher_and_compression = fields.bytes(2 + 1)?;
        fields.prefixed::<2>()
    };
    let mut all = extensions(block().unwrap_or_default());
    let found = all.find(|(number, ..)| *number == SIGNED_CERTIFICATE_TIMESTAMP);
    found.map_or(0, |(.., content)| timestamps(content))
}

/// How many are in a list of them, as far as it is whole.
pub(super) fn timestamps(list: &[u8]) -> u16 {
    let mut list = Fields::of(Fields::of(list).prefixed::<2>().unwrap_or_default());
    let mut count = 0_u16;
    while list.prefixed::<2>().is_some() {
        count = count.saturating_add(1);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_far_as_it_is_whole() {
        let long = [&[1, 0, 0x40, 1][..], &vec![7; 0x4001]].concat();
        for (name, body, expected) in [
            ("a response", &[1, 0, 0, 2, 7, 8][..], Some(&[7, 8][..])),
            ("several", &[2, 0, 0, 2, 7, 8], None),
            ("empty", &[1, 0, 0, 0], None),
            ("cut", &[1, 0, 0, 3, 7, 8], None),
            ("long", &long, None),
            ("nothing", &[], None),
        ] {
            assert_eq!(staple(body).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn what_comes_along_with_a_certificate_is_read() {
        let timestamps = [0, 18, 0, 9, 0, 7, 0, 2, 1, 1, 0, 1, 1];
        let status = [0, 5, 0, 6, 1, 0, 0, 2, 7, 8];
        let extensions = [&timestamps[..], &status].concat();
        let length = u16::try_from(extensions.len()).expect("short").to_be_bytes();
        let entry = [&[0, 0, 1, 9][..], &length, &extensions, &[0, 0, 1, 9, 0, 0]].concat();
        let list = u8::try_from(entry.len()).expect("short");
        let body = [&[0, 0, 0, list][..], &entry].concat();
        let found = of_certificate_13(&body);
        assert_eq!(found, Status { staple: Some([7, 8].into()), timestamps: 2 });
        assert_eq!(of_certificate_13(&body[..12]), Status::default(), "cut");
        let hello = [&[3, 3][..], &[0; 32], &[0, 0xc0, 0x2b, 0, 0, 13], &timestamps].concat();
        assert_eq!(timestamps_of_server_hello(&hello), 2);
        assert_eq!(timestamps_of_server_hello(&hello[..40]), 0, "cut");
    }
}
