//! Balancers and their members.

use std::collections::HashMap;

use super::{
    directive::Directive,
    error::ConfigError,
    sections::balancer,
    url::{self, To, Url},
};
use crate::policy::intent::{Server, ServerAddress};

/// A member of a balancer.
#[derive(Clone, Debug)]
pub(super) struct Member<'a> {
    pub(super) directive: &'a Directive,
    pub(super) url: Url,
    weight: u32,
    backup: bool,
    down: bool,
}

impl Member<'_> {
    /// It as a server; `None` if its address is decided at run time.
    pub(super) fn server(&self) -> Option<Server> {
        let To::Address(address) = &self.url.to else { return None };
        let at = self.directive.at.clone();
        let Self { weight, backup, down, .. } = *self;
        Some(Server { weight, backup, down, ..Server::new(address.clone(), at) })
    }

    pub(super) fn address(&self) -> Option<ServerAddress> {
        self.server().map(|server| server.address)
    }
}

/// The members of each balancer that a server defines, by its name.
pub(super) type Balancers<'a> = HashMap<String, Vec<Member<'a>>>;

/// The balancers in the directives of a server.
pub(super) fn all(directives: &[Directive]) -> Result<Balancers<'_>, ConfigError> {
    let mut out = Balancers::new();
    for directive in directives {
        if let Some(name) = balancer(directive) {
            let members = out.entry(name).or_default();
            for inside in directive.inside.iter().filter(|one| one.name == "balancermember") {
                members.push(member(inside, &inside.words)?);
            }
        } else if directive.name == "balancermember" {
            const EXPECTED: &str = "the name of a balancer outside of <Proxy>, and a URL";
            let Some((name, words)) = directive.words.split_first() else {
                return Err(directive.arguments(EXPECTED));
            };
            let Ok(Url { to: To::Balancer(name), .. }) = url::parse(name, None) else {
                return Err(directive.arguments(EXPECTED));
            };
            out.entry(name).or_default().push(member(directive, words)?);
        }
    }
    Ok(out)
}

fn member<'a>(directive: &'a Directive, words: &[String]) -> Result<Member<'a>, ConfigError> {
    let Some((text, parameters)) = words.split_first() else {
        return Err(directive.arguments("a URL"));
    };
    let url =
        url::parse(text, None).map_err(|()| directive.invalid(text, "a URL of an upstream"))?;
    let value = |name: &str| {
        let pairs = parameters.iter().filter_map(|word| word.split_once('='));
        pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next_back()
    };
    // `status=+H`: letters that are switched on or, after a minus, off.
    let has = |letter: char| {
        let status = value("status").unwrap_or_default();
        let mut is_on = true;
        let mut found = false;
        for c in status.chars() {
            match c {
                '+' => is_on = true,
                '-' => is_on = false,
                c if c.eq_ignore_ascii_case(&letter) => found = is_on,
                _ => {}
            }
        }
        found
    };
    let weight = value("loadfactor").and_then(|factor| factor.split('.').next()?.parse().ok());
    let is_later = value("lbset").is_some_and(|set| set != "0");
    Ok(Member {
        directive,
        url,
        weight: weight.unwrap_or(1),
        backup: has('h') || has('r') || is_later,
        down: has('d') || has('s'),
    })
}
