//! Certificates and keys from PEM files (RFC 7468).

use std::path::Path;

use anyhow::{Context as _, ensure};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// The certificates of a file, in their order; at least one.
///
/// # Errors
/// The file cannot be read or holds none.
pub fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = || format!("read the certificates of {}", path.display());
    let found = CertificateDer::pem_file_iter(path).with_context(read)?;
    let found: Vec<_> = found.collect::<Result<_, _>>().with_context(read)?;
    ensure!(!found.is_empty(), "{} holds no certificate (PEM, BEGIN CERTIFICATE)", path.display());
    Ok(found)
}

/// The certificates of a file as authorities.
///
/// # Errors
/// As [`certificates`], or one of them cannot be an authority.
pub fn authorities(path: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(path)? {
        roots.add(authority).with_context(|| format!("use the authority of {}", path.display()))?;
    }
    Ok(roots)
}

/// The private key of a file.
///
/// # Errors
/// The file cannot be read or holds none.
pub fn private_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path)
        .with_context(|| format!("read the private key of TLS, {}", path.display()))
}
