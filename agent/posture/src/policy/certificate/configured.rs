//! The client certificate that a configuration names.

use std::{io, path::Path};

use hopsight_core::tls::certificate_facts::CertificateFacts;
use thiserror::Error;

use super::{CertificateError, Chain, KeyMatch, NoAnswer, chain, key_matches, read};
use crate::policy::{
    files::ConfigFiles,
    intent::{Text, TlsIntent},
    time::UnixTime,
};

/// What is found in the files of a client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// The certificate itself. Where TLS 1.3 hides what is presented, this is what would be.
    pub facts: CertificateFacts,
    /// Whether it chains to the CA file of the same route, which is the upstream's: that fits
    /// where both ends have their certificates from one CA. `None` if the route names no CA.
    pub chain: Option<Result<Chain, CertificateError>>,
    /// Whether the key file belongs to it.
    pub key: KeyMatch,
}

/// Why nothing is known of a client certificate.
#[derive(Debug, Error)]
pub enum NotConfigured {
    /// None is configured, or it is switched off.
    #[error("no client certificate is configured")]
    None,
    /// A variable names it.
    #[error("the client certificate depends on the request: {0}")]
    Variable(String),
    /// It is in no file: it stands in the configuration itself, or a secret store has it.
    #[error("the client certificate is in no file: {0}")]
    NotAFile(String),
    /// Its file cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// The operating system's words.
        error: io::Error,
    },
    /// Its file has no certificate.
    #[error("{path}: {error}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong with it.
        error: CertificateError,
    },
}

/// How the names of what is in no file begin.
const NOT_A_FILE: [&str; 6] = ["data:", "engine:", "store:", "sds:", "automate:", "several:"];

/// Looks at the client certificate of a route. The private key is read, compared and dropped only
/// if `read_key` is set.
///
/// # Errors
/// When there is no certificate to look at; see [`NotConfigured`].
pub fn configured(
    files: &dyn ConfigFiles,
    tls: &TlsIntent,
    now: UnixTime,
    read_key: bool,
) -> Result<Configured, NotConfigured> {
    let path = match tls.certificate.as_ref().map(|certificate| &certificate.value) {
        Some(Text::Literal(path)) if !path.is_empty() => path,
        Some(Text::Literal(_)) | None => return Err(NotConfigured::None),
        Some(Text::Variable(expression)) => {
            return Err(NotConfigured::Variable(expression.clone()));
        }
    };
    if let Some(store) = NOT_A_FILE.iter().find(|store| path.starts_with(**store)) {
        return Err(NotConfigured::NotAFile(store.trim_end_matches(':').to_owned()));
    }
    let mut pem = files
        .read(Path::new(path))
        .map_err(|error| NotConfigured::Unreadable { path: path.clone(), error })?;
    let above =
        tls.certificate_chain.as_ref().and_then(|above| files.read(Path::new(&above.value)).ok());
    pem.extend(above.into_iter().flat_map(|above| [vec![b'\n'], above].concat()));
    let malformed = |error| NotConfigured::Malformed { path: path.clone(), error };
    let facts = read(&pem).map_err(malformed)?.swap_remove(0);
    let ca = tls.trusted_certificate.as_ref().and_then(|ca| files.read(Path::new(&ca.value)).ok());
    let key = match tls.certificate_key.as_ref().map(|key| &key.value) {
        _ if !read_key => KeyMatch::Unknown(NoAnswer::NotAsked),
        Some(Text::Literal(key)) => match files.read(Path::new(key)) {
            Ok(key) => key_matches(&pem, &key).map_err(malformed)?,
            Err(_) => KeyMatch::Unknown(NoAnswer::Unreadable),
        },
        Some(Text::Variable(_)) | None => KeyMatch::Unknown(NoAnswer::Unreadable),
    };
    Ok(Configured { facts, chain: ca.map(|ca| chain(&pem, &ca, now)), key })
}
