//! What is said about each watched process: library evidence, or why there is none.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::placement::{Hook, Placement, Selection};
use hopsight_core::vocabulary;

vocabulary! {
    /// Why a process gives no library evidence; its TLS 1.3 hops are inferred from record lengths.
    NoLibrary {
        /// A TLS library is linked into the program that no probe looks into.
        StaticTls => "static_tls",
        /// A TLS library other than OpenSSL (GnuTLS, NSS, ...).
        NotOpenssl => "not_openssl",
        /// No TLS library is mapped (yet).
        NoTlsLibrary => "no_tls_library",
        /// The agent may not read the process's mappings or files, or may not attach.
        NoPermission => "no_permission",
        /// The calls that show the handshake were not found in this build.
        UnsupportedBuild => "unsupported_build",
        /// The kernel refused a probe.
        AttachFailed => "attach_failed",
        /// The probes were hit far more often than handshakes happen, and were taken out.
        TooManyHits => "too_many_hits",
        /// The user of the process has as many files probed, or looked into, as one may have.
        BeyondQuota => "beyond_quota",
        /// Probing is paused by the sampling mode.
        Paused => "paused",
        /// The process ended.
        Gone => "gone",
    }
}

/// The library whose handshakes are seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is something that is seen or not")]
pub struct ProbedLibrary {
    /// Path in the mount namespace of the process.
    pub path: PathBuf,
    /// What it is called, such as `OpenSSL 3.0.22`, `Go 1.27.1 crypto/tls` or `BoringSSL`.
    pub version: Option<String>,
    /// GNU build id in hexadecimal.
    pub build_id: Option<String>,
    /// Places at which handshake messages are seen.
    pub transcript_calls: usize,
    /// Calls of the function whose calls show them; see [`Placement::digest_calls`].
    pub digest_calls: usize,
    /// How the transcript calls were told from the others.
    pub selection: Selection,
    /// Probes on the library whose instruction the kernel cannot emulate; each of their hits costs
    /// a second exception.
    pub single_stepped: usize,
    /// Whether the result of chain verification is seen.
    pub sees_verification: bool,
    /// Whether received alerts and other TLS errors are seen.
    pub sees_errors: bool,
    /// Whether the tickets are seen that servers give, by which resumed sessions are known.
    #[serde(default)]
    pub sees_tickets: bool,
    /// Whether the application's own questions about verification are seen (nginx).
    pub sees_enforcement: bool,
}

impl ProbedLibrary {
    /// Describes a placed library.
    #[must_use]
    pub fn new(
        path: PathBuf,
        version: Option<String>,
        build_id: Option<String>,
        placement: &Placement,
    ) -> Self {
        Self {
            path,
            version,
            build_id,
            transcript_calls: placement.transcript_calls(),
            digest_calls: placement.digest_calls,
            selection: placement.selection,
            single_stepped: placement.points.iter().filter(|point| !point.emulated).count(),
            sees_verification: placement.has_any(&[
                Hook::VerifyResult,
                Hook::GoVerified,
                Hook::BoringChain,
            ]),
            sees_errors: placement.has_any(&[Hook::ErrorRaised, Hook::ErrorPut, Hook::BoringAlert]),
            sees_tickets: placement.points.iter().any(|point| point.hook.shows_tickets()),
            sees_enforcement: false,
        }
    }
}

/// Whether a process gives library evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "evidence", rename_all = "snake_case")]
pub enum LibraryEvidence {
    /// It does, from this library.
    Library(ProbedLibrary),
    /// It does not.
    Inferred {
        /// Why.
        reason: NoLibrary,
        /// What exactly, for a person.
        detail: String,
    },
}

/// Library evidence of one watched process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryStatus {
    /// Process id.
    pub pid: u32,
    /// Name it is watched under.
    pub name: String,
    /// Its evidence.
    #[serde(flatten)]
    pub evidence: LibraryEvidence,
}

impl LibraryEvidence {
    /// Whether it is missing only for now.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        matches!(self, Self::Inferred { reason: NoLibrary::Paused, .. })
    }
}

impl fmt::Display for LibraryEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library(library) => {
                let version = library.version.as_deref().unwrap_or("OpenSSL");
                write!(
                    f,
                    "library: {version} ({}, {} of {} calls)",
                    library.path.display(),
                    library.transcript_calls,
                    library.digest_calls
                )
            }
            Self::Inferred { reason, detail } => write!(f, "inferred ({reason}: {detail})"),
        }
    }
}
