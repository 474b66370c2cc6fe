//! Whether what a proxy presents leads to a CA that the upstream names in its request for it.

use hopsight_core::{
    report::ConnectionReport,
    tls::{authorities::Authorities, certificate_facts::CertificateFacts},
};

use super::ChainWord;

/// Where the proxy's chain leads, by the names in the upstream's request; `None` where one of them was
/// not seen. An upstream that names none takes any.
#[must_use]
pub fn leads(report: &ConnectionReport) -> Option<ChainWord> {
    let requested = report.requested_authorities.as_deref()?;
    Some(by_name(report.client_certificate.as_deref()?, requested))
}

/// One of those that were sent has to be of a CA that is named (RFC 8446 section 4.4.2.3).
fn by_name(shown: &CertificateFacts, requested: &Authorities) -> ChainWord {
    if requested.is_empty() {
        return ChainWord::Unknown;
    }
    let issuers: Vec<_> = std::iter::once(&shown.issuer)
        .chain(shown.issuers.iter().map(|issuer| &issuer.issuer))
        .collect();
    // Those that were cut are not known.
    let is_whole = requested.is_whole() && shown.issuers.len() + 1 == shown.chain_length;
    if requested.names().any(|name| issuers.contains(&&name)) {
        ChainWord::Trusted
    } else if is_whole {
        ChainWord::OtherCa
    } else {
        ChainWord::Unknown
    }
}
