//! An account as an in-toto statement, version 1
//! (github.com/in-toto/attestation, spec/v1/statement.md).

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use hopsight_core::tls::fingerprint::Fingerprint;
use hopsight_posture::audit::account::{ACCOUNT_VERSION, Account};

/// The type of a statement.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The type of what is stated. A name, not a place: nothing is fetched.
pub const PREDICATE: &str = "urn:hopsight:account:v1";

/// A statement, as it is signed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    /// The answers of `/hops` that it is about, by their digests.
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: Account,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Subject {
    name: String,
    digest: Digest,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Digest {
    sha256: Fingerprint,
}

impl Statement {
    /// States an account.
    #[must_use]
    pub fn of(account: Account) -> Self {
        let subject = account.nodes.iter().map(|node| Subject {
            name: node.source.to_string(),
            digest: Digest { sha256: node.sha256 },
        });
        Self {
            kind: STATEMENT.to_owned(),
            subject: subject.collect(),
            predicate_type: PREDICATE.to_owned(),
            predicate: account,
        }
    }

    /// As it is signed.
    ///
    /// # Errors
    /// Never: it has a JSON form.
    pub fn to_json(&self) -> anyhow::Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }

    /// Reads what was signed.
    ///
    /// # Errors
    /// It is a statement of another kind, or of a version that this program does not know.
    pub fn parse(json: &[u8]) -> anyhow::Result<Account> {
        /// What says whether the rest can be read.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Head {
            #[serde(rename = "_type")]
            kind: String,
            predicate_type: String,
        }
        let Head { kind, predicate_type } =
            serde_json::from_slice(json).context("read it as an in-toto statement")?;
        ensure!(kind == STATEMENT, "it is a {kind:?}, not a {STATEMENT:?}");
        ensure!(
            predicate_type == PREDICATE,
            "it states {predicate_type:?}, not an account ({PREDICATE:?})"
        );
        let statement: Self = serde_json::from_slice(json).context("read its account")?;
        let account = &statement.predicate;
        ensure!(
            account.account_version == ACCOUNT_VERSION,
            "its account has version {}; this program reads {ACCOUNT_VERSION}",
            account.account_version
        );
        let named = statement.subject.iter().map(|subject| subject.digest.sha256);
        let told = account.nodes.iter().map(|node| node.sha256);
        ensure!(named.eq(told), "its subjects are not the nodes of its account");
        Ok(statement.predicate)
    }
}
