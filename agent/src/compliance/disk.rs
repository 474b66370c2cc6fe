//! Files of TLS routes as they lie on disk: a proxy goes on with the certificate that it has loaded,
//! and with sessions that rest on one.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use hopsight_core::tls::certificate_facts::CertificateFacts;
use hopsight_identity::{
    foreign_root::{FileVersion, ForeignRoot},
    reading::is_newer,
};
use hopsight_posture::policy::{
    certificate::{self, Revoked, Trust, Trusts},
    files::ConfigFiles as _,
    intent::{Intent, Text, TlsIntent, UpstreamIntent},
    on_disk::OnDisk,
    time::UnixTime,
};

/// Most files of one configuration that are looked at.
const MAX_FILES: usize = 256;

/// Contents of a CA file that are remembered.
const MAX_BEFORE: usize = 3;

/// What each CA file has said, and since when, by their paths.
type Trusted = BTreeMap<String, Vec<(UnixTime, Option<Arc<Trust>>)>>;

/// What a file says; nothing where it cannot be read.
#[derive(Clone, Debug, PartialEq)]
enum Content {
    Certificate(Option<Arc<CertificateFacts>>),
    Revoked(Option<Arc<Revoked>>),
    Trust(Option<Arc<Trust>>),
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Certificate,
    Revoked,
    Trust,
}

/// Client certificates, revocation lists and CA files that a configuration names, by their paths.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    files: BTreeMap<(Kind, String), (FileVersion, Content)>,
    trusts: Arc<Trusts>,
    trusted: Trusted,
}

impl Disk {
    /// The same files, and those that `intent` names by now, read again where they have changed.
    pub(super) fn refreshed(&self, root: &ForeignRoot, intent: &Intent) -> Self {
        let first = intent.upstreams.iter().filter_map(UpstreamIntent::first_tls);
        let named = first.flat_map(|tls| {
            [(Kind::Certificate, certificate_file(tls)), (Kind::Revoked, revocation_file(tls))]
        });
        let routes =
            intent.upstreams.iter().flat_map(|one| one.routes.iter().chain(&*one.by_variable));
        let trusted = routes.map(|route| (Kind::Trust, trust_file(&route.tls)));
        let mut files = BTreeMap::new();
        for (kind, path) in named.chain(trusted) {
            let Some(path) = path.filter(|path| path.starts_with('/')) else { continue };
            let key = (kind, path.to_owned());
            if files.len() >= MAX_FILES || files.contains_key(&key) {
                continue;
            }
            let Ok(version) = root.version(Path::new(path)) else { continue };
            let known = self.files.get(&key).filter(|(known, _)| *known == version);
            let content = match known {
                Some((_, content)) => content.clone(),
                None => read(root, Path::new(path), kind),
            };
            files.insert(key, (version, content));
        }
        let mut trusted = Trusted::new();
        for ((_, path), (version, content)) in &files {
            let Content::Trust(trust) = content else { continue };
            let mut said = self.trusted.get(path).cloned().unwrap_or_default();
            if said.last().is_none_or(|(_, last)| last != trust) {
                if said.len() >= MAX_BEFORE {
                    said.remove(0);
                }
                said.push((version.changed_at, trust.clone()));
            }
            trusted.insert(path.clone(), said);
        }
        let trusts = trusts(&trusted, |_| true).into();
        Self { files, trusts, trusted }
    }

    /// The CA files as they were when a proxy loaded them, without those of which that is not known; as they
    /// are by now where it is not known when that was.
    pub(super) fn trusts(&self, loaded_at: Option<UnixTime>) -> Arc<Trusts> {
        let is_loaded = |since| loaded_at.is_none_or(|loaded_at| !is_newer(since, loaded_at));
        let mut newest = self.trusted.values().filter_map(|said| said.last());
        if newest.all(|(since, _)| is_loaded(*since)) {
            return self.trusts.clone();
        }
        trusts(&self.trusted, is_loaded).into()
    }

    /// What is known of the files of this upstream.
    pub(super) fn of(&self, upstream: &UpstreamIntent) -> OnDisk {
        let file = |kind, path: Option<&str>| self.files.get(&(kind, path?.to_owned()));
        let tls = upstream.first_tls();
        let certificate = match file(Kind::Certificate, tls.and_then(certificate_file)) {
            Some((version, Content::Certificate(Some(facts)))) => {
                Some((facts.clone(), version.changed_at))
            }
            _ => None,
        };
        let revoked = match file(Kind::Revoked, tls.and_then(revocation_file)) {
            Some((_, Content::Revoked(revoked))) => revoked.clone(),
            _ => None,
        };
        let mut routes = upstream.routes.iter().chain(&*upstream.by_variable);
        let presented = tls.and_then(certificate_file);
        let is_of_all_routes = routes.all(|route| certificate_file(&route.tls) == presented);
        OnDisk { certificate, is_of_all_routes, revoked }
    }
}

