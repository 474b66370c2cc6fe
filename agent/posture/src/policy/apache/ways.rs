//! The directives that lead requests to upstreams.

use super::{
    directive::Directive,
    error::ConfigError,
    url::{self, To, Url},
};
use crate::policy::intent::Scheme;

/// What other servers a way of the main server is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// All that do not say `ProxyPassInherit Off`.
    Passes,
    /// All: it stands in a section such as `<Location>`.
    Sections,
    /// Those that inherit rewrite rules.
    Rules,
    /// None.
    Own,
}

/// One way to an upstream.
#[derive(Clone, Debug)]
pub(super) struct Way<'a> {
    pub(super) directive: &'a Directive,
    pub(super) url: Url,
    /// How it is written.
    pub(super) text: String,
    pub(super) reach: Reach,
    /// The server that it stands in uses it: a rewrite rule where the engine is off is for others alone.
    pub(super) is_on: bool,
    /// The name of the upstream is that of the request (`ProxyPreserveHost`).
    pub(super) preserves_host: bool,
}

/// What is in force where a list of directives stands.
#[derive(Clone, Copy, Debug, Default)]
struct Around {
    in_section: bool,
    rewrites: bool,
    preserves_host: bool,
}

/// All ways in the directives of a server that stands in the conditions `given`.
pub(super) fn all<'a>(
    directives: &'a [Directive],
    given: &[u32],
    inherited: Inherited,
) -> Result<Vec<Way<'a>>, ConfigError> {
    let mut out = Vec::new();
    let Inherited { rewrites, preserves_host } = inherited;
    let around = Around { in_section: false, rewrites, preserves_host };
    collect(directives, given, around, &mut out)?;
    // A section that keeps the name of the request may be about any of them.
    if says_so_inside(directives) {
        for way in &mut out {
            way.preserves_host = true;
        }
    }
    Ok(out)
}

/// What a virtual host has of the main server where it says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Inherited {
    pub(super) rewrites: bool,
    pub(super) preserves_host: bool,
}

impl Inherited {
    /// What these directives leave in force where the conditions `given` hold.
    pub(super) fn after(self, directives: &[Directive], given: &[u32]) -> Self {
        let switch = |name| switch(directives, given, name);
        Self {
            rewrites: switch("rewriteengine").unwrap_or(self.rewrites),
            preserves_host: switch("proxypreservehost").unwrap_or(self.preserves_host),
        }
    }
}

/// Whether a virtual host may have the rewrite rules of the main server (`config_server_merge` of
/// `mod_rewrite`), where its engine is on.
pub(super) fn inherits_rules(main: &[Directive], host: &Directive) -> bool {
    let (host, given) = (&host.inside, &*host.conditions);
    // One that says nothing of rewriting rewrites nothing.
    if !host.iter().any(|one| one.name.starts_with("rewrite")) {
        return false;
    }
    let all = |directives| options(directives, given).map(|(word, _)| word);
    let sure = |directives| options(directives, given).filter(|(_, is_sure)| *is_sure);
    // Its own options take the place of all that the main server has.
    let (has_own, is_sure) = (all(host).next().is_some(), sure(host).next().is_some());
    let is = |names: [&'static str; 2]| {
        move |word: &str| names.iter().any(|name| name.eq_ignore_ascii_case(word))
    };
    let takes = is(["inherit", "inheritbefore"]);
    let takes_it = all(host).any(takes) || (!is_sure && all(main).any(takes));
    let is_given = all(main).any(is(["inheritdown", "inheritdownbefore"]));
    let ignores = sure(if has_own { host } else { main })
        .any(|(word, _)| word.eq_ignore_ascii_case("ignoreinherit"));
    takes_it || (is_given && !ignores)
}

/// The words of `RewriteOptions`, and whether they count where the conditions `given` hold.
fn options<'a>(
    directives: &'a [Directive],
    given: &[u32],
) -> impl Iterator<Item = (&'a str, bool)> {
    let all = directives.iter().filter(|one| one.name == "rewriteoptions");
    all.flat_map(|one| {
        let is_sure = one.holds(given);
        one.words.iter().map(move |word| (word.as_str(), is_sure))
    })
}

/// The last value of a switch; on where an undecided condition could switch it on, or off.
fn switch(directives: &[Directive], given: &[u32], name: &str) -> Option<bool> {
    let all = || directives.iter().filter(|one| one.name == name);
    let is_on = |one: &Directive| one.words.first().is_some_and(|it| it.eq_ignore_ascii_case("on"));
    if all().any(|one| !one.holds(given) && is_on(one)) {
        return Some(true);
    }
    all().rfind(|one| one.holds(given)).map(is_on)
}

