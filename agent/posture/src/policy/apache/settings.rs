//! How a server, or a `<Proxy>` section, says that TLS upstreams are spoken to (`mod_ssl`).

use std::path::Path;

use super::{directive::Directive, error::ConfigError};
use crate::policy::intent::{Setting, Text, TlsIntent};

/// What is said, as far as it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    tls: TlsIntent,
    /// A directory of CA certificates, which count beside those of the file.
    authorities: Option<Setting<String>>,
    engine: Option<bool>,
    checks_name: Option<bool>,
    checks_common_name: Option<bool>,
    /// The revocation list, which counts only if it is asked for.
    crl: Option<Setting<String>>,
    checks_crl: Option<bool>,
    /// What is not followed and may change everything.
    open: Option<Setting<String>>,
}

/// Versions that `all` stands for (`ssl_cmd_protocol_parse`).
const ALL: [&str; 5] = ["SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];

impl Settings {
    /// Takes over these directives where these undecided conditions hold: what stands in others may
    /// count or not. Relative file names begin at `root`.
    pub(super) fn apply<'a>(
        &mut self,
        directives: impl IntoIterator<Item = &'a Directive>,
        given: &[u32],
        root: &Path,
    ) -> Result<(), ConfigError> {
        for directive in directives {
            if !is_setting(directive) {
                // A section in a section is for some of its requests.
                self.perhaps(&directive.inside);
            } else if directive.holds(given) {
                self.take(directive, root)?;
            } else {
                self.leave_open(directive, "in a condition that is not decided here");
            }
        }
        Ok(())
    }

    /// Whether Apache would take these directives, as far as they count whatever is not decided.
    pub(super) fn check<'a>(
        directives: impl IntoIterator<Item = &'a Directive>,
        root: &Path,
    ) -> Result<(), ConfigError> {
        let mut all = directives.into_iter().filter(|one| is_setting(one) && one.holds(&[]));
        all.try_for_each(|directive| Self::default().take(directive, root))
    }

    /// Another section may count or not: whatever it says leaves open what counts.
    pub(super) fn perhaps(&mut self, directives: &[Directive]) {
        if let Some(first) = first_setting(directives) {
            self.leave_open(first, "in a section that is not for every request");
        }
    }

    fn leave_open(&mut self, by: &Directive, why: &str) {
        self.open.get_or_insert_with(|| said(by, format!("{} {why}", by.written)));
    }

    fn take(&mut self, directive: &Directive, root: &Path) -> Result<(), ConfigError> {
        let file = || -> Result<String, ConfigError> {
            let name = directive.argument("a file")?;
            // A variable that is not known may be the beginning.
            let path = if name.starts_with('$') { name.into() } else { root.join(name) };
            Ok(path.to_string_lossy().into_owned())
        };
        let tls = &mut self.tls;
        match directive.name.as_str() {
            "sslproxyengine" => self.engine = Some(flag(directive)?),
            "sslproxyverify" => {
                let value = directive.argument(LEVELS)?;
                // As a client it makes no difference whether a certificate is required: the upstream
                // always has one, and a bad one is refused unless its issuer may be unknown.
                tls.verify = match value.to_ascii_lowercase().as_str() {
                    "none" | "off" | "optional_no_ca" => Some(said(directive, false)),
                    "optional" | "require" | "on" => Some(said(directive, true)),
                    _ => return Err(directive.invalid(value, LEVELS)),
                };
            }
            "sslproxyverifydepth" => {
                let depth = directive.argument("a number")?.parse().ok();
                tls.verify_depth = depth.map(|depth| said(directive, depth));
            }
            "sslproxycacertificatefile" => {
                tls.trusted_certificate = Some(said(directive, file()?));
            }
            "sslproxycacertificatepath" => self.authorities = Some(said(directive, file()?)),
            "sslproxycarevocationfile" | "sslproxycarevocationpath" => {
                self.crl = Some(said(directive, file()?));
            }
            "sslproxycarevocationcheck" => {
                let expected = "none, leaf or chain";
                let Some(value) = directive.words.first() else {
                    return Err(directive.arguments(expected));
                };
                self.checks_crl = match value.to_ascii_lowercase().as_str() {
                    "none" => Some(false),
                    "leaf" | "chain" => Some(true),
                    _ => return Err(directive.invalid(value, expected)),
                };
            }
            // One file with both.
            "sslproxymachinecertificatefile" => {
                let file = Some(said(directive, Text::from(file()?.as_str())));
                (tls.certificate, tls.certificate_key) = (file.clone(), file);
            }
            // One of the files in it, by the authorities that the upstream names.
            "sslproxymachinecertificatepath" => {
                tls.certificate_by = Some(said(directive, format!("the files in {}", file()?)));
            }
            "sslproxycheckpeername" => self.checks_name = Some(flag(directive)?),
            "sslproxycheckpeercn" => self.checks_common_name = Some(flag(directive)?),
            "sslproxyprotocol" => tls.protocols = Some(said(directive, protocols(directive)?)),
            "sslproxyciphersuite" => match directive.words.as_slice() {
                [ciphers] => tls.ciphers = Some(said(directive, ciphers.clone())),
                [protocol, ciphers] if protocol.eq_ignore_ascii_case("ssl") => {
                    tls.ciphers = Some(said(directive, ciphers.clone()));
                }
                _ => {}
            },
            "sslproxymachinecertificatechainfile" => {
                tls.certificate_chain = Some(said(directive, file()?));
            }
            // Dates, which a chain is checked for anyway.
            "sslproxycheckpeerexpire" => {}
            _ => self.leave_open(directive, "is not known"),
        }
        Ok(())
    }

    /// Whether TLS upstreams are spoken to at all: Apache answers requests for them with an error
    /// otherwise.
    pub(super) fn is_switched_on(&self) -> bool {
        self.engine == Some(true) || self.open.is_some()
    }

    /// TLS as it is spoken to a host of this name, and the name that is checked; the request decides
    /// both if there is none.
    pub(super) fn toward(
        &self,
        name: Option<&Text>,
        route: &Directive,
    ) -> (TlsIntent, Option<Text>) {
        let mut tls = self.tls.clone();
        // An address is sent to nobody.
        let is_address = name
            .and_then(Text::literal)
            .is_some_and(|name| name.parse::<std::net::IpAddr>().is_ok());
        // Either switched off is no check, unless the other is switched on.
        let checks_name = match (self.checks_name, self.checks_common_name) {
            (Some(true), _) => true,
            (Some(false), common) => common == Some(true),
            (None, common) => common != Some(false),
        };
        tls.server_name = Some(said(route, !is_address));
        if !checks_name && !is_address {
            tls.sni = name.map(|name| said(route, name.clone()));
        }
        tls.crl = self.crl.clone().filter(|_| self.checks_crl == Some(true));
        let authorities = [tls.trusted_certificate.take(), self.authorities.clone()];
        let mut authorities = authorities.into_iter().flatten().peekable();
        tls.trusted_certificate = authorities.peek().map(|first| first.at.clone()).and_then(|at| {
            let value = TlsIntent::one_file(authorities.map(|one| one.value))?;
            Some(Setting { value, at })
        });
        // It asks for no session that it had before.
        tls.session_reuse = Some(said(route, false));
        if let Some(open) = &self.open {
            tls.leave_open(open);
            tls.protocols = None;
        }
        (tls, name.filter(|_| checks_name).cloned())
    }
}

