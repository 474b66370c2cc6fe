//! An upstream that demands a client certificate and, once it has the client's flight, ends the
//! connection without a word: no Finished, no ticket, no alert.

use std::{
    io::Read as _,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::Context as _;
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

use crate::pki::Pki;

/// How it ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It closes: a FIN, for nothing is unread.
    Fin,
    /// It resets.
    Rst,
}

/// The upstream; it runs until it is dropped.
#[derive(Debug)]
pub struct Dropping {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dropping {
    /// Listens on `address` and speaks this version only.
    ///
    /// # Errors
    /// When the key material cannot be read or the address is taken.
    pub fn start(
        address: SocketAddr,
        version: &'static SupportedProtocolVersion,
        ending: Ending,
        pki: &Pki,
    ) -> anyhow::Result<Self> {
        let config = Arc::new(configure(version, &pki.root, pki)?);
        let listener =
            TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
        let stop = Arc::<AtomicBool>::default();
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                for stream in listener.incoming().flatten() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    // A client that leaves by itself is its own affair.
                    let _ = serve(stream, &config, ending);
                }
            }
        });
        Ok(Self { address, stop, thread: Some(thread) })
    }
}

impl Drop for Dropping {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It waits for a connection, and looks when one comes.
        let woken = TcpStream::connect(self.address).is_ok();
        let ended = !woken || self.thread.take().is_none_or(|thread| thread.join().is_ok());
        assert!(ended || thread::panicking(), "the upstream panicked");
    }
}

fn configure(
    version: &'static SupportedProtocolVersion,
    root: &Path,
    pki: &Pki,
) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(root).context("read the root")?)?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .context("make the verifier")?;
    let chain: Result<_, _> = CertificateDer::pem_file_iter(&pki.server.chain)?.collect();
    let key = PrivateKeyDer::from_pem_file(&pki.server.key).context("read the key")?;
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain?, key)
        .context("use the certificate")
}

/// Goes on with the handshake until the client's Finished was read, and ends it there.
fn serve(mut stream: TcpStream, config: &Arc<ServerConfig>, ending: Ending) -> anyhow::Result<()> {
    let mut session = ServerConnection::new(Arc::clone(config))?;
    while session.is_handshaking() {
        anyhow::ensure!(session.read_tls(&mut stream)? > 0, "the client left");
        session.process_new_packets()?;
        // The last thing it would say is what shows that it accepted: it stays unsaid.
        if session.is_handshaking() {
            while session.wants_write() {
                session.write_tls(&mut stream)?;
            }
        }
    }
    anyhow::ensure!(session.peer_certificates().is_some(), "the client showed no certificate");
    match ending {
        Ending::Rst => {
            let socket =
                rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO));
            socket.context("make the close a reset")?;
        }
        Ending::Fin => {
            // What is unread would make it a reset: the request that followed the flight.
            stream.set_nonblocking(true)?;
            let mut request = [0; 4096];
            while stream.read(&mut request).is_ok_and(|n| n > 0) {}
        }
    }
    Ok(())
}
