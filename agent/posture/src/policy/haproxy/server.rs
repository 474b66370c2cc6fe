//! The settings of a `server` line (section 5.2 of haproxy's configuration manual).

use std::path::{Path, PathBuf};

use super::{
    address,
    error::{ConfigError, Problem},
    keywords,
    sections::Line,
    versions::Versions,
};
use crate::policy::intent::{Setting, Text, TlsIntent};

/// Where relative file names begin: `ca-base` and `crt-base`, else the working directory.
#[derive(Clone, Debug)]
pub(super) struct Bases {
    pub(super) directory: PathBuf,
    pub(super) ca: Option<String>,
    pub(super) certificates: Option<String>,
}

impl Bases {
    /// A file name as haproxy opens it. Names that begin with `@` are stores of its own.
    fn file(&self, base: Option<&String>, name: &str) -> String {
        if name.is_empty() || name.starts_with(['/', '@', '$']) {
            return name.to_owned();
        }
        let base = base.map_or_else(|| self.directory.clone(), |base| self.directory.join(base));
        base.join(Path::new(name)).to_string_lossy().into_owned()
    }
}

/// What is said of a server, or of those that follow a `default-server`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a keyword")]
pub(super) struct Settings {
    pub(super) tls: TlsIntent,
    pub(super) versions: Versions,
    /// `ssl` or `no-ssl`.
    pub(super) ssl: bool,
    /// `verifyhost`: what is checked where no SNI is sent.
    pub(super) verify_host: Option<Setting<Text>>,
    pub(super) check: bool,
    pub(super) check_ssl: Option<bool>,
    pub(super) check_sni: Option<Setting<Text>>,
    pub(super) check_port: Option<String>,
    pub(super) check_address: Option<String>,
    pub(super) weight: Option<u32>,
    pub(super) backup: bool,
    pub(super) disabled: bool,
    /// Its name is resolved again while haproxy runs.
    pub(super) resolve: bool,
    /// Connections go to a SOCKS proxy.
    pub(super) by_socks: bool,
    /// What is not followed and may change everything.
    pub(super) open: Option<Setting<String>>,
}

impl Settings {
    /// Takes over the keywords from `words` of a line.
    pub(super) fn apply(
        &mut self,
        line: &Line,
        words: &[String],
        bases: &Bases,
    ) -> Result<(), ConfigError> {
        if line.is_open {
            self.leave_open(line, "a condition that is not decided here");
        }
        let mut rest = words;
        while let Some((keyword, after)) = rest.split_first() {
            let Some(count) = keywords::arguments(keyword) else {
                self.leave_open(line, keyword);
                rest = after;
                continue;
            };
            let Some((arguments, after)) = after.split_at_checked(count) else {
                let keyword = keyword.clone();
                return Err(line.error(Problem::Arguments { keyword, expected: "a value" }));
            };
            match arguments {
                [value] => self.value(line, keyword, value, bases)?,
                _ => self.flag(line, keyword),
            }
            rest = after;
        }
        Ok(())
    }

    pub(super) fn leave_open(&mut self, line: &Line, by: &str) {
        self.open.get_or_insert_with(|| said(line, by.to_owned()));
    }

    fn flag(&mut self, line: &Line, keyword: &str) {
        match keyword {
            "ssl" => self.ssl = true,
            "no-ssl" => self.ssl = false,
            "ssl-reuse" => self.tls.session_reuse = Some(said(line, true)),
            "no-ssl-reuse" => self.tls.session_reuse = Some(said(line, false)),
            "no-verifyhost" => self.verify_host = None,
            // The name is that of the request.
            "sni-auto" => {
                self.tls.sni = Some(said(line, Text::Variable(keyword.to_owned())));
            }
            "no-sni-auto" => self.tls.sni = None,
            "check" => self.check = true,
            "no-check" => self.check = false,
            "check-ssl" => self.check_ssl = Some(true),
            "no-check-ssl" => self.check_ssl = Some(false),
            "backup" => self.backup = true,
            "no-backup" => self.backup = false,
            "disabled" => self.disabled = true,
            "enabled" => self.disabled = false,
            _ => self.versions.flag(keyword, said(line, ())),
        }
    }

