//! Whether what a proxy presents leads to a CA that the upstream names in its request for it.

use hopsight_core::{
    model::Outcome,
    report::ConnectionReport,
    tls::{authorities::Authorities, certificate_facts::CertificateFacts},
};

use super::ChainWord;

/// Where the proxy's chain leads, by the names in the upstream's request; `None` where one of them was
/// not seen. An upstream that names none takes any.
#[must_use]
pub fn leads(report: &ConnectionReport) -> Option<ChainWord> {
    let requested = report.requested_authorities.as_deref()?;
    // One that has ended or is revoked is refused as well, whoever issued it.
    let is_of_nobody = report.alert.as_ref().is_some_and(|alert| alert.code == UNKNOWN_CA);
    let is_refused = report.is_final && report.verdict.outcome == Outcome::Rejected && is_of_nobody;
    Some(by_name(report.client_certificate.as_deref()?, requested, is_refused))
}

/// The alert of who knows no CA that issued a certificate (RFC 8446 section 6.2).
const UNKNOWN_CA: u8 = 48;

/// One of those that were sent has to be of a CA that is named (RFC 8446 section 4.4.2.3). Whoever
/// does not refuse it may have a certificate that leads further than what was sent.
fn by_name(shown: &CertificateFacts, requested: &Authorities, is_refused: bool) -> ChainWord {
    if requested.is_empty() {
        return ChainWord::Unknown;
    }
    let own = std::iter::once((&shown.subject, &shown.issuer));
    let sent: Vec<_> =
        own.chain(shown.issuers.iter().map(|sent| (&sent.subject, &sent.issuer))).collect();
    // Those that were cut are not known.
    let is_whole = requested.is_whole() && sent.len() == shown.chain_length;
    let ends_at_root = sent.iter().any(|(subject, issuer)| subject == issuer);
    let issuers: Vec<_> = sent.iter().map(|(_, issuer)| folded(issuer)).collect();
    if requested.names().any(|name| issuers.contains(&folded(&name))) {
        ChainWord::Named
    } else if is_whole && (ends_at_root || is_refused) {
        ChainWord::OtherCa
    } else {
        ChainWord::Unknown
    }
}

/// A name as it is compared: neither case nor the number of spaces counts (RFC 5280 section 7.1).
pub(super) fn folded(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hopsight_core::{
        model::Security,
        tls::{certificate_facts::IssuerFacts, fingerprint::Fingerprint, hello::TlsVersion},
    };

    use super::*;
    use crate::hops::testing::{certificate, early, rejected, report};

    /// The common name `name` as a distinguished name, DER encoded.
    fn distinguished(name: &str) -> Vec<u8> {
        let length = u8::try_from(name.len()).expect("short");
        let head = [0x30, length + 11, 0x31, length + 9, 0x30, length + 7];
        [&head[..], b"\x06\x03\x55\x04\x03\x0c", &[length], name.as_bytes()].concat()
    }

    fn request(names: &[Vec<u8>]) -> Option<Arc<Authorities>> {
        let prefixed = |bytes: &[u8]| {
            let length = u16::try_from(bytes.len()).expect("short");
            [&length.to_be_bytes(), bytes].concat()
        };
        let list: Vec<u8> = names.iter().flat_map(|name| prefixed(name)).collect();
        let body = [&[1, 64][..], &prefixed(&[4, 3]), &prefixed(&list)].concat();
        Authorities::of_request(TlsVersion::TLS12, &body)
    }

    #[test]
    fn a_chain_is_compared_with_the_names_in_the_request() {
        let issuer = |subject: &str, issuer: &str| {
            Arc::new(IssuerFacts {
                subject: format!("CN={subject}"),
                issuer: format!("CN={issuer}"),
                serial: "01".into(),
                not_before: 0,
                not_after: 1,
                public_key: "p256".into(),
                signature: "ecdsa-with-SHA256".into(),
                sha256: Fingerprint::of(subject.as_bytes()),
            })
        };
        let named = |names: &[&str]| {
            request(&names.iter().map(|name| distinguished(name)).collect::<Vec<_>>())
        };
        let unreadable = request(&[distinguished("Other"), vec![0x30, 0x7f]]);
        // The certificate is of "Test CA".
        let (middle, root) = (issuer("Test CA", "Root"), issuer("Root", "Root"));
        let own_root = issuer("Test CA", "Test CA");
        for (name, requested, sent, length, accepted, refused) in [
            ("its CA", named(&["Test CA"]), vec![], 1, "named", "named"),
            ("spelled otherwise", named(&["TEST  ca"]), vec![], 1, "named", "named"),
            ("above what was sent", named(&["Root"]), vec![middle.clone()], 2, "named", "named"),
            ("above it all", named(&["Root"]), vec![], 1, "unknown", "other_ca"),
            ("another", named(&["Other"]), vec![middle.clone(), root], 3, "other_ca", "other_ca"),
            ("another, at once", named(&["Other"]), vec![own_root], 2, "other_ca", "other_ca"),
            ("cut", named(&["Other"]), vec![middle], 9, "unknown", "unknown"),
            ("one cannot be read", unreadable, vec![], 1, "unknown", "unknown"),
            ("any", named(&[]), vec![], 1, "unknown", "unknown"),
        ] {
            let shown = CertificateFacts {
                issuers: sent,
                chain_length: length,
                ..certificate("proxy", 2_000)
            };
            let mut report = report(1, Security::Mtls);
            report.client_certificate = Some(shown.into());
            report.requested_authorities = requested;
            let not_yet = early(rejected(report.clone()));
            let mut ended = rejected(report.clone());
            ended.alert.as_mut().expect("an alert").code = 45;
            let answers = [&report, &not_yet, &ended, &rejected(report.clone())].map(leads);
            let answers = answers.map(|answer| answer.map(ChainWord::as_str));
            let expected = [accepted, accepted, accepted, refused].map(Some);
            assert_eq!(answers, expected, "{name}");
        }
    }
}
