//! DSSE, the envelope of in-toto: a payload, its type, and signatures of both together
//! (github.com/secure-systems-lab/dsse, protocol and envelope, version 1.0).

use anyhow::{Context as _, bail, ensure};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use serde::{Deserialize, Serialize};

use super::keys::{SigningKey, VerifyingKey};

/// The payload's type of in-toto statements.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";
/// Most signatures that are looked at.
const MAX_SIGNATURES: usize = 16;

/// An envelope, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// Base64.
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Signature {
    /// A hint which key made it; it is not signed, and decides nothing.
    #[serde(default)]
    keyid: String,
    /// Base64.
    sig: String,
}

impl Envelope {
    /// Signs a statement.
    #[must_use]
    pub fn seal(statement: &[u8], key: &SigningKey) -> Self {
        let signature = key.sign(&signed(IN_TOTO, statement));
        let keyid = key.public().id().to_string();
        Self {
            payload: STANDARD.encode(statement),
            payload_type: IN_TOTO.to_owned(),
            signatures: vec![Signature { keyid, sig: STANDARD.encode(signature) }],
        }
    }

    /// The statement, if one of the keys has signed it.
    ///
    /// # Errors
    /// None has, or it is an envelope of something else.
    pub fn open(&self, keys: &[VerifyingKey]) -> anyhow::Result<Vec<u8>> {
        let payload = decode(&self.payload).context("read its payload")?;
        let message = signed(&self.payload_type, &payload);
        let mut signatures = self.signatures.iter().take(MAX_SIGNATURES);
        let is_good = signatures.any(|one| {
            let signature = decode(&one.sig).unwrap_or_default();
            keys.iter().any(|key| key.verifies(&message, &signature))
        });
        ensure!(is_good, "no key that was given has signed it");
        if self.payload_type != IN_TOTO {
            bail!("it holds {:?}, not {IN_TOTO}", self.payload_type);
        }
        Ok(payload)
    }
}

/// What is signed of a payload: its pre-authentication encoding.
fn signed(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Either alphabet, as DSSE wants it.
fn decode(text: &str) -> anyhow::Result<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).context("it is no base64")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification (protocol.md).
    #[test]
    fn what_is_signed_is_as_specified() {
        let encoded = signed("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn both_alphabets_are_read() {
        for text in ["+/8=", "-_8="] {
            assert_eq!(decode(text).unwrap(), [0xfb, 0xff], "{text}");
        }
        assert!(decode("*").is_err());
    }
}
