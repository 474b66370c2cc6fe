//! A look at the configuration of a proxy: everything that takes its files, on a thread that nobody
//! waits for.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    disk::Disk,
    loaded::Loaded,
    loads::{Began, Loads},
};
use hopsight_identity::{
    configured::Configured,
    foreign_root::ForeignRoot,
    reading::{ReadFrom, Reading, is_newer},
};
use hopsight_posture::policy::{
    certificate::{self, CertificateFinding},
    intent::{Fault, Intent, Setting, Text, TlsIntent, UpstreamIntent},
    kind::ProxyKind,
    time::UnixTime,
};
use hopsight_system::process::{ProcessFacts, bytes_read, since_boot, ticks_now};

/// Most often that a configuration is read in one look because it, or its master, was at work.
const MAX_READS: usize = 3;

/// What is looked at, and what was known of it before.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// What it is.
    pub(super) kind: ProxyKind,
    /// The main process.
    pub(super) master: ProcessFacts,
    /// Where its configuration is, if that was found.
    pub(super) configured: Option<Configured>,
    /// The configuration that is known.
    pub(super) known: Arc<Intent>,
    /// When the newest of its files was changed.
    pub(super) changed_at: Option<UnixTime>,
    /// When it was loaded.
    pub(super) loaded_at: Option<UnixTime>,
    /// What was seen of its loads, of a proxy that replaces its workers.
    pub(super) loads: Option<Loads>,
    /// What it has loaded, if that is known for certain.
    pub(super) loaded: Option<Loaded>,
    /// What is known may not be in force.
    pub(super) is_guess: bool,
    /// What the files say that it names.
    pub(super) disk: Arc<Disk>,
    /// Read the files though they have not changed.
    pub(super) read_anyway: bool,
    /// Read the private keys of client certificates.
    pub(super) read_keys: bool,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) configured: Configured,
    /// `None` where the files are those that were known.
    pub(super) seen: Option<Seen>,
    /// What was seen of its loads, of a proxy that replaces its workers.
    pub(super) loads: Option<Loads>,
    /// What the files say by now that the configuration names.
    pub(super) disk: Arc<Disk>,
    /// How long it took.
    pub(super) took: Duration,
}

/// What the files say.
#[derive(Debug)]
pub(super) struct Seen {
    /// When the newest worker started of those with what is in force.
    pub(super) loaded_at: UnixTime,
    /// Whether it is known to be in force, apart from when the files were changed.
    pub(super) is_certain: bool,
    /// When the newest of the files was changed; where they are faulty, of those that were known.
    pub(super) changed_at: Option<UnixTime>,
    /// Where it is from.
    pub(super) from: ReadFrom,
    /// What it has loaded if the files say that; `None` where they are faulty, or are not asked.
    pub(super) loaded: Option<Loaded>,
    /// Whether it is what the workers that run are known to have loaded; `None` where that is not known.
    pub(super) is_loaded: Option<bool>,
    /// The configuration.
    pub(super) says: Result<Says, Fault>,
}

impl Seen {
    /// Whether what the files say waits to be loaded, and whether what is in force may be something else.
    pub(super) fn is_pending_or_guess(&self) -> (bool, bool) {
        match (self.from, self.is_loaded) {
            (ReadFrom::Proxy { is_pending }, _) => (is_pending, false),
            (ReadFrom::Files, Some(is_loaded)) => (!is_loaded, !is_loaded),
            // Files that changed after the load may have done so before they were read.
            (ReadFrom::Files, None) => {
                let is_newer = self.changed_at.is_some_and(|at| is_newer(at, self.loaded_at));
                (is_newer, is_newer || !self.is_certain)
            }
        }
    }
}

/// What a configuration says, and whether that is in force.
#[derive(Debug)]
pub(super) enum Says {
    /// Workers were started with it.
    InForce(Intent, Vec<Certificate>),
    /// It waits to be loaded.
    Pending,
}

/// The client certificate that the first TLS route of an upstream names.
pub(super) type Certificate = Option<Arc<CertificateFinding>>;

impl Question {
    /// Looks.
    ///
    /// # Errors
    /// When the master is gone or may not be inspected.
    pub(super) fn look(self) -> anyhow::Result<Look> {
        let began_at = Instant::now();
        let configured = match &self.configured {
            Some(configured) => configured.clone(),
            None => Configured::of_main(self.kind, &self.master)?,
        };
        let root = ForeignRoot::of_process(self.master.key.pid)?;
        let is_known = || anyhow::Ok(configured.changed_at(&self.known.files)? == self.changed_at);
        let is_as_known = !self.read_anyway && !self.kind.is_asked() && is_known()?;
        let (reading, read) = if is_as_known {
            (None, self.bytes_read())
        } else {
            let (reading, read) = self.read(&configured)?;
            (Some(reading), read)
        };
        let (loads, began) = self.loads(reading.as_ref().and_then(|reading| reading.newest), read);
        let seen = reading.map(|reading| self.judge(&configured, reading, loads.as_ref(), began));
        let intent = match seen.as_ref().map(|seen| &seen.says) {
            Some(Ok(Says::InForce(intent, _))) => intent,
            Some(Ok(Says::Pending) | Err(_)) | None => &self.known,
        };
        let disk = self.disk.refreshed(&root, intent).into();
        Ok(Look { configured, seen, loads, disk, took: began_at.elapsed() })
    }

