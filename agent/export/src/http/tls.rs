//! TLS for the HTTP server, and certificates of its clients.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use anyhow::Context as _;
use rustls::{ServerConfig, server::WebPkiClientVerifier};
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;

use crate::{health::Health, http::pem};
use hopsight_core::health::ComponentState;

/// Pause between checks of the files.
const LOOK: Duration = Duration::from_secs(2);

/// Component name in `/readyz`.
const TLS: &str = "tls";

/// Files of PEM (RFC 7468).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsFiles {
    /// The server's certificate, followed by its intermediates; if absent, HTTP in the clear.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// The authorities of clients; if set, only clients with a certificate of theirs are answered.
    pub client_ca: Option<PathBuf>,
}

impl TlsFiles {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.certificate, &self.key, &self.client_ca].into_iter().flatten().map(PathBuf::as_path)
    }
}

/// What the server presents and asks for, as the files have it.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
    /// What the files held when they were last read.
    seen: Mutex<Contents>,
}

/// The bytes of each file, in the order of [`TlsFiles::paths`], or why there are none.
type Contents = Vec<Result<Vec<u8>, String>>;

impl Tls {
    /// Reads the files; `None` where HTTP is served in the clear.
    ///
    /// # Errors
    /// A file is missing or holds something else, or the key is not that of the certificate.
    pub fn load(files: &TlsFiles) -> anyhow::Result<Option<Self>> {
        if files.certificate.is_none() {
            return Ok(None);
        }
        let seen = contents(files);
        let current = RwLock::new(Arc::new(server_config(files)?));
        Ok(Some(Self { files: files.clone(), current, seen: Mutex::new(seen) }))
    }

    /// The directories the files are in, and those that links lead to.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        let resolved = self.files.paths().filter_map(|path| fs::canonicalize(path).ok());
        let named = self.files.paths().map(Path::to_owned);
        let mut directories: Vec<PathBuf> = named
            .chain(resolved)
            .filter_map(|path| Some(path.parent()?.to_owned()))
            .map(|path| if path.as_os_str().is_empty() { ".".into() } else { path })
            .collect();
        directories.sort();
        directories.dedup();
        directories
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Uses what is in the files from now on; never ends.
    pub(super) async fn follow_files(&self, health: &Health) {
        let clients = if self.files.client_ca.is_some() { "certificate" } else { "any" };
        let ready = format!("clients: {clients}");
        health.set(TLS, ComponentState::Ready, ready.clone());
        // The first look tells at once what the agent could read before it became another user.
        loop {
            match self.reload() {
                Ok(false) => {}
                Ok(true) => {
                    tracing::info!("the TLS certificates have changed and are in use");
                    health.set(TLS, ComponentState::Ready, ready.clone());
                }
                Err(error) => {
                    let advice = advice(&self.files);
                    let error = format!("{error:#}; the old certificates stay in use{advice}");
                    tracing::error!(error, "the TLS files cannot be used");
                    health.set(TLS, ComponentState::Degraded, error);
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether the files had changed.
    fn reload(&self) -> anyhow::Result<bool> {
        let now = contents(&self.files);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return Ok(false);
        }
        *seen = now;
        let fresh = Arc::new(server_config(&self.files)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(true)
    }
}

/// What to do about it, where the files are not for this user.
fn advice(files: &TlsFiles) -> &'static str {
    let is_refused = |path: &Path| {
        fs::File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    if files.paths().any(is_refused) {
        ", and renewed ones will not be used: let the user that the agent became read the files \
         (privileges.user, --user)"
    } else {
        ""
    }
}

fn contents(files: &TlsFiles) -> Contents {
    files.paths().map(|path| fs::read(path).map_err(|error| error.to_string())).collect()
}

fn server_config(files: &TlsFiles) -> anyhow::Result<ServerConfig> {
    let certificate = files.certificate.as_deref().context("http.tls.certificate is missing")?;
    let key_file = files.key.as_deref().context("http.tls.key is missing")?;
    let chain = pem::certificates(certificate)?;
    let key = pem::private_key(key_file)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("use TLS 1.2 and 1.3")?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = pem::authorities(path)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .with_context(|| format!("use the client authorities of {}", path.display()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).with_context(|| {
        format!("use {} with the key {}", certificate.display(), key_file.display())
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
