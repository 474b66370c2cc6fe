//! Chains of which something is wrong.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};

use super::{Authority, CLIENT_NAME, DOMAIN, Identity, authority_params, leaf, write};

/// Certificates of upstreams, and the CA that most of them lead to.
#[derive(Debug)]
pub struct Chains {
    /// That CA, PEM.
    pub root: PathBuf,
    /// All is well: leaf and intermediate.
    pub good: Identity,
    /// Of another CA.
    pub of_another: Identity,
    /// Of another CA and another subject, with the key of [`Chains::good`].
    pub with_its_key: Identity,
    /// The intermediate has ended in 2021.
    pub ended_intermediate: Identity,
    /// The intermediate is not sent.
    pub without_intermediate: Identity,
    /// Revoked by a list in [`Chains::lists`].
    pub revoked: Identity,
    /// The CA of the proxy's, PEM.
    pub clients_root: PathBuf,
    /// The proxy's: leaf and CA.
    pub client: Identity,
    /// The same, revoked by a list in [`Chains::lists`].
    pub revoked_client: Identity,
    /// What the upstream and the proxy present before and after a renewal.
    pub renewal: [[Identity; 2]; 2],
    /// A directory with lists of the CAs of the certificates that are good or revoked.
    pub lists: PathBuf,
}

impl Chains {
    /// Makes them in `dir`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn create(dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let root = Authority::root("hopsight chains root")?;
        let intermediate = root.intermediate("hopsight chains intermediate", Vec::new())?;
        let another = Authority::root("hopsight chains other root")?;
        let server =
            leaf("server", &[&format!("*.{DOMAIN}")], ExtendedKeyUsagePurpose::ServerAuth)?;
        let mut params = authority_params("hopsight chains ended")?;
        (params.not_before, params.not_after) =
            (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        let key = KeyPair::generate().context("generate key")?;
        let certificate = params.signed_by(&key, &root.issuer).context("sign intermediate")?.pem();
        let tail = certificate.clone();
        let ended = Authority { issuer: Issuer::new(params, key), certificate, tail };
        let mut silent = root.intermediate("hopsight chains unsent", Vec::new())?;
        silent.tail.clear();
        let revoked = intermediate.issue(dir, "revoked", &server)?;
        let mut clients = Authority::root("hopsight chains clients")?;
        clients.tail.clone_from(&clients.certificate);
        let client = leaf(CLIENT_NAME, &[CLIENT_NAME], ExtendedKeyUsagePurpose::ClientAuth)?;
        let revoked_client = clients.issue(dir, "revoked-client", &client)?;
        let (mut new_server, mut new_client) = (server.clone(), client.clone());
        for params in [&mut new_server, &mut new_client] {
            params.not_before = date_time_ymd(2026, 1, 1);
        }
        let issue = |by: &Authority, name: &str, [old, new]: [&CertificateParams; 2]| {
            let new = by.issue(dir, &format!("{name}-new"), new)?;
            anyhow::Ok([by.issue(dir, &format!("{name}-old"), old)?, new])
        };
        let renewal = [
            issue(&intermediate, "server", [&server, &new_server])?,
            issue(&clients, "client", [&client, &new_client])?,
        ];
        let lists = dir.join("lists");
        std::fs::create_dir_all(&lists).with_context(|| format!("create {}", lists.display()))?;
        write(&lists, "intermediate.pem", &intermediate.list(&[&revoked])?)?;
        write(&lists, "clients.pem", &clients.list(&[&revoked_client])?)?;
        let key = KeyPair::generate().context("generate key")?;
        let second = leaf("second", &[DOMAIN], ExtendedKeyUsagePurpose::ServerAuth)?;
        Ok(Self {
            with_its_key: another.issue_for(&key, dir, "with-its-key", &second)?,
            client: clients.issue(dir, "client", &client)?,
            clients_root: write(dir, "clients-root.pem", &clients.certificate)?,
            revoked,
            renewal,
            revoked_client,
            lists,
            root: write(dir, "root.pem", &root.certificate)?,
            good: intermediate.issue_for(&key, dir, "good", &server)?,
            of_another: another.issue(dir, "of-another", &server)?,
            ended_intermediate: ended.issue(dir, "ended", &server)?,
            without_intermediate: silent.issue(dir, "unsent", &server)?,
        })
    }
}
