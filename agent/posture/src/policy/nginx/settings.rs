//! The `*_ssl_*` directives of nginx's upstream modules and how they are inherited.
//!
//! A directive that is absent at a level takes the value of the level around it; one that is
//! present replaces it. That is true of lists as well: `proxy_ssl_conf_command` said once in a
//! location hides all of the server's. At one level nginx adds up repeated `*_ssl_protocols` and
//! `*_ssl_conf_command`; everything else may be said once.

use std::{collections::HashSet, path::Path, sync::Arc};

use super::{
    error::{ConfigError, Problem},
    tree::Directive,
};
use crate::policy::intent::{Setting, Text, TlsIntent};

/// A module that can speak TLS to upstreams, by the prefix of its directives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Proxy,
    Grpc,
    Uwsgi,
}

impl Family {
    pub(super) const fn prefix(self) -> &'static str {
        match self {
            Self::Proxy => "proxy_ssl_",
            Self::Grpc => "grpc_ssl_",
            Self::Uwsgi => "uwsgi_ssl_",
        }
    }

    const ALL: [Self; 3] = [Self::Proxy, Self::Grpc, Self::Uwsgi];
}

/// `*_ssl_conf_command`s at one level. OpenSSL knows some forty.
const MAX_COMMANDS: usize = 256;

/// The settings in force at one level of the configuration, per module; shared with the levels in it
/// that say nothing else.
#[derive(Clone, Default)]
pub(super) struct Level {
    tls: [Arc<TlsIntent>; 3],
}

impl Level {
    pub(super) fn tls(&self, family: Family) -> &TlsIntent {
        &self.tls[family as usize]
    }

    /// The settings inside a block with these `directives`, given those around it (`self`).
    pub(super) fn inside(
        &self,
        directives: &[Directive],
        conf_prefix: &Path,
    ) -> Result<Self, ConfigError> {
        let mut inner = self.clone();
        let mut said = HashSet::new();
        for directive in directives {
            let Some((family, setting)) = split(&directive.name) else { continue };
            let first = said.insert(directive.name.as_str());
            let tls = Arc::make_mut(&mut inner.tls[family as usize]);
            apply(tls, setting, directive, first, conf_prefix)?;
        }
        Ok(inner)
    }

    /// The first of these `directives` that sets anything here.
    pub(super) fn first_setting(directives: &[Directive]) -> Option<&Directive> {
        directives.iter().find(|directive| split(&directive.name).is_some())
    }
}

/// Takes over what OpenSSL's own commands (`SSL_CONF_cmd(3)`) set, which nginx gives it last: the ciphers
/// are theirs; which certificate, and whether the upstream's is checked against what, they leave open.
/// What they do to versions [`TlsIntent::lowest_version`] knows.
pub(super) fn heed_commands(tls: &mut TlsIntent, family: Family) {
    for Setting { value: (name, value), at } in &tls.conf_commands {
        let by = || {
            let value = format!("{}conf_command {name}", family.prefix());
            Setting { value, at: at.clone() }
        };
        match name.to_ascii_lowercase().as_str() {
            "certificate" | "privatekey" => {
                tls.certificate_by.get_or_insert_with(by);
            }
            // Where nginx checks, it asks for the result whatever the mode is.
            "verifymode" if !matches!(&tls.verify, Some(Setting { value: true, .. })) => {
                tls.verify_by.get_or_insert_with(by);
            }
            // In place of the file and of its list, not beside them.
            "verifycafile" | "verifycapath" | "verifycastore" => {
                tls.trusted_certificate = Some(by());
                tls.crl = None;
            }
            "cipherstring" => {
                tls.ciphers = Some(Setting { value: value.clone(), at: at.clone() });
            }
            _ => {}
        }
    }
}

fn split(name: &str) -> Option<(Family, &str)> {
    Family::ALL.into_iter().find_map(|family| Some((family, name.strip_prefix(family.prefix())?)))
}

