//! Files of TLS routes as they lie on disk: a proxy goes on with the certificate that it has loaded,
//! and with sessions that rest on one.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use hopsight_core::tls::certificate_facts::CertificateFacts;
use hopsight_identity::foreign_root::{FileVersion, ForeignRoot};
use hopsight_posture::policy::{
    certificate::{self, Revoked, Trust, Trusts},
    files::ConfigFiles as _,
    intent::{Intent, Text, TlsIntent, UpstreamIntent},
    on_disk::OnDisk,
};

/// Most files of one configuration that are looked at.
const MAX_FILES: usize = 256;

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
        let trusts = files.iter().filter_map(|((_, path), (_, content))| match content {
            Content::Trust(Some(trust)) => Some((path.clone(), trust.clone())),
            _ => None,
        });
        Self { trusts: Arc::new(trusts.collect()), files }
    }

    /// The CA files that can be read.
    pub(super) const fn trusts(&self) -> &Arc<Trusts> {
        &self.trusts
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
    use std::fs;

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
        let trust = |disk: &Disk| disk.trusts().get("/edge.pem").map(|trust| trust.digest());
        assert!(trust(&before).is_some(), "one file may be named twice");
        assert_eq!(serial(&before.refreshed(&root, &intent)), serial(&before));
        write("edge.new", &certificate());
        fs::rename(folder.path().join("edge.new"), folder.path().join("edge.pem")).unwrap();
        write("list.pem", "not a list");
        let after = before.refreshed(&root, &intent);
        assert!(serial(&after).is_some() && serial(&after) != serial(&before));
        assert_eq!(after.of(upstream).revoked, None, "it cannot be read");
        assert!(trust(&after).is_some() && trust(&after) != trust(&before));
        fs::remove_file(folder.path().join("edge.pem")).unwrap();
        assert_eq!(serial(&after.refreshed(&root, &intent)), None, "it is gone");
    }
}
