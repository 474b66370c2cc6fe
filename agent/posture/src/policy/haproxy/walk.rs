//! From sections to proxies: what is in force at each `server` line.

use std::collections::HashMap;

use super::{
    Start,
    address::{self, Address},
    checks::Checks,
    defaults::{Defaults, Mode},
    error::{ConfigError, Problem},
    sections::{Line, Section},
    server::{Bases, Settings},
};
use crate::policy::{
    environment::Environment,
    intent::{Scheme, ServerAddress},
};

/// Whether what comes in was TLS that haproxy ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Yes,
    No,
    Unknown,
}

impl Ended {
    fn and(self, other: Self) -> Self {
        if self == other { self } else { Self::Unknown }
    }

    /// How a server without `ssl` is spoken to in mode `tcp`.
    const fn scheme(self) -> Scheme {
        match self {
            Self::Yes => Scheme::Plaintext,
            Self::No => Scheme::Passthrough,
            Self::Unknown => Scheme::Unknown,
        }
    }
}

/// A `server` line with what is in force there.
pub(super) struct Written {
    pub(super) line: Line,
    pub(super) settings: Settings,
    /// Where it is; `None` if that is decided at run time.
    pub(super) address: Option<ServerAddress>,
}

/// A `backend` or `listen`.
pub(super) struct Proxy {
    pub(super) name: String,
    mode: Option<Mode>,
    /// Of the `bind` lines in it.
    ended: Option<Ended>,
    pub(super) servers: Vec<Written>,
    pub(super) checks: Checks,
}