fn is_section(directive: &Directive) -> bool {
    directive.name.starts_with('<')
        && !["<virtualhost", "<proxy", "<proxymatch"].contains(&directive.name.as_str())
}

fn says_so_inside(directives: &[Directive]) -> bool {
    directives.iter().filter(|one| is_section(one)).any(|section| {
        switch(&section.inside, &section.conditions, "proxypreservehost") == Some(true)
            || says_so_inside(&section.inside)
    })
}

fn collect<'a>(
    directives: &'a [Directive],
    given: &[u32],
    around: Around,
    out: &mut Vec<Way<'a>>,
) -> Result<(), ConfigError> {
    let inherited = Inherited { rewrites: around.rewrites, preserves_host: around.preserves_host };
    let Inherited { rewrites, preserves_host } = inherited.after(directives, given);
    for directive in directives {
        if is_section(directive) {
            let inside = Around { in_section: true, rewrites, preserves_host };
            collect(&directive.inside, &directive.conditions, inside, out)?;
            continue;
        }
        let Some((url, text, reach)) = way(directive, around.in_section, rewrites)? else {
            continue;
        };
        let reach = if around.in_section { Reach::Sections } else { reach };
        let is_on = rewrites || reach != Reach::Rules;
        out.push(Way { directive, url, text, reach, is_on, preserves_host });
    }
    Ok(())
}

fn way(
    directive: &Directive,
    in_section: bool,
    rewrites: bool,
) -> Result<Option<(Url, String, Reach)>, ConfigError> {
    let words: Vec<&str> =
        directive.words.iter().map(String::as_str).filter(|&word| word != "~").collect();
    let parse = |text: &str, pattern: Option<&str>| {
        url::parse(text, pattern).map_err(|()| directive.invalid(text, "a URL of an upstream"))
    };
    let decided_elsewhere = |text: &str| {
        let url = Url { to: To::Open, scheme: Scheme::Unknown, host: None, text: String::new() };
        Some((url, text.to_owned(), Reach::Own))
    };
    Ok(match (directive.name.as_str(), words.as_slice()) {
        ("proxypass" | "proxypassmatch", [.., "!"]) => None,
        ("proxypass", [url, ..]) if in_section => {
            Some((parse(url, None)?, (*url).to_owned(), Reach::Sections))
        }
        // The pattern is that of the section.
        ("proxypassmatch", [url, ..]) if in_section => {
            Some((parse(url, None)?, (*url).to_owned(), Reach::Sections))
        }
        ("proxypass", [_, url, ..]) => Some((parse(url, None)?, (*url).to_owned(), Reach::Passes)),
        ("proxypassmatch", [pattern, url, ..]) => {
            Some((parse(url, Some(pattern))?, (*url).to_owned(), Reach::Passes))
        }
        ("proxypass" | "proxypassmatch", _) => {
            return Err(directive.arguments("a path, where no section has one, and a URL"));
        }
        ("rewriterule", [pattern, to, flags, ..])
            if (rewrites || !in_section) && passes_on(flags) =>
        {
            // What is no URL became one elsewhere.
            let pattern = pattern.trim_start_matches('!');
            match url::parse(to, Some(pattern)) {
                Ok(url) => Some((url, (*to).to_owned(), Reach::Rules)),
                Err(()) => decided_elsewhere(to).map(|(url, text, _)| (url, text, Reach::Rules)),
            }
        }
        ("sethandler" | "addhandler", [handler, ..]) => match handler.strip_prefix("proxy:") {
            Some(url) => Some((parse(url, None)?, url.to_owned(), Reach::Sections)),
            None if handler.contains("proxy:") => decided_elsewhere(handler),
            None => None,
        },
        ("proxyrequests" | "proxyexpressenable", [value]) if value.eq_ignore_ascii_case("on") => {
            decided_elsewhere(&directive.written)
        }
        _ => None,
    })
}

/// Whether the flags of a rewrite rule have the request passed on.
fn passes_on(flags: &str) -> bool {
    let flags = flags.trim_start_matches('[').trim_end_matches(']').split(',').map(str::trim);
    let is_it = |flag: &str| flag.eq_ignore_ascii_case("p") || flag.eq_ignore_ascii_case("proxy");
    flags.into_iter().any(is_it)
}
