//! Certificates for the upstreams and their clients, made for every run.

mod chains;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension,
    DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

pub use chains::Chains;

/// Every upstream is known under a name of this domain.
pub const DOMAIN: &str = "upstream.test";

/// Common name of the authority that issues the trusted certificates.
pub const ISSUER_NAME: &str = "hopsight test intermediate";

/// Common name of the proxies' own certificate.
pub const CLIENT_NAME: &str = "proxy.hopsight.test";

/// A certificate chain and its key, as the programs need them.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Leaf and intermediates, PEM.
    pub chain: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// Both in one file, as haproxy needs them.
    pub bundle: PathBuf,
    /// Subject of the leaf.
    pub subject: String,
    /// Serial number of the leaf, lower-case hexadecimal.
    pub serial: String,
}

/// All key material of a run.
#[derive(Clone, Debug)]
pub struct Pki {
    /// The root that upstreams and proxies trust.
    pub root: PathBuf,
    /// A root that signed nothing here.
    pub foreign_root: PathBuf,
    /// Upstream certificate for every name below [`DOMAIN`]: leaf and intermediate.
    pub server: Identity,
    /// The same, expired since 2021.
    pub expired_server: Identity,
    /// The same as [`Pki::server`], with a day left of a hundred.
    pub ending_server: Identity,
    /// The proxies' certificate.
    pub client: Identity,
    /// A client certificate of an authority that no upstream trusts.
    pub foreign_client: Identity,
}

impl Pki {
    /// Makes everything in `dir`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn create(dir: &Path) -> anyhow::Result<Self> {
        Self::padded(dir, 0, 0)
    }

    /// The same, with chains that are so many bytes larger, the upstream's and the proxies': half of
    /// it in the leaf, half in the intermediate, as a private extension that everybody reads past.
    ///
    /// # Errors
    /// As [`Pki::create`].
    pub fn padded(dir: &Path, server: usize, client: usize) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let root = Authority::root("hopsight test root")?;
        let (server_padding, client_padding) = (padding(server / 2), padding(client / 2));
        let server_issuer = root.intermediate(ISSUER_NAME, server_padding.clone())?;
        let client_issuer = root.intermediate(ISSUER_NAME, client_padding.clone())?;
        let foreign = Authority::root("hopsight foreign root")?;

        let mut server =
            leaf("server", &[&format!("*.{DOMAIN}")], ExtendedKeyUsagePurpose::ServerAuth)?;
        let mut expired = server.clone();
        expired.not_before = date_time_ymd(2020, 1, 1);
        expired.not_after = date_time_ymd(2021, 1, 1);
        let mut ending = server.clone();
        let now = date_time_ymd(1970, 1, 1)
            + SystemTime::now().duration_since(UNIX_EPOCH).context("read the clock")?;
        ending.not_before = now - Duration::from_hours(99 * 24);
        ending.not_after = now + Duration::from_hours(24);
        server.custom_extensions = server_padding;
        let mut client = leaf(CLIENT_NAME, &[CLIENT_NAME], ExtendedKeyUsagePurpose::ClientAuth)?;
        client.custom_extensions = client_padding;

        Ok(Self {
            root: write(dir, "root.pem", &root.certificate)?,
            foreign_root: write(dir, "foreign-root.pem", &foreign.certificate)?,
            server: server_issuer.issue(dir, "server", &server)?,
            expired_server: server_issuer.issue(dir, "expired-server", &expired)?,
            ending_server: server_issuer.issue(dir, "ending-server", &ending)?,
            client: client_issuer.issue(dir, "client", &client)?,
            foreign_client: foreign.issue(dir, "foreign-client", &client)?,
        })
    }
}

/// A client's certificate of an authority that nobody trusts, which ends after so long.
///
/// # Errors
/// When a file cannot be written.
pub fn ending_client(dir: &Path, name: &str, ends_in: Duration) -> anyhow::Result<Identity> {
    let now = date_time_ymd(1970, 1, 1)
        + SystemTime::now().duration_since(UNIX_EPOCH).context("read the clock")?;
    let mut client = leaf(CLIENT_NAME, &[CLIENT_NAME], ExtendedKeyUsagePurpose::ClientAuth)?;
    client.not_before = now - Duration::from_hours(1);
    client.not_after = now + ends_in;
    Authority::root("hopsight ending root")?.issue(dir, name, &client)
}

/// A client's certificate, and a list of its authority that revokes it.
#[derive(Debug)]
pub struct Revocable {
    /// The certificate.
    pub client: Identity,
    /// A list in which it does not stand, PEM.
    pub empty: String,
    /// One in which it does.
    pub revoking: String,
}