/// What the files say that say so since such a time, the newest of it.
fn trusts(trusted: &Trusted, counts: impl Fn(UnixTime) -> bool) -> Trusts {
    let newest = trusted.iter().filter_map(|(path, said)| {
        let (_, trust) = said.iter().rev().find(|(since, _)| counts(*since))?;
        Some((path.clone(), trust.clone()?))
    });
    newest.collect()
}

fn certificate_file(tls: &TlsIntent) -> Option<&str> {
    match &tls.certificate.as_ref()?.value {
        Text::Literal(path) => Some(path),
        Text::Variable(_) => None,
    }
}

fn revocation_file(tls: &TlsIntent) -> Option<&str> {
    Some(&tls.crl.as_ref()?.value)
}

fn trust_file(tls: &TlsIntent) -> Option<&str> {
    Some(&tls.trusted_certificate.as_ref()?.value)
}

fn read(root: &ForeignRoot, path: &Path, kind: Kind) -> Content {
    let file = root.read(path).ok();
    match kind {
        Kind::Revoked => {
            Content::Revoked(file.and_then(|file| Revoked::read(&file).ok()).map(Arc::new))
        }
        Kind::Trust => Content::Trust(file.and_then(|file| Trust::read(&file).ok()).map(Arc::new)),
        Kind::Certificate => {
            let first = |file: Vec<u8>| certificate::read(&file).ok()?.into_iter().next();
            Content::Certificate(file.and_then(first).map(Arc::new))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsight_posture::policy::nginx;
    use std::{fs, time::Duration};

    #[test]
    fn files_are_read_again_when_they_change() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let certificate = || {
            let key = rcgen::generate_simple_self_signed(vec!["edge".to_owned()]).unwrap();
            key.cert.pem()
        };
        write(
            "nginx.conf",
            "events {} http { server { location / { proxy_pass https://10.0.0.1:443; \
             proxy_ssl_certificate /edge.pem; proxy_ssl_certificate_key /edge.key; \
             proxy_ssl_crl /list.pem; proxy_ssl_trusted_certificate /edge.pem; } } }",
        );
        write("edge.pem", &certificate());
        let root = ForeignRoot::at(folder.path()).unwrap();
        let intent = nginx::read(&root, Path::new("/nginx.conf")).unwrap();
        let upstream = &intent.upstreams[0];
        let serial =
            |disk: &Disk| disk.of(upstream).certificate.map(|(facts, _)| facts.serial.clone());

        let before = Disk::default().refreshed(&root, &intent);
        assert!(serial(&before).is_some());
        assert_eq!(before.of(upstream).revoked, None, "there is no list");
        let trust_of = |disk: &Disk, loaded_at| {
            disk.trusts(loaded_at).get("/edge.pem").map(|trust| trust.digest())
        };
        let trust = |disk: &Disk| trust_of(disk, None);
        assert!(trust(&before).is_some(), "one file may be named twice");
        assert_eq!(serial(&before.refreshed(&root, &intent)), serial(&before));
        // So that the two can be told apart by their times.
        std::thread::sleep(Duration::from_millis(60));
        write("edge.new", &certificate());
        fs::rename(folder.path().join("edge.new"), folder.path().join("edge.pem")).unwrap();
        write("list.pem", "not a list");
        let after = before.refreshed(&root, &intent);
        assert!(serial(&after).is_some() && serial(&after) != serial(&before));
        assert_eq!(after.of(upstream).revoked, None, "it cannot be read");
        assert!(trust(&after).is_some() && trust(&after) != trust(&before));
        let changed_at = |disk: &Disk| disk.of(upstream).certificate.unwrap().1;
        let later = changed_at(&after) + Duration::from_secs(1);
        let (first, before_it) = (changed_at(&before), UnixTime::from_secs(1));
        assert_eq!(trust_of(&after, Some(later)), trust(&after), "the proxy was reloaded");
        assert_eq!(trust_of(&after, Some(first)), trust(&before), "it was not");
        assert_eq!(trust_of(&after, Some(before_it)), None, "nobody looked then");
        fs::remove_file(folder.path().join("edge.pem")).unwrap();
        assert_eq!(serial(&after.refreshed(&root, &intent)), None, "it is gone");
    }
}
