//! What is known of the modules that `<IfModule>` asks for.

use std::collections::BTreeSet;

/// Which modules a program may have built in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BuiltIn {
    /// Any: the program was not looked at.
    #[default]
    Unknown,
    /// None but these, by their files (`mod_so.c`), which need not all be there.
    Among(BTreeSet<String>),
}

/// Modules that every Apache that loads others has.
const ALWAYS: [&str; 3] = ["core", "http", "so"];

/// The modules as far as the configuration was read.
#[derive(Debug, Default)]
pub(super) struct Modules {
    built_in: BTreeSet<String>,
    is_known: bool,
    loaded: BTreeSet<String>,
    perhaps: BTreeSet<String>,
}

impl Modules {
    pub(super) fn new(built_in: &BuiltIn) -> Self {
        let (known, is_known) = match built_in {
            BuiltIn::Unknown => (BTreeSet::new(), false),
            BuiltIn::Among(files) => (files.iter().map(|file| key(file)).collect(), true),
        };
        Self { built_in: known, is_known, ..Self::default() }
    }

    /// `LoadModule`, perhaps in a condition that is not decided.
    pub(super) fn load(&mut self, identifier: &str, is_open: bool) {
        let set = if is_open { &mut self.perhaps } else { &mut self.loaded };
        set.insert(key(identifier));
    }

    /// Whether a module is there; `None` where that is not known.
    pub(super) fn has(&self, name: &str) -> Option<bool> {
        let key = key(name);
        if ALWAYS.contains(&key.as_str()) || self.loaded.contains(&key) {
            return Some(true);
        }
        let may_be = !self.is_known || self.built_in.contains(&key) || self.perhaps.contains(&key);
        if may_be { None } else { Some(false) }
    }
}

/// One name for a module that is asked for by its file (`mod_ssl.c`) or its identifier (`ssl_module`).
fn key(name: &str) -> String {
    let name = name.strip_suffix(".c").or_else(|| name.strip_suffix("_module")).unwrap_or(name);
    let name = name.strip_prefix("mod_").unwrap_or(name);
    match name {
        "event" | "prefork" | "worker" => format!("mpm_{name}"),
        "http_core" => "http".to_owned(),
        "util_ldap" => "ldap".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_there_or_not_where_that_is_known() {
        let files = ["mod_so.c", "mod_log_config.c", "http_core.c"].map(str::to_owned);
        let mut known = Modules::new(&BuiltIn::Among(files.into()));
        let mut unknown = Modules::new(&BuiltIn::Unknown);
        for modules in [&mut known, &mut unknown] {
            modules.load("ssl_module", false);
            modules.load("proxy_module", true);
            modules.load("mpm_event_module", false);
        }
        for (name, in_known, in_unknown) in [
            ("mod_ssl.c", Some(true), Some(true)),
            ("ssl_module", Some(true), Some(true)),
            ("event.c", Some(true), Some(true)),
            ("core.c", Some(true), Some(true)),
            ("mod_proxy.c", None, None),
            // Its name stands in the program.
            ("mod_log_config.c", None, None),
            ("mod_http2.c", Some(false), None),
        ] {
            assert_eq!(known.has(name), in_known, "{name}");
            assert_eq!(unknown.has(name), in_unknown, "{name}");
        }
    }
}