    fn value(
        &mut self,
        line: &Line,
        keyword: &str,
        value: &str,
        bases: &Bases,
    ) -> Result<(), ConfigError> {
        let text = |file: String| Some(said(line, Text::from(file.as_str())));
        let invalid = |expected| {
            let (keyword, value) = (keyword.to_owned(), value.to_owned());
            Err(line.error(Problem::InvalidValue { keyword, value, expected }))
        };
        match keyword {
            "verify" => match value {
                "none" => self.tls.verify = Some(said(line, false)),
                "required" => self.tls.verify = Some(said(line, true)),
                value if value.contains('$') => {
                    self.tls.verify_by = Some(said(line, value.to_owned()));
                }
                _ => return invalid("\"none\" or \"required\""),
            },
            "ca-file" => {
                let file = bases.file(bases.ca.as_ref(), value);
                self.tls.trusted_certificate = Some(said(line, file));
            }
            "crl-file" => {
                self.tls.crl = Some(said(line, bases.file(bases.ca.as_ref(), value)));
            }
            // One file with both.
            "crt" => {
                let file = bases.file(bases.certificates.as_ref(), value);
                self.tls.certificate = text(file.clone());
                self.tls.certificate_key = text(file);
            }
            "sni" => self.tls.sni = Some(said(line, expression(value))),
            "check-sni" => self.check_sni = text(value.to_owned()),
            "verifyhost" => self.verify_host = text(value.to_owned()),
            "ciphers" => self.tls.ciphers = Some(said(line, value.to_owned())),
            "ssl-min-ver" | "ssl-max-ver" => {
                let is_lowest = keyword == "ssl-min-ver";
                if value.contains('$') {
                    self.versions = Versions::default();
                } else if !self.versions.bound(is_lowest, value, said(line, ())) {
                    return invalid("one of SSLv3, TLSv1.0, TLSv1.1, TLSv1.2, TLSv1.3");
                }
            }
            "port" => self.check_port = Some(value.to_owned()),
            // Any address is that of the server.
            "addr" => {
                self.check_address = Some(value.to_owned()).filter(|host| !address::is_any(host));
            }
            "weight" => self.weight = value.parse().ok(),
            "resolvers" => self.resolve = true,
            "socks4" => self.by_socks = true,
            // The others say nothing about who is spoken to, and how.
            _ => {}
        }
        Ok(())
    }

    /// TLS as traffic has it. `default_verify` is `ssl-server-verify`, in force at `line`.
    pub(super) fn traffic(&self, line: &Line, default_verify: Option<bool>) -> TlsIntent {
        let mut tls = TlsIntent {
            // The name that is sent is the one that is checked; `verifyhost` only where none is.
            name: self.tls.sni.clone().or_else(|| self.verify_host.clone()),
            ..self.common(line, default_verify)
        };
        tls.sni.clone_from(&self.tls.sni);
        tls
    }

    /// TLS as a connection of a health check has it that sends this name.
    pub(super) fn health_check(
        &self,
        line: &Line,
        default_verify: Option<bool>,
        sni: Option<Setting<Text>>,
    ) -> TlsIntent {
        let name = sni.clone().or_else(|| self.verify_host.clone());
        TlsIntent { name, sni, ..self.common(line, default_verify) }
    }

    fn common(&self, line: &Line, default_verify: Option<bool>) -> TlsIntent {
        let mut tls = self.tls.clone();
        match default_verify {
            Some(is_on) => _ = tls.verify.get_or_insert_with(|| said(line, is_on)),
            None if tls.verify.is_none() && tls.verify_by.is_none() => {
                tls.verify_by = Some(said(line, "ssl-server-verify".to_owned()));
            }
            None => {}
        }
        tls.protocols = self.versions.said();
        if let Some(open) = &self.open {
            tls.leave_open(open);
        }
        tls
    }
}

/// A sample expression; `str(NAME)` is known.
fn expression(text: &str) -> Text {
    let constant = text.strip_prefix("str(").and_then(|rest| rest.strip_suffix(')'));
    match constant.filter(|name| !name.contains(['(', ')', ',', '$'])) {
        Some(name) => Text::Literal(name.to_owned()),
        None => Text::Variable(text.to_owned()),
    }
}

fn said<T>(line: &Line, value: T) -> Setting<T> {
    Setting { value, at: line.at.clone() }
}