/// The first of these settings, in sections as well.
pub(super) fn first_setting(directives: &[Directive]) -> Option<&Directive> {
    let own = |one| if is_setting(one) { Some(one) } else { first_setting(&one.inside) };
    directives.iter().find_map(own)
}

/// Whether a directive is one of these settings.
pub(super) fn is_setting(directive: &Directive) -> bool {
    directive.name.starts_with("sslproxy")
}

const LEVELS: &str = "none, optional, require or optional_no_ca";

fn flag(directive: &Directive) -> Result<bool, ConfigError> {
    const EXPECTED: &str = "On or Off";
    let value = directive.argument(EXPECTED)?;
    match value {
        _ if value.eq_ignore_ascii_case("on") => Ok(true),
        _ if value.eq_ignore_ascii_case("off") => Ok(false),
        _ => Err(directive.invalid(value, EXPECTED)),
    }
}

/// The versions that are left: `all`, and each added with `+` or taken away with `-`.
fn protocols(directive: &Directive) -> Result<Vec<String>, ConfigError> {
    const EXPECTED: &str = "made of all, SSLv3, TLSv1, TLSv1.1, TLSv1.2, TLSv1.3";
    let mut found: Vec<&str> = Vec::new();
    for word in &directive.words {
        let (sign, name) = match word.strip_prefix(['+', '-']) {
            Some(name) => (&word[..1], name),
            None => ("", word.as_str()),
        };
        let named: Vec<&str> = match name {
            _ if name.contains('$') => return Ok(vec![word.clone()]),
            _ if name.eq_ignore_ascii_case("all") => ALL.to_vec(),
            // That can only be taken away.
            _ if name.eq_ignore_ascii_case("SSLv2") && sign == "-" => continue,
            _ => {
                let known = ALL.iter().filter(|known| known.eq_ignore_ascii_case(name));
                known.copied().collect()
            }
        };
        if named.is_empty() {
            return Err(directive.invalid(name, EXPECTED));
        }
        match sign {
            "-" => found.retain(|one| !named.contains(one)),
            "+" => found.extend(named),
            _ => found = named,
        }
    }
    let left = ALL.into_iter().filter(|one| found.contains(one));
    Ok(left.map(str::to_owned).collect())
}

fn said<T>(at: &Directive, value: T) -> Setting<T> {
    Setting { value, at: at.at.clone() }
}
