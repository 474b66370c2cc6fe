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

/// All ways in the directives of a server. `rewrites` is whether the rewrite engine is on around it.
pub(super) fn all(
    directives: &[Directive],
    inherited: Inherited,
) -> Result<Vec<Way<'_>>, ConfigError> {
    let mut out = Vec::new();
    let Inherited { rewrites, preserves_host } = inherited;
    collect(directives, Around { in_section: false, rewrites, preserves_host }, &mut out)?;
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
    /// What these directives leave in force.
    pub(super) fn after(self, directives: &[Directive]) -> Self {
        Self {
            rewrites: switch(directives, "rewriteengine").unwrap_or(self.rewrites),
            preserves_host: switch(directives, "proxypreservehost").unwrap_or(self.preserves_host),
        }
    }
}

/// Whether a virtual host may have the rewrite rules of the main server (`config_server_merge` of
/// `mod_rewrite`), where its engine is on.
pub(super) fn inherits_rules(main: &[Directive], host: &[Directive]) -> bool {
    // One that says nothing of rewriting rewrites nothing.
    if !host.iter().any(|one| one.name.starts_with("rewrite")) {
        return false;
    }
    let options = |directives| options(directives).map(|(word, _)| word);
    // Its own options take the place of all that the main server has.
    let (own, is_sure) = (options(host).count() > 0, self::options(host).any(|(_, sure)| sure));
    let counted = |directives| {
        let sure = self::options(directives).filter(|(_, is_sure)| *is_sure);
        sure.map(|(word, _)| word).any(|word| word.eq_ignore_ascii_case("ignoreinherit"))
    };
    let is = |names: [&'static str; 2]| {
        move |word: &str| names.iter().any(|name| name.eq_ignore_ascii_case(word))
    };
    let takes = is(["inherit", "inheritbefore"]);
    let takes_it = options(host).any(takes) || (!is_sure && options(main).any(takes));
    let is_given = options(main).any(is(["inheritdown", "inheritdownbefore"]));
    takes_it || (is_given && !counted(if own { host } else { main }))
}

/// The words of `RewriteOptions`, and whether they count whatever is not decided.
fn options(directives: &[Directive]) -> impl Iterator<Item = (&str, bool)> {
    let all = directives.iter().filter(|one| one.name == "rewriteoptions");
    all.flat_map(|one| one.words.iter().map(|word| (word.as_str(), one.conditions.is_empty())))
}

/// The last value of a switch; on where an undecided condition could switch it on.
fn switch(directives: &[Directive], name: &str) -> Option<bool> {
    let all = || directives.iter().filter(|one| one.name == name);
    let is_on = |one: &Directive| one.words.first().is_some_and(|it| it.eq_ignore_ascii_case("on"));
    if all().any(|one| !one.conditions.is_empty() && is_on(one)) {
        return Some(true);
    }
    all().next_back().map(is_on)
}

fn is_section(directive: &Directive) -> bool {
    directive.name.starts_with('<')
        && !["<virtualhost", "<proxy", "<proxymatch"].contains(&directive.name.as_str())
}

fn says_so_inside(directives: &[Directive]) -> bool {
    directives.iter().filter(|one| is_section(one)).any(|section| {
        switch(&section.inside, "proxypreservehost") == Some(true)
            || says_so_inside(&section.inside)
    })
}

fn collect<'a>(
    directives: &'a [Directive],
    around: Around,
    out: &mut Vec<Way<'a>>,
) -> Result<(), ConfigError> {
    let inherited = Inherited { rewrites: around.rewrites, preserves_host: around.preserves_host };
    let Inherited { rewrites, preserves_host } = inherited.after(directives);
    for directive in directives {
        if is_section(directive) {
            let inside = Around { in_section: true, rewrites, preserves_host };
            collect(&directive.inside, inside, out)?;
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
