//! What the configuration that a process runs says of a hop, and whether it alone has a say.

use std::sync::Arc;

use super::Evaluator;
use crate::compliance::{process::User, proxies::Proxy};
use hopsight_core::{model::canonical, report::ConnectionReport};
use hopsight_posture::{
    hops::{
        context::{HopContext, IntentSummary},
        ends::Ends,
        hop::Hop,
    },
    policy::{intent::UpstreamIntent, time::UnixTime},
};
use hopsight_system::clock::monotonic_now;

/// A connection, and what the configuration says that it was opened with.
pub(super) struct Asked<'a> {
    pub(super) report: &'a ConnectionReport,
    pub(super) ends: &'a Ends,
    /// Several where the configuration leaves open which upstream it is.
    pub(super) intents: &'a [&'a UpstreamIntent],
    /// Since when it says what it says.
    pub(super) configured_at: Option<UnixTime>,
}

/// The answer of [`Evaluator::say`].
pub(super) struct Say {
    /// What is intended; absent where others of the label may intend something else.
    pub(super) intent: Option<IntentSummary>,
    /// Since when; absent like that.
    pub(super) configured_at: Option<UnixTime>,
    /// Other proxies of the label use the hop, or have its upstream in their configurations.
    pub(super) has_others: bool,
    /// The proxy has loaded a newer configuration, and this process goes on with the one before it.
    pub(super) is_old: bool,
    /// The configuration does not speak for the hop alone: `has_others`, or workers with an older one
    /// run.
    pub(super) is_shared: bool,
    /// Since when a client certificate has been configured, if one ever was.
    pub(super) client_certificate_since: Option<f64>,
}

impl Evaluator {
    /// A process has opened a connection between these ends.
    pub(super) fn note_user(&mut self, user: Option<User>, ends: &Ends) {
        let hop = (ends.proxy.clone(), ends.upstream.clone());
        if let Some(user) = user
            && self.proxies.note_user(user, &hop, monotonic_now())
        {
            self.state.note_change();
        }
    }

    /// Where others had a say in a hop and have ended meanwhile, its configuration speaks for it.
    pub(super) fn note_who_is_left(&mut self) {
        let exporter = &self.exporter;
        self.proxies.retain_hops(|(proxy, upstream)| exporter.hop(proxy, upstream).is_some());
        let shared = |hop: &&Arc<Hop>| hop.context.is_shared;
        for hop in self.exporter.snapshot().hops.iter().filter(shared) {
            let key = (hop.proxy.clone(), hop.upstream.clone());
            let loaded_at = hop.context.loaded_at.map(UnixTime::from_secs_f64);
            if loaded_at.is_some_and(|since| self.proxies.has_one_user(&key, since)) {
                let left = |known: &HopContext| HopContext { is_shared: false, ..known.clone() };
                self.exporter.describe(&key.0, &key.1, left);
            }
        }
    }

    /// What is configured for the hop of a connection, of which `known` is known.
    pub(super) fn say(&self, asked: &Asked<'_>, proxy: Option<&Proxy>, known: &HopContext) -> Say {
        let Asked { report, ends, intents, configured_at } = *asked;
        let hop = (ends.proxy.clone(), ends.upstream.clone());
        let has_others = proxy.is_some_and(|proxy| self.proxies.has_others(proxy, &hop));
        let intent = if has_others { None } else { said_by_all(intents) };
        let client_certificate_since = known.client_certificate_since.or_else(|| {
            intent.as_ref().filter(|_| known.intent.is_none())?;
            let is_configured =
                |name: &Arc<str>| self.proxies.configured(&ends.proxy, name).next().is_some();
            let server = canonical(report.destination);
            self.exporter.had_client_certificate(ends, server, is_configured)
        });
        let configured_at = configured_at.filter(|_| !has_others);
        let configured_at = known.unchanged_since(intent.as_ref(), configured_at);
        // After a reload workers with the old configuration go on opening connections, and what they run
        // with is not what the proxy intends.
        let is_old = !has_others && known.loaded_at > configured_at.map(UnixTime::as_secs_f64);
        let has_older = proxy.zip(configured_at);
        let has_older = has_older.is_some_and(|(proxy, at)| self.proxies.has_older(proxy, at));
        let is_shared = has_others || is_old || has_older;
        Say { intent, configured_at, has_others, is_old, is_shared, client_certificate_since }
    }
}

/// What one upstream intends, or all of those alike that a connection may be meant for.
fn said_by_all(intents: &[&UpstreamIntent]) -> Option<IntentSummary> {
    let mut all = intents.iter().map(|one| IntentSummary::of(one));
    let first = all.next()?;
    all.all(|other| other.says_the_same(&first)).then_some(first)
}
