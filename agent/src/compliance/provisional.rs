//! Hops that were recorded before all was known of their proxies.

use std::{collections::HashMap, time::Instant};

use hopsight_core::{
    model::{Origin, Process},
    report::ConnectionReport,
};
use hopsight_posture::hops::ends::Ends;

/// Most processes of which such hops are remembered, and most hops of one.
const MAX_PROCESSES: usize = 256;
const MAX_OF_ONE: usize = 64;

/// The newest report on each hop that was recorded while something was being read of its proxy.
#[derive(Debug, Default)]
pub(super) struct Provisional {
    by_process: HashMap<u32, Vec<Early>>,
}

/// A report that was recorded early.
#[derive(Debug)]
pub(super) struct Early {
    /// The process that opened the connection.
    pub(super) pid: u32,
    /// Between which ends it was recorded.
    pub(super) ends: Ends,
    pub(super) report: ConnectionReport,
    /// When the connection was opened.
    pub(super) opened_at: Instant,
    /// Whether the hop is there only because of what was recorded early.
    pub(super) made_the_hop: bool,
}

impl Provisional {
    /// Remembers a report, if there is room.
    pub(super) fn remember(
        &mut self,
        pid: u32,
        ends: Ends,
        report: &ConnectionReport,
        opened_at: Instant,
        mut made_the_hop: bool,
    ) {
        if self.by_process.len() >= MAX_PROCESSES && !self.by_process.contains_key(&pid) {
            return;
        }
        let early = self.by_process.entry(pid).or_default();
        if let Some(at) = early.iter().position(|known| known.ends == ends) {
            made_the_hop |= early.remove(at).made_the_hop;
        }
        if early.len() < MAX_OF_ONE {
            early.push(Early { pid, ends, report: report.clone(), opened_at, made_the_hop });
        }
    }

    /// The processes.
    pub(super) fn processes(&self) -> Vec<Process> {
        let reports = self.by_process.values().filter_map(|early| early.first());
        let processes = reports.filter_map(|early| match &early.report.origin {
            Origin::Process(process) => Some(process.clone()),
            Origin::PacketCapture => None,
        });
        processes.collect()
    }

    /// Takes out what belongs to processes that are settled.
    pub(super) fn take_if(&mut self, is_settled: impl Fn(u32) -> bool) -> Vec<Early> {
        self.by_process.extract_if(|pid, _| is_settled(*pid)).flat_map(|(_, early)| early).collect()
    }
}
