//! The operator's directory of revocation lists, read again when it changes.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use hopsight_core::health::ComponentState;
use hopsight_posture::policy::certificate::Revoked;

/// Files that are read, and bytes of one of them and of all.
const MAX_FILES: usize = 256;
const MAX_BYTES: u64 = 16 << 20;
const MAX_ALL_BYTES: u64 = 64 << 20;

/// Change time and length of a file.
type Version = (SystemTime, u64);

/// What the lists in it say, by file.
#[derive(Debug)]
pub(super) struct ListDirectory {
    path: Option<PathBuf>,
    files: BTreeMap<PathBuf, (Version, Result<Arc<Revoked>, String>)>,
    /// Why nothing, or not everything, is known of it.
    problem: Option<String>,
}

impl ListDirectory {
    /// The lists in this directory; none if there is no path.
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        let mut lists = Self { path, files: BTreeMap::new(), problem: None };
        lists.refresh();
        lists
    }

    /// Reads the files that have changed since they were last read.
    pub(super) fn refresh(&mut self) {
        let Some(path) = &self.path else { return };
        let (names, mut problem) = match files(path) {
            Ok(names) => (names, None),
            // What was known stays.
            Err(error) => {
                self.problem = Some(format!("cannot read {}: {error}", path.display()));
                return;
            }
        };
        let (mut read, mut bytes) = (BTreeMap::new(), 0);
        for name in names {
            let Ok(version) = version(&name) else { continue };
            bytes += version.1;
            if read.len() >= MAX_FILES || bytes > MAX_ALL_BYTES {
                problem = Some(format!("there is more in {} than is read", path.display()));
                break;
            }
            let known = self.files.remove(&name).filter(|(known, _)| *known == version);
            let (version, content) = known.unwrap_or_else(|| (version, content(&name)));
            read.insert(name, (version, content));
        }
        (self.files, self.problem) = (read, problem);
    }

    /// What they say.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Revoked>> {
        self.files.values().filter_map(|(_, content)| content.as_ref().ok())
    }

    /// Its state, for `/readyz`; `None` if there is no such directory.
    pub(super) fn health(&self) -> Option<(ComponentState, String)> {
        let path = self.path.as_ref()?;
        let bad = self.files.iter().find_map(|(name, (_, content))| {
            let problem = content.as_ref().err()?;
            Some(format!("{}: {problem}", name.display()))
        });
        if let Some(problem) = self.problem.clone().or(bad) {
            return Some((ComponentState::Degraded, problem));
        }
        let lists: usize = self.all().map(|lists| lists.lists()).sum();
        Some((ComponentState::Ready, format!("{lists} lists of {}", path.display())))
    }
}

/// The files in it, in the order of their names.
fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)?.take(MAX_FILES * 4) {
        names.push(entry?.path());
    }
    names.retain(|name| name.is_file());
    names.sort();
    Ok(names)
}

fn version(name: &Path) -> std::io::Result<Version> {
    let file = fs::metadata(name)?;
    Ok((file.modified()?, file.len()))
}

fn content(name: &Path) -> Result<Arc<Revoked>, String> {
    let mut bytes = Vec::new();
    let read = File::open(name).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it is larger than {} MiB", MAX_BYTES >> 20));
    }
    Revoked::read(&bytes).map(Arc::new).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_again_when_they_change() {
        let list = |name: &str| {
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign];
            let issuer = rcgen::Issuer::new(params, rcgen::KeyPair::generate().unwrap());
            let list = rcgen::CertificateRevocationListParams {
                this_update: rcgen::date_time_ymd(2024, 2, 1),
                next_update: rcgen::date_time_ymd(2034, 2, 1),
                crl_number: rcgen::SerialNumber::from(1_u64),
                issuing_distribution_point: None,
                revoked_certs: Vec::new(),
                key_identifier_method: rcgen::KeyIdMethod::Sha256,
            };
            list.signed_by(&issuer).unwrap().pem().unwrap()
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lists");
        let mut lists = ListDirectory::new(Some(path.clone()));
        let write = |name: &str, text: &str| fs::write(path.join(name), text).unwrap();
        let said = |lists: &ListDirectory| lists.health().unwrap();
        assert_eq!(said(&lists).0, ComponentState::Degraded, "there is no directory");
        fs::create_dir_all(path.join("a directory")).unwrap();
        lists.refresh();
        assert!(said(&lists).1.starts_with("0 lists of "), "{lists:?}");
        write("a.pem", &(list("A") + &list("B")));
        lists.refresh();
        assert!(said(&lists).1.starts_with("2 lists of "), "{lists:?}");
        write("b.pem", "nothing");
        lists.refresh();
        let (state, words) = said(&lists);
        assert_eq!((state, lists.all().count()), (ComponentState::Degraded, 1));
        assert!(words.ends_with("b.pem: there is no revocation list in it"), "{words}");
        write("b.pem", &list("another one"));
        fs::remove_file(path.join("a.pem")).unwrap();
        lists.refresh();
        assert!(said(&lists).1.starts_with("1 lists of "), "{lists:?}");
        fs::remove_dir_all(&path).unwrap();
        lists.refresh();
        assert_eq!(
            (said(&lists).0, lists.all().count()),
            (ComponentState::Degraded, 1),
            "it stays"
        );
        assert!(ListDirectory::new(None).health().is_none());
    }
}
