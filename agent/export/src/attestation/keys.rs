//! Ed25519 keys (RFC 8032) from PEM files: private ones as PKCS #8 (RFC 5958, RFC 8410), public ones as
//! SubjectPublicKeyInfo, as `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write them.

use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, pem::PemObject as _};

use hopsight_core::tls::fingerprint::Fingerprint;

/// What stands before the 32 bytes of the key in a SubjectPublicKeyInfo (RFC 8410 section 10.1).
const INFO: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// How a key is made, for people.
const HOW: &str = "`openssl genpkey -algorithm ed25519 -out key.pem` makes one";

/// A key that signs.
#[derive(Debug)]
pub struct SigningKey(Ed25519KeyPair);

/// A key that verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey([u8; 32]);

impl SigningKey {
    /// The private key of a file.
    ///
    /// # Errors
    /// The file cannot be read, or holds no Ed25519 key in the clear.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let der = PrivatePkcs8KeyDer::from_pem_file(path).map_err(|error| {
            anyhow!("{}: no private key (PEM, BEGIN PRIVATE KEY): {error}; {HOW}", path.display())
        })?;
        // What openssl writes has no public key in it.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
        let pair = pair.map_err(|error| {
            anyhow!("{}: this private key is no Ed25519 key ({error}); {HOW}", path.display())
        })?;
        Ok(Self(pair))
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub fn public(&self) -> VerifyingKey {
        VerifyingKey(self.0.public_key().as_ref().try_into().unwrap_or_default())
    }

    /// The signature of `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

impl VerifyingKey {
    /// The public key of a file.
    ///
    /// # Errors
    /// The file cannot be read, or holds no Ed25519 key.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let info = SubjectPublicKeyInfoDer::from_pem_file(path).map_err(|error| {
            anyhow!(
                "{}: no public key (PEM, BEGIN PUBLIC KEY): {error}; `openssl pkey -in key.pem \
                 -pubout -out key.pub` writes that of a private one",
                path.display()
            )
        })?;
        Self::from_info(&info).with_context(|| format!("read the key of {}", path.display()))
    }

    fn from_info(info: &[u8]) -> anyhow::Result<Self> {
        let Some(key) = info.strip_prefix(&INFO[..]) else {
            bail!("it is no Ed25519 key; {HOW}");
        };
        Ok(Self(key.try_into().context("an Ed25519 key has 32 bytes")?))
    }

    /// What tells it from others: SHA-256 of its SubjectPublicKeyInfo.
    #[must_use]
    pub fn id(&self) -> Fingerprint {
        Fingerprint::of(&[&INFO[..], &self.0].concat())
    }

    /// Whether `signature` is that of `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}
