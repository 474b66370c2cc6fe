//! How health checks connect: by the protocol that an `option` chooses, and the rules of `http-check` and
//! `tcp-check` (sections 4.2 and 4.4 of haproxy's configuration manual).

use super::{
    error::{ConfigError, Problem},
    sections::Line,
    server::Settings,
};
use crate::policy::intent::{Scheme, Setting, Text};

/// Connections of one check that are taken. Each is there for each server.
const MAX_CONNECTIONS: usize = 64;

/// What a section says of health checks.
#[derive(Clone, Debug, Default)]
pub(super) struct Checks {
    kind: Kind,
    http: Rules,
    tcp: Rules,
    /// It is decided elsewhere which of these count.
    is_open: bool,
}

/// What an `option` makes of a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// It connects, and sends nothing.
    #[default]
    Silent,
    /// It speaks a protocol (`mysql-check`, ...).
    Protocol,
    /// It sends a ClientHello (`ssl-hello-chk`), which is not clear text.
    Hello,
    /// It follows rules.
    Http,
    Tcp,
    /// It is a program's.
    External,
}

/// Rules of one kind, in their order.
#[derive(Clone, Debug, Default)]
struct Rules {
    connections: Vec<Connection>,
    /// They are those of the `defaults` section, which the first of a section's own replaces.
    are_inherited: bool,
}

/// One connection of a check.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "keywords, and what is known beside them")]
pub(super) struct Connection {
    /// Where a rule says so; none where the check connects by itself.
    pub(super) line: Option<Line>,
    /// As the server line says (`default`); always without a rule.
    is_default: bool,
    ssl: bool,
    pub(super) port: Option<String>,
    pub(super) address: Option<String>,
    sni: Option<String>,
    /// Something is sent or waited for.
    speaks: bool,
    /// What is not known.
    is_open: bool,
}

impl Connection {
    /// That of a check that connects by itself.
    fn implicit(speaks: bool) -> Self {
        Self { is_default: true, speaks, ..Self::default() }
    }

    /// Takes over the words after `connect`.
    fn of(line: &Line) -> Result<Self, ConfigError> {
        let mut out = Self { line: Some(line.clone()), is_open: line.is_open, ..Self::default() };
        let mut words = line.words.iter().skip(2);
        while let Some(word) = words.next() {
            let place = match word.as_str() {
                "ssl" => {
                    out.ssl = true;
                    continue;
                }
                "default" => {
                    out.is_default = true;
                    continue;
                }
                "send-proxy" | "linger" => continue,
                "port" => Some(&mut out.port),
                "addr" => Some(&mut out.address),
                "sni" => Some(&mut out.sni),
                "alpn" | "proto" | "comment" => None,
                // By a SOCKS proxy, or in a way that is newer than this reader.
                _ => {
                    out.is_open = true;
                    continue;
                }
            };
            let Some(value) = words.next() else {
                let keyword = word.clone();
                return Err(line.error(Problem::Arguments { keyword, expected: "a value" }));
            };
            if let Some(place) = place {
                *place = Some(value.clone());
            }
        }
        Ok(out)
    }

    /// The name that it sends where a server line says `settings`.
    pub(super) fn server_name(&self, settings: &Settings) -> Option<Setting<Text>> {
        match (&self.sni, &self.line) {
            (Some(name), Some(rule)) => {
                Some(Setting { value: Text::from(name.as_str()), at: rule.at.clone() })
            }
            _ => settings.check_sni.clone().filter(|_| self.is_default),
        }
    }

    /// How it speaks where a server line says `settings`; `None` where nothing crosses in the clear.
    pub(super) fn scheme(&self, settings: &Settings) -> Option<Scheme> {
        // By `port` or `addr` it is in the clear unless `check-ssl` says otherwise.
        let is_elsewhere = settings.check_port.is_some() || settings.check_address.is_some();
        let by_default = || settings.check_ssl.unwrap_or(settings.ssl && !is_elsewhere);
        let ssl = self.ssl || (self.is_default && by_default());
        match (self.is_open || settings.open.is_some(), ssl) {
            (true, _) => Some(Scheme::Unknown),
            (false, true) => Some(Scheme::Tls),
            (false, false) => self.speaks.then_some(Scheme::Plaintext),
        }
    }
}

impl Rules {
    fn take(&mut self, line: &Line) -> Result<(), ConfigError> {
        let rule = line.words.get(1).map(String::as_str);
        // These two are no rules.
        if matches!(rule, Some("disable-on-404" | "send-state")) {
            return Ok(());
        }
        if std::mem::take(&mut self.are_inherited) {
            if line.is_open {
                for one in &mut self.connections {
                    one.is_open = true;
                }
            } else {
                self.connections.clear();
            }
        }
        match rule {
            Some("connect") => {
                if self.connections.len() == MAX_CONNECTIONS {
                    let what = "connections of one health check";
                    return Err(line.error(Problem::TooMuch { what, limit: MAX_CONNECTIONS }));
                }
                self.connections.push(Connection::of(line)?);
            }
            Some("send" | "send-lf" | "send-binary" | "send-binary-lf" | "expect") => {
                // What comes before every rule that connects, haproxy connects for by itself.
                if self.connections.is_empty() {
                    self.connections.push(Connection::implicit(true));
                }
                if let Some(last) = self.connections.last_mut() {
                    last.speaks = true;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Checks {
    /// What a section begins with that has these before it.
    pub(super) fn inherited(&self) -> Self {
        let mut out = self.clone();
        (out.http.are_inherited, out.tcp.are_inherited) = (true, true);
        out
    }

    /// It is not known whether what is said counts.
    pub(super) fn leave_open(&mut self) {
        self.is_open = true;
    }

    /// Takes over a line; others than those about checks say nothing.
    pub(super) fn take(&mut self, line: &Line) -> Result<(), ConfigError> {
        match (line.keyword(), line.words.get(1).map(String::as_str)) {
            ("option", Some(option)) => {
                self.kind = match option {
                    "httpchk" => Kind::Http,
                    "tcp-check" => Kind::Tcp,
                    "ssl-hello-chk" => Kind::Hello,
                    "external-check" => Kind::External,
                    _ if option.ends_with("chk") || option.ends_with("-check") => Kind::Protocol,
                    _ => return Ok(()),
                };
                self.is_open = line.is_open;
            }
            ("http-check", _) => self.http.take(line)?,
            ("tcp-check", _) => self.tcp.take(line)?,
            _ => {}
        }
        Ok(())
    }

    /// The connections of one check.
    pub(super) fn connections(&self) -> Vec<Connection> {
        let rules = |rules: &Rules, speaks| {
            let mut all = rules.connections.clone();
            if all.is_empty() {
                all.push(Connection::implicit(speaks));
            }
            // HTTP has something to ask on each.
            for one in &mut all {
                one.speaks |= speaks;
            }
            all
        };
        if self.is_open {
            let written = self.http.connections.iter().chain(&self.tcp.connections);
            let written = written.filter(|one| !one.is_default);
            let written = written.map(|one| Connection { is_open: true, ..one.clone() });
            return written.chain([Connection::implicit(true)]).collect();
        }
        match self.kind {
            Kind::External => Vec::new(),
            Kind::Silent | Kind::Hello => vec![Connection::implicit(false)],
            Kind::Protocol => vec![Connection::implicit(true)],
            Kind::Http => rules(&self.http, true),
            Kind::Tcp => rules(&self.tcp, false),
        }
    }
}
