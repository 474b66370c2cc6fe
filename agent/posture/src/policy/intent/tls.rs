//! How a proxy is configured to speak TLS to an upstream.

use hopsight_core::tls::hello::TlsVersion;
use serde::{Deserialize, Serialize};

use super::{Setting, Stated, Text};
use crate::policy::rules::parse_version;

/// TLS settings in force on one route to an upstream. `None` is "not said": the default of the
/// proxy applies, which the methods know where it does not depend on its version. A reader whose
/// proxy has other defaults than these says them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsIntent {
    /// Client certificate: a file, `data:` and the certificate itself, or `sds:` and the name of a
    /// secret. An empty one is switched off.
    pub certificate: Option<Setting<Text>>,
    /// A file with the certificates above it, where they stand apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_chain: Option<Setting<String>>,
    /// Its private key file, or `engine:`/`data:`.
    pub certificate_key: Option<Setting<Text>>,
    /// What this reader cannot follow and chooses the client certificate, whatever is said above: a
    /// program, a module, a key that is not known. What it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_by: Option<Setting<String>>,
    /// Whether the upstream's certificate is checked.
    pub verify: Option<Setting<bool>>,
    /// What this reader cannot follow and decides whether it is, whatever is said above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify_by: Option<Setting<String>>,
    /// How long a chain may be.
    pub verify_depth: Option<Setting<u32>>,
    /// CA file the upstream is checked against.
    pub trusted_certificate: Option<Setting<String>>,
    /// Revocation list file.
    pub crl: Option<Setting<String>>,
    /// Name the certificate is checked for, and sent as SNI if [`TlsIntent::server_name`] says so.
    pub name: Option<Setting<Text>>,
    /// Further names, of which one suffices as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_names: Vec<Setting<Text>>,
    /// Whether SNI is sent.
    pub server_name: Option<Setting<bool>>,
    /// Name that is sent as SNI, where it is said apart from the one that is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<Setting<Text>>,
    /// Protocol versions as the proxy spells them.
    pub protocols: Option<Setting<Vec<String>>>,
    /// Cipher list as OpenSSL spells it.
    pub ciphers: Option<Setting<String>>,
    /// Whether sessions are resumed.
    pub session_reuse: Option<Setting<bool>>,
    /// OpenSSL configuration commands (name, value), which may change all of the above.
    pub conf_commands: Vec<Setting<(String, String)>>,
}

