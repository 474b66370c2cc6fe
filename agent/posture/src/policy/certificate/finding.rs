//! What the files of a configured client certificate say, in the words of the output.

use hopsight_core::{tls::certificate_facts::CertificateFacts, vocabulary};
use serde::{Deserialize, Serialize};

use super::{Chain, Configured, KeyMatch, NotConfigured};
use crate::policy::time::UnixTime;

vocabulary! {
    /// Where a chain leads.
    ChainWord {
        /// To the CA file of the route, for its name.
        Trusted => "trusted",
        /// To a CA whose name the upstream has in its request for it; nobody checked that it is that CA.
        Named => "named",
        /// It ends before one of those CAs: the issuer of its last certificate is neither in it nor
        /// trusted.
        Incomplete => "incomplete",
        /// It leads to a CA that is not trusted.
        OtherCa => "other_ca",
        /// An issuer of the right name did not sign it.
        NotSigned => "not_signed",
        /// A certificate in it is outside of its validity.
        NotValidNow => "not_valid_now",
        /// It leads there, and is for another name.
        WrongName => "wrong_name",
        /// A key in it may not be used for this.
        WrongUsage => "wrong_usage",
        /// A CA in it may not issue certificates for these names.
        NameConstraints => "name_constraints",
        /// There are more CAs in it than one of them allows below itself.
        TooLong => "too_long",
        /// It cannot be told: no CA is configured, a file cannot be read, or an algorithm is not known.
        Unknown => "unknown",
    }
}

impl ChainWord {
    /// Whether it does not lead to what is trusted, of which one can be sure.
    #[must_use]
    pub const fn is_broken(self) -> bool {
        !matches!(self, Self::Trusted | Self::Named | Self::Unknown)
    }
}

vocabulary! {
    /// Whether the private key belongs to the certificate.
    KeyWord {
        /// It does.
        Matches => "matches",
        /// It does not: nginx would not start with these files.
        Differs => "differs",
        /// It was not read, or does not show its public half.
        Unknown => "unknown",
    }
}

/// What is known of a client certificate that a configuration names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFinding {
    /// The certificate; absent where its file cannot be used.
    pub certificate: Option<CertificateFacts>,
    /// Where its chain leads.
    pub chain: ChainWord,
    /// Whether its key file belongs to it.
    pub key: KeyWord,
    /// What is wrong with it, for people; nothing where all is well.
    pub problems: Vec<String>,
}

impl CertificateFinding {
    /// The finding on what was read at `now`; `None` where no certificate is configured, it is in no
    /// file, or the request decides which.
    #[must_use]
    pub fn of(read: &Result<Configured, NotConfigured>, now: UnixTime) -> Option<Self> {
        let configured = match read {
            Ok(configured) => configured,
            Err(NotConfigured::None | NotConfigured::Variable(_) | NotConfigured::NotAFile(_)) => {
                return None;
            }
            Err(error) => {
                return Some(Self {
                    certificate: None,
                    chain: ChainWord::Unknown,
                    key: KeyWord::Unknown,
                    problems: vec![error.to_string()],
                });
            }
        };
        let mut problems = Vec::new();
        let chain = match &configured.chain {
            None => ChainWord::Unknown,
            Some(Err(error)) => {
                problems.push(format!("the CA file cannot be used: {error}"));
                ChainWord::Unknown
            }
            Some(Ok(chain)) => {
                let (word, problem) = chain_words(chain);
                problems.extend(problem);
                word
            }
        };
        let key = match configured.key {
            KeyMatch::Yes => KeyWord::Matches,
            KeyMatch::No => {
                problems.push("the private key does not belong to the certificate".to_owned());
                KeyWord::Differs
            }
            KeyMatch::Unknown(_) => KeyWord::Unknown,
        };
        let ended = configured.facts.not_after < i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if ended && chain != ChainWord::NotValidNow {
            problems.push("the certificate has ended".to_owned());
        }
        Some(Self { certificate: Some(configured.facts.clone()), chain, key, problems })
    }
}

fn chain_words(chain: &Chain) -> (ChainWord, Option<String>) {
    match chain {
        Chain::Trusted { .. } => (ChainWord::Trusted, None),
        Chain::NotSigned { subject } => (
            ChainWord::NotSigned,
            Some(format!("\"{subject}\" was not signed by the issuer it names")),
        ),
        Chain::NotValidNow { subject } => {
            (ChainWord::NotValidNow, Some(format!("\"{subject}\" is outside of its validity")))
        }
        // What the proxy trusts of others need not be what others trust of it.
        Chain::Incomplete { .. } | Chain::Unsupported { .. } => (ChainWord::Unknown, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::certificate::{CertificateError, NoAnswer};

    fn configured(chain: Option<Result<Chain, CertificateError>>, key: KeyMatch) -> Configured {
        Configured { facts: crate::hops::testing::certificate("proxy", 2_000), chain, key }
    }

    #[test]
    fn findings() {
        let trusted = || Some(Ok(Chain::Trusted { ca: "CN=CA".into() }));
        let incomplete = || Some(Ok(Chain::Incomplete { missing: "CN=Sub".into() }));
        let unread = KeyMatch::Unknown(NoAnswer::NotAsked);
        for (name, chain, key, now, words, problems) in [
            ("all well", trusted(), KeyMatch::Yes, 1_000, ("trusted", "matches"), vec![]),
            ("no CA named", None, unread, 1_000, ("unknown", "unknown"), vec![]),
            ("of others", incomplete(), unread, 1_000, ("unknown", "unknown"), vec![]),
            ("other key", trusted(), KeyMatch::No, 1_000, ("trusted", "differs"), vec!["key"]),
            ("ended", None, unread, 3_000, ("unknown", "unknown"), vec!["ended"]),
            (
                "no certificate in the CA file",
                Some(Err(CertificateError::NoCertificate)),
                unread,
                1_000,
                ("unknown", "unknown"),
                vec!["CA file"],
            ),
        ] {
            let read = Ok(configured(chain, key));
            let finding = CertificateFinding::of(&read, UnixTime::from_secs(now)).expect(name);
            assert_eq!((finding.chain.as_str(), finding.key.as_str()), words, "{name}");
            assert_eq!(finding.problems.len(), problems.len(), "{name}: {:?}", finding.problems);
            for (problem, word) in finding.problems.iter().zip(problems) {
                assert!(problem.contains(word), "{name}: {problem}");
            }
        }
        assert_eq!(CertificateFinding::of(&Err(NotConfigured::None), UnixTime::default()), None);
        let unreadable = Err(NotConfigured::Unreadable {
            path: "/etc/nginx/client.pem".into(),
            error: std::io::ErrorKind::NotFound.into(),
        });
        let finding = CertificateFinding::of(&unreadable, UnixTime::default()).expect("a finding");
        assert!(finding.problems[0].contains("/etc/nginx/client.pem"), "{:?}", finding.problems);
    }
}
