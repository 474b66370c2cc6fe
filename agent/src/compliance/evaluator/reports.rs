//! When a report is recorded: at once where all is known of its process, else after a while, and once
//! more under its names when they are known.

use std::{collections::HashMap, task::Poll};

use super::Evaluator;
use crate::compliance::{
    named::Named,
    provisional::Early,
    proxies::{Asked, Proxy},
    waiting::Submitted,
};
use hopsight_core::model::{Origin, Security};
use hopsight_posture::{
    hops::onward::Onward,
    policy::{drift::DriftEvent, time::UnixTime},
};

impl Evaluator {
    /// Records what was said about a connection: it is counted, and evaluated against policy if it
    /// decides something. Waits for a while if something about its ends is being read; after that it
    /// goes by what is known, and once more by its names when they are.
    pub(in crate::compliance) fn report(&mut self, submitted: Submitted) {
        let Origin::Process(process) = &submitted.report.origin else {
            self.exporter.record(&submitted.report);
            return;
        };
        let pid = process.pid;
        let asked = self.proxies.of(process, &self.readers);
        let onward = match (&asked, submitted.report.verdict.security) {
            // What is asked again need not be looked for yet.
            (Asked::NotYet(..) | Asked::Unnamed(_), _) if submitted.may_wait() => Poll::Pending,
            (_, Security::Plaintext) => {
                self.onward.find(pid, submitted.report.destination, &self.readers)
            }
            _ => Poll::Ready(None),
        };
        let may_wait = submitted.may_wait();
        let (proxy, waits_as) = match asked {
            Asked::Known(proxy) if onward.is_ready() => (Some(proxy), None),
            Asked::Known(proxy) => (Some(proxy.clone()), may_wait.then(|| proxy.whose())),
            Asked::NotYet(proxy, whose) => (proxy, may_wait.then_some(whose)),
            Asked::Unnamed(whose) => (None, Some(whose)),
            Asked::Gone => (None, None),
        };
        if let Some(whose) = waits_as.filter(|whose| self.waiting.has_room(*whose)) {
            self.waiting.push(submitted, whose);
        } else {
            // A process that is gone is not waited for, unlike by what was said while it ran.
            if submitted.report.is_final {
                self.waiting.supersede(submitted.report.connection);
            }
            self.go_on(&submitted, proxy, onward);
        }
    }

    /// Records a report by what is known of its process now.
    fn go_on(&mut self, submitted: &Submitted, proxy: Option<Proxy>, onward: Poll<Option<Onward>>) {
        let onward = match onward {
            Poll::Ready(onward) => onward,
            Poll::Pending => None,
        };
        let (report, opened_at) = (&submitted.report, submitted.opened_at);
        let being_read = match &report.origin {
            Origin::Process(process) => self.proxies.being_read(process.pid).map(|_| process.pid),
            Origin::PacketCapture => None,
        };
        let makes_the_hop = being_read.is_some() && {
            let ends = Named::find(report, proxy.as_ref(), &self.proxies).ends;
            !self.exporter.has(&ends)
        };
        let user = proxy.as_ref().map(Proxy::user);
        let ends = self.named(report, opened_at, proxy, onward.as_ref(), false);
        self.note_user(user, &ends);
        if let Some(pid) = being_read {
            self.provisional.remember(pid, ends, report, opened_at, makes_the_hop);
        }
    }

    /// Whether reports wait.
    pub(in crate::compliance) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Tries the reports that wait again, in their order; once it is known that a process is still
    /// being read, its others go on waiting.
    pub(in crate::compliance) fn retry(&mut self) {
        self.proxies.advance(&self.readers);
        let mut being_read = HashMap::new();
        for submitted in self.waiting.take() {
            let Origin::Process(process) = &submitted.report.origin else { continue };
            let pid = process.pid;
            if let Some(whose) = being_read.get(&pid)
                && submitted.may_wait()
                && self.waiting.has_room(*whose)
            {
                self.waiting.push(submitted, *whose);
                continue;
            }
            self.report(submitted);
            if let Some(whose) = self.proxies.being_read(pid) {
                being_read.insert(pid, whose);
            }
        }
    }

    /// Records what still waits, by what is known.
    pub(in crate::compliance) fn give_up_waiting(&mut self) {
        for submitted in self.waiting.take() {
            let proxy = match &submitted.report.origin {
                Origin::Process(process) => self.proxies.known(process.pid).cloned(),
                Origin::PacketCapture => None,
            };
            self.go_on(&submitted, proxy, Poll::Pending);
        }
    }

    /// Evaluates what was recorded before all was known of its process, and puts it under its names
    /// where it has others.
    pub(super) fn settle_provisional(&mut self, now: UnixTime) -> Vec<DriftEvent> {
        // What was read of them meanwhile is taken in when somebody asks.
        for process in self.provisional.processes() {
            self.proxies.of(&process, &self.readers);
        }
        let mut events = Vec::new();
        let proxies = &self.proxies;
        for early in self.provisional.take_if(|pid| proxies.being_read(pid).is_none()) {
            let Early { pid, ends, mut report, opened_at, made_the_hop } = early;
            // One that has ended meanwhile had the names of the others that are called like it.
            let known = self.proxies.known(pid).or_else(|| self.proxies.labelled(&ends.proxy));
            let Some(proxy) = known.cloned() else { continue };
            let named = Named::find(&report, Some(&proxy), &self.proxies).ends;
            if (&named.proxy, &named.upstream) == (&ends.proxy, &ends.upstream) {
                // It was counted.
                report.is_final = false;
            } else if made_the_hop {
                events.extend(self.forget(&(ends.proxy, ends.upstream), now));
            }
            let user = proxy.user();
            let ends = self.named(&report, opened_at, Some(proxy), None, true);
            self.note_user(Some(user), &ends);
        }
        events
    }
}
