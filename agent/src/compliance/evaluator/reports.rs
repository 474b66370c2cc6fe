//! When a report is recorded: at once where all is known of its process, else after a while, and once
//! more under its names when they are known.

use std::task::Poll;

use super::Evaluator;
use crate::compliance::{
    named::Named,
    provisional::Early,
    proxies::{Asked, Proxy},
    waiting::Submitted,
};
use hopsight_core::{
    hops::onward::Onward,
    model::{Origin, Security},
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
        let onward = match submitted.report.verdict.security {
            Security::Plaintext => {
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
        match waits_as.filter(|whose| self.waiting.has_room(*whose)) {
            Some(whose) => self.waiting.push(submitted, whose),
            None => self.go_on(&submitted, proxy, onward),
        }
    }

    /// Records a report by what is known of its process now.
    fn go_on(&mut self, submitted: &Submitted, proxy: Option<Proxy>, onward: Poll<Option<Onward>>) {
        let onward = match onward {
            Poll::Ready(onward) => onward,
            Poll::Pending => None,
        };
        let (report, opened_at) = (&submitted.report, submitted.opened_at);
        let ends = self.named(report, opened_at, proxy, onward.as_ref());
        if let Origin::Process(process) = &report.origin
            && self.proxies.is_being_read(process.pid)
        {
            self.provisional.remember(process.pid, ends, report, opened_at);
        }
    }

    /// Whether reports wait.
    pub(in crate::compliance) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Tries the reports that wait again, in their order.
    pub(in crate::compliance) fn retry(&mut self) {
        self.proxies.advance(&self.readers);
        for submitted in self.waiting.take() {
            self.report(submitted);
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
        for early in self.provisional.take_if(|pid| !proxies.is_being_read(pid)) {
            let Early { pid, ends, mut report, opened_at } = early;
            let Some(proxy) = self.proxies.known(pid).cloned() else { continue };
            let named = Named::find(&report, Some(&proxy), &self.proxies).ends;
            if (&named.proxy, &named.upstream) == (&ends.proxy, &ends.upstream) {
                // It was counted.
                report.is_final = false;
            } else {
                events.extend(self.tracker.give_up(&ends.proxy, &ends.upstream, now));
                self.exporter.forget(&ends.proxy, &ends.upstream);
            }
            self.named(&report, opened_at, Some(proxy), None);
        }
        events
    }
}