/// A client's certificate of an authority that nobody trusts, and lists of that authority.
///
/// # Errors
/// When a file cannot be written.
pub fn revocable_client(dir: &Path, name: &str) -> anyhow::Result<Revocable> {
    let authority = Authority::root("hopsight revoking root")?;
    let client = leaf(CLIENT_NAME, &[CLIENT_NAME], ExtendedKeyUsagePurpose::ClientAuth)?;
    let client = authority.issue(dir, name, &client)?;
    Ok(Revocable { empty: authority.list(&[])?, revoking: authority.list(&[&client])?, client })
}

/// An extension of this many bytes under a number for documentation (RFC 5612); none for 0.
fn padding(bytes: usize) -> Vec<CustomExtension> {
    const OID: &[u64] = &[1, 3, 6, 1, 4, 1, 32_473, 1];
    let extension = CustomExtension::from_oid_content(OID, vec![0x55; bytes]);
    if bytes == 0 { Vec::new() } else { vec![extension] }
}

/// A certificate authority that can sign.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, PEM.
    certificate: String,
    /// What follows a leaf in the chain: this certificate, except for a root's.
    tail: String,
}

impl Authority {
    fn root(name: &str) -> anyhow::Result<Self> {
        let params = authority_params(name)?;
        let key = KeyPair::generate().context("generate key")?;
        let certificate = params.self_signed(&key).context("sign root")?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate, tail: String::new() })
    }

    fn intermediate(&self, name: &str, padding: Vec<CustomExtension>) -> anyhow::Result<Self> {
        let mut params = authority_params(name)?;
        params.custom_extensions = padding;
        let key = KeyPair::generate().context("generate key")?;
        let certificate = params.signed_by(&key, &self.issuer).context("sign intermediate")?.pem();
        let tail = certificate.clone();
        Ok(Self { issuer: Issuer::new(params, key), certificate, tail })
    }

    /// A list of its own that revokes these, PEM.
    fn list(&self, revoked: &[&Identity]) -> anyhow::Result<String> {
        let entry = |revoked: &&Identity| {
            let (digits, _) = revoked.serial.as_bytes().as_chunks::<2>();
            let byte = |pair: &[u8; 2]| anyhow::Ok(u8::from_str_radix(str::from_utf8(pair)?, 16)?);
            let serial = digits.iter().map(byte).collect::<Result<Vec<_>, _>>()?;
            anyhow::Ok(RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: date_time_ymd(2024, 2, 1),
                reason_code: None,
                invalidity_date: None,
            })
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 2, 1),
            next_update: date_time_ymd(2074, 2, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect::<Result<_, _>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).context("sign a revocation list")?;
        list.pem().context("write a revocation list as PEM")
    }

    fn issue(
        &self,
        dir: &Path,
        name: &str,
        params: &CertificateParams,
    ) -> anyhow::Result<Identity> {
        self.issue_for(&KeyPair::generate().context("generate key")?, dir, name, params)
    }

    /// The same for a key that there is.
    fn issue_for(
        &self,
        key: &KeyPair,
        dir: &Path,
        name: &str,
        params: &CertificateParams,
    ) -> anyhow::Result<Identity> {
        let serial = serial_number(key);
        let mut params = params.clone();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let leaf = params.signed_by(key, &self.issuer).context("sign leaf")?;
        let chain = leaf.pem() + &self.tail;
        let key = key.serialize_pem();
        Ok(Identity {
            chain: write(dir, &format!("{name}.pem"), &chain)?,
            key: write(dir, &format!("{name}.key"), &key)?,
            bundle: write(dir, &format!("{name}.bundle"), &(chain + &key))?,
            subject: common_name(&params),
            serial: hopsight_core::model::hex(&serial),
        })
    }
}

/// A number of its own for every key, positive and without leading zeros.
fn serial_number(key: &KeyPair) -> [u8; 16] {
    let mut serial = [0; 16];
    for (to, from) in serial.iter_mut().zip(key.public_key_raw().iter().rev()) {
        *to = *from;
    }
    serial[0] = serial[0] & 0x7f | 0x10;
    serial
}

/// `CN=…`, all that the subjects here consist of.
fn common_name(params: &CertificateParams) -> String {
    match params.distinguished_name.get(&DnType::CommonName) {
        Some(DnValue::Utf8String(name)) => format!("CN={name}"),
        _ => String::new(),
    }
}

fn authority_params(name: &str) -> anyhow::Result<CertificateParams> {
    let mut params = named(name, &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf(
    name: &str,
    alternative_names: &[&str],
    usage: ExtendedKeyUsagePurpose,
) -> anyhow::Result<CertificateParams> {
    let mut params = named(name, alternative_names)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn named(name: &str, alternative_names: &[&str]) -> anyhow::Result<CertificateParams> {
    let names: Vec<String> = alternative_names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).context("set alternative names")?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn write(dir: &Path, name: &str, content: &str) -> anyhow::Result<PathBuf> {
    let path = dir.join(name);
    fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
