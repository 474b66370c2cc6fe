//! `hopsight-rustls ADDRESS SERVER_NAME ROOT [CHAIN KEY]`: one HTTP request over rustls.
//!
//! A TLS client whose library is linked in statically and has no symbols to probe. Prints the HTTP
//! status, or 0 if the server did not answer. Without arguments it waits for the end of its input.

use std::{
    env,
    io::{self, Read as _, Write as _},
    path::Path,
    sync::Arc,
};

use anyhow::Context as _;
use hopsight_tests::http;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    if args.is_empty() {
        println!("idle");
        io::stdin().read_to_end(&mut Vec::new()).context("wait")?;
        return Ok(());
    }
    let [address, name, root, identity @ ..] = args.as_slice() else {
        anyhow::bail!("arguments: ADDRESS SERVER_NAME ROOT [CHAIN KEY]")
    };
    let address = address.parse().context("read ADDRESS")?;
    let server = ServerName::try_from(name.clone()).context("read SERVER_NAME")?;
    let config = configure(Path::new(root), identity)?;
    let session = ClientConnection::new(Arc::new(config), server).context("start a session")?;
    let mut stream = StreamOwned::new(session, http::connect(address)?);
    let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    let mut response = Vec::new();
    let exchange = stream
        .write_all(request.as_bytes())
        .and_then(|()| stream.read_to_end(&mut response).map(drop));
    if let Err(error) = exchange {
        eprintln!("{error}");
    }
    println!("{}", status(&response).unwrap_or(0));
    Ok(())
}

fn configure(root: &Path, identity: &[String]) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(root).context("read ROOT")?).context("add ROOT")?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("choose versions")?
        .with_root_certificates(roots);
    let [chain, key] = identity else { return Ok(builder.with_no_client_auth()) };
    let chain: Result<_, _> = CertificateDer::pem_file_iter(chain).context("read CHAIN")?.collect();
    let key = PrivateKeyDer::from_pem_file(key).context("read KEY")?;
    builder.with_client_auth_cert(chain.context("parse CHAIN")?, key).context("use the certificate")
}

/// Status code of an HTTP/1.1 response.
fn status(response: &[u8]) -> Option<u16> {
    let line = String::from_utf8_lossy(response.get(..12)?).into_owned();
    line.strip_prefix("HTTP/1.1 ")?.parse().ok()
}