impl TlsIntent {
    /// The only one of these files. Several are words that are no file's path: what they hold together is
    /// not read.
    pub(crate) fn one_file(files: impl Iterator<Item = String>) -> Option<String> {
        let all: Vec<_> = files.collect();
        match all.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            several => Some(format!("several:{}", several.join(","))),
        }
    }

    /// Whether a client certificate would be presented if the upstream asks.
    #[must_use]
    pub fn has_client_certificate(&self) -> Stated {
        match &self.certificate {
            _ if self.certificate_by.is_some() => Stated::Unknown,
            Some(Setting { value: Text::Variable(_), .. }) => Stated::Unknown,
            Some(Setting { value: Text::Literal(path), .. }) if !path.is_empty() => Stated::Yes,
            _ if self.has_command("Certificate") => Stated::Unknown,
            _ => Stated::No,
        }
    }

    /// Whether an OpenSSL command of this name (`SSL_CONF_cmd(3)`) is given.
    fn has_command(&self, name: &str) -> bool {
        self.conf_commands.iter().any(|command| command.value.0.eq_ignore_ascii_case(name))
    }

    /// Whether the upstream's certificate is checked; off unless said.
    #[must_use]
    pub fn verifies(&self) -> Stated {
        match &self.verify {
            _ if self.verify_by.is_some() => Stated::Unknown,
            Some(Setting { value: true, .. }) => Stated::Yes,
            Some(Setting { value: false, .. }) | None => Stated::No,
        }
    }

    /// Whether SNI is sent under the name that is checked; off unless said.
    #[must_use]
    pub fn sends_server_name(&self) -> bool {
        self.server_name.as_ref().is_some_and(|setting| setting.value)
    }

    /// Whether sessions are resumed; on unless said.
    #[must_use]
    pub fn reuses_sessions(&self) -> bool {
        self.session_reuse.as_ref().is_none_or(|setting| setting.value)
    }

    /// The lowest protocol version that is said; `None` where none is, or one of them is not known.
    ///
    /// Of OpenSSL's commands `MinProtocol` leaves out what is below it, and lets in nothing;
    /// `MaxProtocol` leaves the lowest as it is; `Protocol` may let in any.
    #[must_use]
    pub fn lowest_version(&self) -> Option<TlsVersion> {
        let mut commands = self.conf_commands.iter().map(|command| &command.value);
        if commands.clone().any(|(name, _)| name.eq_ignore_ascii_case("Protocol")) {
            return None;
        }
        let least = commands.rfind(|(name, _)| name.eq_ignore_ascii_case("MinProtocol"));
        let least = match least {
            Some((_, version)) => parse_version(version)?,
            None => TlsVersion(0),
        };
        let Some(protocols) = &self.protocols else {
            // What nginx has by default begins with 1.2, or goes up to it at least.
            return (least >= TlsVersion::TLS12).then_some(least);
        };
        let versions = protocols.value.iter().map(|text| parse_version(text));
        let versions = versions.collect::<Option<Vec<_>>>()?;
        versions.into_iter().filter(|version| *version >= least).min()
    }

    /// What is not followed, `by` that, and may change everything.
    pub fn leave_open(&mut self, by: &Setting<String>) {
        self.certificate_by.get_or_insert_with(|| by.clone());
        self.verify_by.get_or_insert_with(|| by.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::intent::Place;

    fn at<T>(value: T) -> Setting<T> {
        Setting { value, at: Place { file: "nginx.conf".into(), line: 1 } }
    }

    #[test]
    fn what_is_not_followed_is_unknown() {
        let file = || Some(at(Text::from("/client.pem")));
        let by = || Some(at("proxy_ssl_certificate_by_lua_block".to_owned()));
        let command = |name: &str| vec![at((name.to_owned(), "/x.pem".to_owned()))];
        let not_said = TlsIntent::default;
        for (name, tls, expected) in [
            ("nothing", not_said(), Stated::No),
            ("a file", TlsIntent { certificate: file(), ..not_said() }, Stated::Yes),
            (
                "switched off",
                TlsIntent { certificate: Some(at(Text::from(""))), ..not_said() },
                Stated::No,
            ),
            (
                "a variable",
                TlsIntent { certificate: Some(at(Text::from("$c"))), ..not_said() },
                Stated::Unknown,
            ),
            ("a program", TlsIntent { certificate_by: by(), ..not_said() }, Stated::Unknown),
            (
                "a program after a file",
                TlsIntent { certificate: file(), certificate_by: by(), ..not_said() },
                Stated::Unknown,
            ),
            (
                "a command of OpenSSL's",
                TlsIntent { conf_commands: command("certificate"), ..not_said() },
                Stated::Unknown,
            ),
            (
                "another command",
                TlsIntent { conf_commands: command("Options"), ..not_said() },
                Stated::No,
            ),
        ] {
            assert_eq!(tls.has_client_certificate(), expected, "{name}");
        }
        let mut tls = TlsIntent { verify: Some(at(true)), ..not_said() };
        assert_eq!(tls.verifies(), Stated::Yes);
        tls.leave_open(&at("verify_by".to_owned()));
        assert_eq!(
            (tls.verifies(), tls.has_client_certificate()),
            (Stated::Unknown, Stated::Unknown)
        );
    }

    #[test]
    fn the_lowest_version_is_known_where_all_are() {
        for (said, expected) in [
            (&["TLSv1.3", "TLSv1.2"][..], Some(TlsVersion(0x0303))),
            (&["TLSv1.2", "TLSv9"], None),
            (&[], None),
        ] {
            let tls = TlsIntent { protocols: Some(protocols(said)), ..TlsIntent::default() };
            assert_eq!(tls.lowest_version(), expected, "{said:?}");
        }
        assert_eq!(TlsIntent::default().lowest_version(), None);
    }

    fn protocols(said: &[&str]) -> Setting<Vec<String>> {
        at(said.iter().map(|&text| text.to_owned()).collect())
    }

    #[test]
    fn commands_of_openssl_change_versions() {
        let (old, both, newest) = (TlsVersion(0x0301), TlsVersion(0x0303), TlsVersion(0x0304));
        for (said, commands, expected) in [
            (Some(&["TLSv1.2", "TLSv1.3"][..]), &[("Protocol", "-ALL,TLSv1")][..], None),
            (Some(&["TLSv1.2", "TLSv1.3"]), &[("protocol", "TLSv1.3")], None),
            (Some(&["TLSv1", "TLSv1.3"]), &[("MinProtocol", "TLSv1.3")], Some(newest)),
            (Some(&["TLSv1.2", "TLSv1.3"]), &[("minprotocol", "TLSv1")], Some(both)),
            (Some(&["TLSv1", "TLSv1.2"]), &[("MaxProtocol", "TLSv1.2")], Some(old)),
            (Some(&["TLSv1", "TLSv1.2"]), &[("MinProtocol", "None")], None),
            // Nothing is left, and nothing will be spoken.
            (Some(&["TLSv1.2"]), &[("MinProtocol", "TLSv1.3")], None),
            (
                Some(&["TLSv1", "TLSv1.3"]),
                &[("MinProtocol", "TLSv1.3"), ("MinProtocol", "TLSv1")],
                Some(old),
            ),
            (Some(&["TLSv1.2"]), &[("Options", "Bugs")], Some(both)),
            (None, &[("MinProtocol", "TLSv1.2")], Some(both)),
            (None, &[("MinProtocol", "TLSv1.1")], None),
        ] {
            let command = |&(name, value): &(&str, &str)| at((name.to_owned(), value.to_owned()));
            let tls = TlsIntent {
                protocols: said.map(protocols),
                conf_commands: commands.iter().map(command).collect(),
                ..TlsIntent::default()
            };
            assert_eq!(tls.lowest_version(), expected, "{said:?} {commands:?}");
        }
    }
}