    /// Reads the configuration while its files stay as they are and the master reads nothing itself, if
    /// that can be had, and says how much that has read: whatever it loaded by then, it has started the
    /// workers for.
    fn read(&self, configured: &Configured) -> anyhow::Result<(Reading, Option<u64>)> {
        let mut read = self.bytes_read();
        let mut changed_at = None;
        for _ in 1..MAX_READS {
            let since = UnixTime::from(SystemTime::now());
            let reading = configured.read()?;
            let by_now = self.bytes_read();
            let is_settled = reading.changed_at.is_none_or(|at| is_newer(since, at))
                || changed_at == Some(reading.changed_at);
            if by_now == read && is_settled {
                return Ok((reading, read));
            }
            (read, changed_at) = (by_now, Some(reading.changed_at));
        }
        Ok((configured.read()?, self.bytes_read()))
    }

    /// What the master of a proxy has read that replaces its workers.
    fn bytes_read(&self) -> Option<u64> {
        self.kind.replaces_workers().then(|| bytes_read(self.master.key.pid)).flatten()
    }

    /// What is known of the loads of a proxy that replaces its workers, and why its newest worker was
    /// started if that is new, when the master had `read` so much.
    fn loads(&self, newest: Option<u64>, read: Option<u64>) -> (Option<Loads>, Option<Began>) {
        if !self.kind.replaces_workers() {
            return (None, None);
        }
        let now = ticks_now();
        let Some(mut loads) = self.loads.clone() else {
            return (newest.map(|newest| Loads::first(newest, read, now)), None);
        };
        loads.note_read(read, now);
        let began = newest.map(|newest| loads.note_newest(newest));
        (Some(loads), began)
    }

    /// A new configuration is in force once workers were started with it: what is only on disk is
    /// checked for mistakes, and counts as pending.
    fn judge(
        &self,
        configured: &Configured,
        reading: Reading,
        loads: Option<&Loads>,
        began: Option<Began>,
    ) -> Seen {
        let was_loaded = match began {
            Some(began) => matches!(began, Began::ByLoad | Began::Unknown),
            None => self.loaded_at.is_none_or(|known| is_newer(reading.loaded_at, known)),
        };
        let loaded_at = loads.map_or(reading.loaded_at, |loads| since_boot(loads.loaded()));
        let at = loads.map(Loads::loaded).or(reading.newest);
        let loaded =
            at.zip(reading.intent.as_ref().ok()).map(|(at, intent)| Loaded::new(at, intent));
        let known = self.loaded.zip(loaded).filter(|(ran, read)| ran.is_of_the_load_of(read));
        let is_loaded = known.map(|(ran, read)| ran == read);
        let (says, changed_at) = match reading.intent {
            Ok(intent)
                if was_loaded
                    || self.is_guess && is_loaded == Some(true)
                    || self.known.files.is_empty()
                    || matches!(reading.from, ReadFrom::Proxy { .. }) =>
            {
                let certificates = self.certificates(&intent);
                (Ok(Says::InForce(intent, certificates)), reading.changed_at)
            }
            Ok(_) => (Ok(Says::Pending), reading.changed_at),
            Err(error) => {
                let changed_at = configured.changed_at(&self.known.files).ok().flatten();
                (Err(error), changed_at.or(self.changed_at))
            }
        };
        let is_certain = began != Some(Began::Unknown);
        Seen { loaded_at, is_certain, changed_at, from: reading.from, loaded, is_loaded, says }
    }

    /// The client certificate of each upstream. Routes name the same files again and again: each set
    /// of them is read once.
    fn certificates(&self, intent: &Intent) -> Vec<Certificate> {
        let Ok(root) = ForeignRoot::of_process(self.master.key.pid) else { return Vec::new() };
        let now = UnixTime::from(SystemTime::now());
        let mut known = HashMap::new();
        let mut certificate = |upstream: &UpstreamIntent| {
            let tls = upstream.first_tls()?;
            let find = || {
                let read = certificate::configured(&root, tls, now, self.read_keys);
                CertificateFinding::of(&read, now).map(Arc::new)
            };
            known.entry(files(tls)).or_insert_with(find).clone()
        };
        intent.upstreams.iter().map(&mut certificate).collect()
    }
}

/// What the files of a client certificate are called in the configuration.
fn files(tls: &TlsIntent) -> [Option<String>; 4] {
    let said =
        |setting: &Option<Setting<Text>>| setting.as_ref().map(|one| format!("{:?}", one.value));
    let ca = tls.trusted_certificate.as_ref().map(|ca| format!("{:?}", ca.value));
    let above = tls.certificate_chain.as_ref().map(|above| format!("{:?}", above.value));
    [said(&tls.certificate), said(&tls.certificate_key), ca, above]
}
