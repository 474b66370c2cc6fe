//! Responses written by hand, signed by keys of these tests.

use std::sync::Arc;

use hopsight_core::tls::certificate::{Chain, facts};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SerialNumber, SigningKey as _,
};
use ring::digest::{SHA256, digest};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{
    Purpose, Revocation, RevocationReason as Reason, RevocationSource, RevocationWord as Word,
    Shown, Standing, Trust, revocation, staple::stapled,
};
use crate::policy::time::UnixTime;

/// 2026-01-02 and the day after it.
const THEN: i64 = 1_767_312_000;
const DAY: i64 = 86_400;
const T_SEQUENCE: u8 = 0x30;
const T_OCTETS: u8 = 0x04;
const T_BITS: u8 = 0x03;
const T_TIME: u8 = 0x18;
/// The status of a certificate that is good.
const GOOD: &[u8] = b"\x80\0";

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    match length {
        [0, short @ ..=127] => [&[tag, short], content].concat(),
        [0, long] => [&[tag, 0x81, long], content].concat(),
        [high, low] => [&[tag, 0x82, high, low], content].concat(),
    }
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(T_SEQUENCE, &parts.concat())
}

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), der }
    }

    fn issue(&self, serial: u64, usage: ExtendedKeyUsagePurpose) -> (Vec<u8>, KeyPair) {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().der().to_vec(), key)
    }

    /// What a response about a certificate of this CA says.
    fn content(&self, serial: u8, status: &[u8]) -> Vec<u8> {
        self.content_of(serial, &[status])
    }

    /// The same of a response that says several things about it.
    fn content_of(&self, serial: u8, statuses: &[&[u8]]) -> Vec<u8> {
        let (_, own) = X509Certificate::from_der(&self.der).unwrap();
        let hash = |bytes: &[u8]| tlv(T_OCTETS, digest(&SHA256, bytes).as_ref());
        let id = sequence(&[
            &sequence(&[b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\0"]),
            &hash(own.subject().as_raw()),
            &hash(&own.public_key().subject_public_key.data),
            &tlv(0x02, &[serial]),
        ]);
        let time = |text: &[u8]| tlv(T_TIME, text);
        let next = tlv(0xa0, &time(b"20260103000000Z"));
        let single = |status: &&[u8]| sequence(&[&id, status, &time(b"20260102000000Z"), &next]);
        let all: Vec<u8> = statuses.iter().flat_map(single).collect();
        let responder = tlv(0xa1, own.subject().as_raw());
        sequence(&[&responder, &time(b"20260102000000Z"), &sequence(&[&all])])
    }
}

/// A response with this content, signed by a key, with certificates beside it.
fn response(content: &[u8], key: &KeyPair, certificates: &[&[u8]]) -> Vec<u8> {
    let algorithm = sequence(&[b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"]);
    let signature = tlv(T_BITS, &[&[0], &*key.sign(content).unwrap()].concat());
    let certificates = match certificates {
        [] => Vec::new(),
        all => tlv(0xa0, &sequence(all)),
    };
    let basic = sequence(&[content, &algorithm, &signature, &certificates]);
    let kind = b"\x06\x09\x2b\x06\x01\x05\x05\x07\x30\x01\x01";
    let bytes = sequence(&[kind, &tlv(T_OCTETS, &basic)]);
    sequence(&[b"\x0a\x01\0", &tlv(0xa0, &bytes)])
}

#[test]
fn a_response_counts_if_it_is_signed_for_its_certificate() {
    const UNKNOWN: &[u8] = b"\x82\0";
    let revoked = tlv(0xa1, &tlv(T_TIME, b"20260101000000Z"));
    let (ca, other) = (Ca::new("a"), Ca::new("a"));
    let server = ExtendedKeyUsagePurpose::ServerAuth;
    let (own, own_key) = ca.issue(7, server.clone());
    let (delegate, delegate_key) = ca.issue(8, ExtendedKeyUsagePurpose::OcspSigning);
    let (foreign, foreign_key) = other.issue(9, ExtendedKeyUsagePurpose::OcspSigning);
    let chain = Chain { end_entity: own.clone().into(), issuers: Vec::new(), length: 1 };
    let trusts = [Arc::new(Trust::of([other.der.clone(), ca.der.clone()]).unwrap())];
    let good = ca.content(7, GOOD);
    let by_ca = |content: &[u8]| response(content, ca.issuer.key(), &[]);
    let at_once = Ok((Word::Good, None));
    let long_ago = Ok((Word::Revoked, Some(THEN - DAY)));
    // certificateHold
    let held = [&tlv(T_TIME, b"20260101000000Z"), &b"\xa0\x03\x0a\x01\x06"[..]].concat();
    let held = tlv(0xa1, &held);
    // tryLater
    let mut later = by_ca(&good);
    let status = later.windows(3).position(|bytes| bytes == b"\x0a\x01\0").unwrap();
    later[status + 2] = 3;
    for (name, response, now, expected) in [
        ("good", by_ca(&good), THEN, at_once),
        ("revoked", by_ca(&ca.content(7, &revoked)), THEN, long_ago),
        ("revoked, later", by_ca(&ca.content(7, &revoked)), THEN + 9 * DAY, long_ago),
        (
            "revoked, before it was said",
            by_ca(&ca.content(7, &revoked)),
            THEN - 1,
            Err(Reason::StapleNotInForce),
        ),
        ("on hold", by_ca(&ca.content(7, &held)), THEN, long_ago),
        ("on hold, later", by_ca(&ca.content(7, &held)), THEN + DAY, Err(Reason::StapleNotInForce)),
        ("both", by_ca(&ca.content_of(7, &[GOOD, &revoked])), THEN, long_ago),
        ("revoked, then good", by_ca(&ca.content_of(7, &[&revoked, GOOD])), THEN, long_ago),
        (
            "good, and not known",
            by_ca(&ca.content_of(7, &[GOOD, UNKNOWN])),
            THEN,
            Err(Reason::StapleUnknown),
        ),
        ("an error with an answer", later, THEN, Err(Reason::StapleUnknown)),
        ("not known", by_ca(&ca.content(7, UNKNOWN)), THEN, Err(Reason::StapleUnknown)),
        ("of another", by_ca(&ca.content(8, GOOD)), THEN, Err(Reason::StapleOfAnother)),
        ("of another's", by_ca(&other.content(7, GOOD)), THEN, Err(Reason::StapleOfAnother)),
        ("early", by_ca(&good), THEN - 1, Err(Reason::StapleNotInForce)),
        ("late", by_ca(&good), THEN + DAY, Err(Reason::StapleNotInForce)),
        (
            "signed by another CA of the name",
            response(&good, other.issuer.key(), &[]),
            THEN,
            Err(Reason::StapleNotSigned),
        ),
        ("signed by a responder", response(&good, &delegate_key, &[&delegate]), THEN, at_once),
        ("after others", response(&good, &delegate_key, &[&own, &delegate]), THEN, at_once),
        (
            "a responder without its certificate",
            response(&good, &delegate_key, &[]),
            THEN,
            Err(Reason::StapleNotSigned),
        ),
        (
            "another's responder",
            response(&good, &foreign_key, &[&foreign]),
            THEN,
            Err(Reason::StapleNotSigned),
        ),
        (
            "by the server itself",
            response(&good, &own_key, &[&own]),
            THEN,
            Err(Reason::StapleNotSigned),
        ),
        ("no answer", sequence(&[b"\x0a\x01\x03"]), THEN, Err(Reason::StapleUnknown)),
        ("nonsense", vec![0x30, 0x03, 1, 2, 3], THEN, Err(Reason::NotFollowed)),
        ("nothing", Vec::new(), THEN, Err(Reason::NotFollowed)),
    ] {
        let said = stapled(&response, &chain, &trusts, now);
        let said = said.map(|said| (said.answer, said.revoked_at));
        assert_eq!(said, expected, "{name}");
        for cut in 0..response.len() {
            let _ = stapled(&response[..cut], &chain, &trusts, now);
        }
    }
}

#[test]
fn a_response_counts_for_the_certificate_of_who_is_trusted() {
    let (ca, other) = (Ca::new("a"), Ca::new("a"));
    let server = ExtendedKeyUsagePurpose::ServerAuth;
    let chain =
        Chain { end_entity: ca.issue(7, server.clone()).0.into(), issuers: Vec::new(), length: 1 };
    let trusts = [Arc::new(Trust::of([other.der.clone(), ca.der.clone()]).unwrap())];
    let staple = response(&ca.content(7, GOOD), ca.issuer.key(), &[]);
    let stranger = Chain { end_entity: other.issue(7, server).0.into(), ..chain.clone() };
    let said = stapled(&staple, &stranger, &trusts, THEN);
    assert_eq!(said, Err(Reason::StapleOfAnother), "its issuer is another of that name");

    let facts = facts(&chain).unwrap();
    let shown = Shown {
        facts: &facts,
        chain: Some(&chain),
        purpose: Purpose::Server,
        staple: Some(&staple),
        standing: Standing::Trusted,
    };
    let at = UnixTime::from_secs(THEN.try_into().unwrap());
    let found = revocation(shown, &trusts, &[], at);
    let by = Some(RevocationSource::Staple);
    let says =
        Revocation { answer: Word::Good, reason: None, by, as_of: Some(THEN), revoked_at: None };
    assert_eq!(found.says, says);
    assert_eq!(found.stands, THEN..THEN + DAY);
    let of_nobody =
        revocation(Shown { standing: Standing::Unknown, ..shown }, &trusts, &[], at).says;
    assert_eq!(
        (of_nobody.answer, of_nobody.reason),
        (Word::Unknown, Some(Reason::StapleNotTrusted)),
    );
}

#[test]
fn a_signature_with_sha_1_does_not_count() {
    const NOW: i64 = 1_800_000_000;
    let chain = Chain {
        end_entity: include_bytes!("../../../fixtures/ocsp/server.der").as_slice().into(),
        issuers: Vec::new(),
        length: 1,
    };
    let ca = include_bytes!("../../../fixtures/ocsp/ca.der").to_vec();
    let trusts = [Arc::new(Trust::of([ca]).unwrap())];
    let said = |response: &[u8]| stapled(response, &chain, &trusts, NOW).map(|said| said.answer);
    let sha_256 = include_bytes!("../../../fixtures/ocsp/sha256.der");
    assert_eq!(said(sha_256), Ok(Word::Good));
    let sha_1 = include_bytes!("../../../fixtures/ocsp/sha1.der");
    assert_eq!(said(sha_1), Err(Reason::StapleNotSigned));
}
