//! What no agent can say of proxies that run before it.

use std::collections::{BTreeSet, HashMap};

use super::{Requirement, State};
use hopsight_posture::hops::older_sessions::decided_by;

/// The sessions of processes that run already, by process id and name; nothing where none does.
pub fn check(running: &HashMap<u32, String>) -> Option<Requirement> {
    let names: BTreeSet<&str> = running.values().map(String::as_str).collect();
    if names.is_empty() {
        return None;
    }
    let commands: BTreeSet<_> = names.iter().map(|name| decided_by(name)).collect();
    let commands: Vec<_> = commands.iter().map(|command| &**command).collect();
    Some(Requirement {
        name: "sessions",
        state: State::Ok,
        detail: "TLS sessions of processes that run before the agent stay unknown while they are \
                 resumed"
            .to_owned(),
        advice: format!("once the agent runs, and when it suits you: {}", commands.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_proxy_is_named_once_with_what_begins_its_sessions_anew() {
        let running = [(7, "nginx"), (8, "nginx"), (9, "envoy")];
        let running = running.map(|(pid, name)| (pid, name.to_owned())).into();
        let advice = check(&running).map(|requirement| requirement.advice).unwrap_or_default();
        let want =
            "once the agent runs, and when it suits you: a restart of envoy, nginx -s reload";
        assert_eq!(advice, want);
        assert_eq!(check(&HashMap::new()), None);
    }
}