/// Takes over one directive; `first` of its name at this level or not.
fn apply(
    tls: &mut TlsIntent,
    setting: &str,
    directive: &Directive,
    first: bool,
    conf_prefix: &Path,
) -> Result<(), ConfigError> {
    let text = |value: &str| Text::from(value);
    let file = |value: &str| absolute(value, conf_prefix);
    match setting {
        "protocols" => return add_protocols(tls, directive, first),
        "conf_command" => {
            let [name, value] = directive.args.as_slice() else {
                return Err(arguments(directive));
            };
            if first {
                tls.conf_commands.clear();
            }
            if tls.conf_commands.len() == MAX_COMMANDS {
                let what = "OpenSSL commands at one level";
                return Err(directive.error(Problem::TooMuch { what, limit: MAX_COMMANDS }));
            }
            tls.conf_commands.push(said(directive, (name.clone(), value.clone())));
            return Ok(());
        }
        _ if !first => {
            return Err(directive.error(Problem::Duplicate { directive: directive.name.clone() }));
        }
        "certificate" => {
            tls.certificate = Some(said(directive, text(&file(directive.argument()?))));
        }
        "certificate_key" => {
            tls.certificate_key = Some(said(directive, text(&file(directive.argument()?))));
        }
        "verify" => tls.verify = Some(said(directive, directive.flag()?)),
        "verify_depth" => {
            let value = directive.argument()?;
            let depth = value.parse().map_err(|_| directive.invalid(value, "a number"))?;
            tls.verify_depth = Some(said(directive, depth));
        }
        "trusted_certificate" => {
            tls.trusted_certificate = Some(said(directive, file(directive.argument()?)));
        }
        "crl" => tls.crl = Some(said(directive, file(directive.argument()?))),
        "name" => tls.name = Some(said(directive, text(without_port(directive.argument()?)))),
        "server_name" => tls.server_name = Some(said(directive, directive.flag()?)),
        "ciphers" => tls.ciphers = Some(said(directive, directive.argument()?.to_owned())),
        "session_reuse" => tls.session_reuse = Some(said(directive, directive.flag()?)),
        // A program has the last word. With NTLS (GB/T 38636) the client proves the key of its
        // certificate for signing, which takes the place of the other one.
        _ if setting.starts_with("certificate_by_") || setting == "sign_certificate" => {
            tls.certificate_by = Some(said(directive, directive.name.clone()));
        }
        _ if setting.starts_with("verify_by_") => {
            tls.verify_by = Some(said(directive, directive.name.clone()));
        }
        // `password_file`, `certificate_cache`, `key_log`, ... say nothing about the hop.
        _ => {}
    }
    Ok(())
}

/// A name without the port that nginx leaves out of it (`ngx_http_upstream_ssl_name`).
fn without_port(name: &str) -> &str {
    let after = if name.starts_with('[') { name.find(']') } else { None }.unwrap_or_default();
    let is_open = name.contains('$');
    match name[after..].find(':').filter(|_| !is_open) {
        Some(at) => &name[..after + at],
        None => name,
    }
}

fn add_protocols(
    tls: &mut TlsIntent,
    directive: &Directive,
    first: bool,
) -> Result<(), ConfigError> {
    const KNOWN: [&str; 6] = ["SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];
    if directive.args.is_empty() {
        return Err(arguments(directive));
    }
    let mut values = match tls.protocols.take() {
        Some(setting) if !first => setting.value,
        _ => Vec::new(),
    };
    for value in &directive.args {
        let Some(known) = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(value)) else {
            return Err(directive.invalid(value, "one of SSLv2 to TLSv1.3"));
        };
        if !values.iter().any(|value| value == known) {
            values.push((*known).to_owned());
        }
    }
    tls.protocols = Some(said(directive, values));
    Ok(())
}

fn said<T>(directive: &Directive, value: T) -> Setting<T> {
    Setting { value, at: directive.at.clone() }
}

fn arguments(directive: &Directive) -> ConfigError {
    directive.error(Problem::Arguments { directive: directive.name.clone() })
}

/// A file name as nginx opens it. Inline data, engine and store names and expressions stay.
fn absolute(value: &str, conf_prefix: &Path) -> String {
    let not_a_path = ["data:", "engine:", "store:", "$"];
    if value.is_empty() || not_a_path.iter().any(|prefix| value.starts_with(prefix)) {
        return value.to_owned();
    }
    conf_prefix.join(value).to_string_lossy().into_owned()
}
