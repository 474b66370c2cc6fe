//! Certificates and keys of both sides, of two kinds, as the programs want them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hopsight_tests::{
    nginx::utf8,
    process::{self, find},
};

/// What protects the keys in [`Pair::store`]: Java wants six characters.
pub const PASSWORD: &str = "secret";

/// A certificate, signed by its own key.
#[derive(Debug)]
pub struct Pair {
    /// Its name in NSS's database.
    pub name: &'static str,
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Both, as PEM.
    pub bundle: PathBuf,
    /// Both, as PKCS #12.
    pub store: PathBuf,
}

/// One of each kind.
#[derive(Debug)]
pub struct Keys {
    pub ecdsa: Pair,
    pub rsa: Pair,
    /// NSS's database.
    pub nss: PathBuf,
}

impl Keys {
    pub fn create(dir: &Path) -> anyhow::Result<Self> {
        let ecdsa = Pair::create(dir, "ecdsa", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"])?;
        let rsa = Pair::create(dir, "rsa", &["rsa:2048"])?;
        let nss = dir.join("nss");
        std::fs::create_dir_all(&nss).context("create NSS's folder")?;
        if find("certutil").is_some() && find("pk12util").is_some() {
            let database = utf8(&nss)?;
            process::run("certutil", ["-N", "-d", database, "--empty-password"])?;
            for pair in [&ecdsa, &rsa] {
                let store = utf8(&pair.store)?;
                process::run("pk12util", ["-d", database, "-i", store, "-W", PASSWORD])?;
            }
        }
        Ok(Self { ecdsa, rsa, nss })
    }
}

impl Pair {
    fn create(dir: &Path, name: &'static str, kind: &[&str]) -> anyhow::Result<Self> {
        let path = |end: &str| dir.join(format!("{name}.{end}"));
        let (certificate, key) = (path("pem"), path("key"));
        let (bundle, store) = (path("bundle"), path("p12"));
        let subject = format!("/CN={name}");
        let mut words = vec!["req", "-x509", "-days", "2", "-nodes", "-subj", &subject];
        words.extend(["-out", utf8(&certificate)?, "-keyout", utf8(&key)?, "-newkey"]);
        words.extend(kind);
        process::run("openssl", words)?;
        let read = |path| std::fs::read(path).context("read what was made");
        let both = [read(&certificate)?, read(&key)?].concat();
        std::fs::write(&bundle, both).context("write both")?;
        let password = format!("pass:{PASSWORD}");
        let mut words = vec!["pkcs12", "-export", "-passout", &password, "-name", name];
        words.extend(["-in", utf8(&bundle)?, "-out", utf8(&store)?]);
        process::run("openssl", words)?;
        Ok(Self { name, certificate, key, bundle, store })
    }
}