/// All sections, as far as they have been read.
pub(super) struct Walk<'a> {
    pub(super) environment: &'a Environment,
    bases: Bases,
    /// `ssl-server-verify`, if that is decided.
    pub(super) verifies: Option<bool>,
    /// `ssl-default-server-options`.
    base: Settings,
    /// Those of the newest `defaults` section.
    defaults: Option<Defaults>,
    named: HashMap<String, Defaults>,
    pub(super) proxies: Vec<Proxy>,
    /// The servers of `peers` and `ring` sections.
    pub(super) own: Vec<Written>,
    /// What leads to a backend, by its name.
    leads: HashMap<String, Ended>,
    /// Some frontend chooses its backend at run time.
    leads_anywhere: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(environment: &'a Environment, start: &Start) -> Self {
        let bases = Bases { directory: start.directory.clone(), ca: None, certificates: None };
        Self {
            environment,
            bases,
            verifies: Some(start.verifies),
            base: Settings::default(),
            defaults: None,
            named: HashMap::new(),
            proxies: Vec::new(),
            own: Vec::new(),
            leads: HashMap::new(),
            leads_anywhere: false,
        }
    }

    /// Takes in all sections.
    pub(super) fn sections(&mut self, sections: &[Section]) -> Result<(), ConfigError> {
        for section in sections {
            match section.head.keyword() {
                "global" => self.global(section)?,
                "defaults" => self.defaults(section)?,
                "frontend" => self.frontend(section)?,
                "backend" | "listen" => self.proxy(section)?,
                "peers" | "ring" => self.own(section)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn global(&mut self, section: &Section) -> Result<(), ConfigError> {
        for line in &section.lines {
            match line.keyword() {
                "ca-base" => self.bases.ca = Some(line.argument("a directory")?.to_owned()),
                "crt-base" => {
                    self.bases.certificates = Some(line.argument("a directory")?.to_owned());
                }
                "ssl-server-verify" => {
                    let expected = "\"none\" or \"required\"";
                    let said = match line.argument(expected)? {
                        "none" => false,
                        "required" => true,
                        value => {
                            let (keyword, value) = (line.keyword().to_owned(), value.to_owned());
                            let problem = Problem::InvalidValue { keyword, value, expected };
                            return Err(line.error(problem));
                        }
                    };
                    let is_sure = !line.is_open || self.verifies == Some(said);
                    self.verifies = is_sure.then_some(said);
                }
                "ssl-default-server-options" => {
                    self.base.apply(line, &line.words[1..], &self.bases)?;
                }
                "ssl-default-server-ciphers" => {
                    let words = ["ciphers".to_owned(), line.argument("ciphers")?.to_owned()];
                    self.base.apply(line, &words, &self.bases)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What is in force before the first line of a section.
    fn around(&self, section: &Section) -> Result<Defaults, ConfigError> {
        let known = match section.from() {
            Some(from) => Some(
                self.named
                    .get(from)
                    .ok_or_else(|| section.head.error(Problem::NoDefaults(from.to_owned())))?,
            ),
            None => self.defaults.as_ref(),
        };
        Ok(match known {
            Some(known) => Defaults { checks: known.checks.inherited(), ..known.clone() },
            None => self.no_defaults(),
        })
    }

    fn no_defaults(&self) -> Defaults {
        Defaults { server: self.base.clone(), ..Defaults::default() }
    }

    fn defaults(&mut self, section: &Section) -> Result<(), ConfigError> {
        let mut defaults = match section.from() {
            Some(_) => self.around(section)?,
            None => self.no_defaults(),
        };
        for line in &section.lines {
            match line.keyword() {
                "mode" => defaults.mode = Some(Mode::of(line)?),
                "default-server" => {
                    defaults.server.apply(line, &line.words[1..], &self.bases)?;
                }
                _ if defaults.switch(line) => {}
                _ => defaults.checks.take(line)?,
            }
        }
        if section.head.is_open {
            defaults.perhaps(&section.head, self.defaults.as_ref());
        }
        if let Some(name) = section.name() {
            self.named.insert(name.to_owned(), defaults.clone());
        }
        self.defaults = Some(defaults);
        Ok(())
    }

    fn frontend(&mut self, section: &Section) -> Result<(), ConfigError> {
        let ended = ended(&section.lines);
        for line in &section.lines {
            if matches!(line.keyword(), "default_backend" | "use_backend") {
                self.lead(line, ended)?;
            }
        }
        Ok(())
    }

    /// Takes in a line that sends what came in to a backend.
    fn lead(&mut self, line: &Line, ended: Option<Ended>) -> Result<(), ConfigError> {
        let backend = line.argument("the name of a backend")?;
        if backend.contains(['%', '$']) {
            self.leads_anywhere = true;
        } else {
            let ended = ended.unwrap_or(Ended::Unknown);
            let known = self.leads.entry(backend.to_owned()).or_insert(ended);
            *known = known.and(ended);
        }
        Ok(())
    }

    fn proxy(&mut self, section: &Section) -> Result<(), ConfigError> {
        let Some(name) = section.name() else {
            let keyword = section.head.keyword().to_owned();
            return Err(section.head.error(Problem::Arguments { keyword, expected: "a name" }));
        };
        let mut around = self.around(section)?;
        let mut proxy = Proxy {
            name: name.to_owned(),
            mode: around.mode,
            ended: (section.head.keyword() == "listen").then(|| ended(&section.lines)).flatten(),
            servers: Vec::new(),
            checks: std::mem::take(&mut around.checks),
        };
        let mut default = around.server.clone();
        let (mut dispatch, mut is_passed_on) = (None, false);
        for line in &section.lines {
            match line.keyword() {
                "mode" => proxy.mode = Some(Mode::of(line)?),
                "dispatch" => dispatch = Some(line),
                "default-server" => default.apply(line, &line.words[1..], &self.bases)?,
                "server" | "server-template" => proxy.servers.push(self.server(line, &default)?),
                // `listen` may send what it takes to other backends.
                "default_backend" | "use_backend" => {
                    is_passed_on |= line.keyword() == "default_backend";
                    self.lead(line, proxy.ended)?;
                }
                _ if around.switch(line) => {}
                _ => proxy.checks.take(line)?,
            }
        }
        if around.disabled {
            return Ok(());
        }
        let dispatch = dispatch.filter(|_| !around.balanced);
        if let Some(line) = dispatch.or(around.transparent.as_ref()).filter(|_| !is_passed_on) {
            if !(line.is_open || around.chooses) {
                // Nobody connects to its servers but their checks.
                proxy.servers.retain(|server| server.settings.check);
            }
            proxy.servers.push(self.without_server(line)?);
        }
        self.proxies.push(proxy);
        Ok(())
    }

    /// What is connected to without a server: one address (`dispatch`), or where the client meant to go.
    fn without_server(&self, line: &Line) -> Result<Written, ConfigError> {
        let mut settings = Settings::default();
        settings.apply(line, &[], &self.bases)?;
        let address = match line.keyword() {
            "dispatch" => self.address(line, line.argument("an address with a port")?)?,
            _ => None,
        };
        Ok(Written { line: line.clone(), settings, address })
    }

    /// A section whose servers haproxy itself has something to tell: what its tables learn, and logs.
    fn own(&mut self, section: &Section) -> Result<(), ConfigError> {
        let mut default = self.base.clone();
        for line in &section.lines {
            match (line.keyword(), line.words.len()) {
                ("default-server", _) => default.apply(line, &line.words[1..], &self.bases)?,
                // Without an address it is this haproxy, which `bind` has one for.
                ("server" | "peer", ..3) => {}
                ("server" | "peer", _) => {
                    let written = self.server(line, &default)?;
                    self.own.push(written);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A `server` line, or a `server-template`, of which all servers have one address.
    fn server(&self, line: &Line, default: &Settings) -> Result<Written, ConfigError> {
        let (address, rest) = match line.words.as_slice() {
            [keyword, _prefix, _count, address, rest @ ..] if keyword == "server-template" => {
                (address, rest)
            }
            [keyword, _name, address, rest @ ..] if keyword != "server-template" => (address, rest),
            _ => {
                let keyword = line.keyword().to_owned();
                let expected = "a name and an address";
                return Err(line.error(Problem::Arguments { keyword, expected }));
            }
        };
        let mut settings = default.clone();
        settings.apply(line, rest, &self.bases)?;
        let address = self.address(line, address)?;
        Ok(Written { line: line.clone(), settings, address })
    }

    fn address(&self, line: &Line, written: &str) -> Result<Option<ServerAddress>, ConfigError> {
        match address::parse(&self.environment.expand(written)) {
            Some(Address::Known(address)) => Ok(Some(address)),
            Some(Address::Open) => Ok(None),
            None => Err(line.error(Problem::InvalidValue {
                keyword: line.keyword().to_owned(),
                value: written.to_owned(),
                expected: "an address with a port from 1 to 65535",
            })),
        }
    }

    /// How servers without `ssl` are spoken to.
    pub(super) fn in_the_clear(&self, proxy: &Proxy) -> Scheme {
        // haproxy's own default is `tcp`.
        match proxy.mode.unwrap_or(Mode::Tcp) {
            Mode::Own => Scheme::Plaintext,
            Mode::Unknown => Scheme::Unknown,
            Mode::Tcp => {
                let named = self.leads.get(&proxy.name).copied();
                let by_name = match (named, proxy.ended) {
                    (Some(one), Some(other)) => Some(one.and(other)),
                    (one, other) => one.or(other),
                };
                match by_name {
                    Some(ended) if !self.leads_anywhere => ended.scheme(),
                    _ => Scheme::Unknown,
                }
            }
        }
    }
}

/// What the `bind` lines say; `None` if there are none.
fn ended(lines: &[Line]) -> Option<Ended> {
    let binds = lines.iter().filter(|line| line.keyword() == "bind").map(|line| {
        let mut options = line.words.iter().skip(2);
        if line.is_open || options.clone().any(|word| word.contains('$')) {
            return Ended::Unknown;
        }
        if options.any(|word| word == "ssl") { Ended::Yes } else { Ended::No }
    });
    binds.reduce(Ended::and)
}
