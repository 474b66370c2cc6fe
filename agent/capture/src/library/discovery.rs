//! Which TLS library a process uses.

use std::{
    fs::File,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    path::{Path, PathBuf},
};

use super::{
    inspect::{FileKey, Role},
    status::NoLibrary,
};
use hopsight_system::{
    maps::{self, Mapping},
    process,
};

/// Names of TLS libraries other than OpenSSL, as they begin.
const OTHER_LIBRARIES: [(&str, &str); 7] = [
    ("libgnutls", "GnuTLS"),
    ("libssl3.so", "NSS"),
    ("libnss3", "NSS"),
    ("libmbedtls", "Mbed TLS"),
    ("libwolfssl", "wolfSSL"),
    ("libs2n", "s2n-tls"),
    ("libbotan", "Botan"),
];

/// Shared objects that hold a TLS library of their own, as their names begin: Python's
/// `cryptography` and gRPC, the TLS of Java programs.
const HOLDING: [&str; 4] = ["_rust.abi3", "cygrpc.", "libnetty_tcnative", "libconscrypt"];

/// Files of a process that are looked at.
const MAX_CANDIDATES: usize = 128;

/// A file of a process that may want probes.
pub struct Candidate {
    /// Where it is mapped.
    pub mapping: Mapping,
    /// The file.
    pub file: File,
    /// Its identity.
    pub key: FileKey,
    /// It may hold a TLS library that is linked into it: the program, and some shared objects.
    pub may_hold_library: bool,
}

/// Why a process has no candidate that turned out to be a library.
pub struct Absence {
    /// The reason.
    pub reason: NoLibrary,
    /// What exactly.
    pub detail: String,
}

impl Absence {
    /// What an I/O error while looking means.
    pub fn from_error(error: &io::Error, what: &Path) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::PermissionDenied => NoLibrary::NoPermission,
            _ if error.raw_os_error() == Some(libc::EPERM) => NoLibrary::NoPermission,
            // ESRCH: the process ended between two reads.
            _ => NoLibrary::Gone,
        };
        Self { reason, detail: format!("{}: {error}", what.display()) }
    }
}

/// The `/proc` directory that shows a process's memory; `None` once it has ended.
pub fn directory(pid: u32) -> Option<PathBuf> {
    process::thread_with_memory(pid).map(|thread| PathBuf::from(format!("/proc/{thread}")))
}

/// Size of the program that a process runs, 0 where that is not to be known.
pub fn program_size(pid: u32) -> u64 {
    let program = directory(pid).and_then(|process| std::fs::metadata(process.join("exe")).ok());
    program.map_or(0, |metadata| metadata.len())
}

/// The files that a process executes code from.
///
/// # Errors
/// [`Absence`] when the process cannot be looked at.
pub fn mappings(pid: u32) -> Result<Vec<Mapping>, Absence> {
    let process = running(pid)?;
    maps::executable_files(&process).map_err(|error| Absence::from_error(&error, &process))
}

fn running(pid: u32) -> Result<PathBuf, Absence> {
    directory(pid).ok_or_else(|| Absence {
        reason: NoLibrary::Gone,
        detail: format!("process {pid} has ended"),
    })
}

/// The same of the same files, as good as never of others.
pub fn fingerprint(mappings: &[Mapping]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for Mapping { inode, path, .. } in mappings {
        (inode, path).hash(&mut hasher);
    }
    hasher.finish()
}

/// Those of a process's files that may be a TLS library, or an application that asks one: the
/// program, anything called libssl or libcrypto, the modules nginx loads, and some objects that are
/// known to hold a library.
///
/// # Errors
/// [`Absence`] when the process cannot be looked at.
pub fn candidates(pid: u32, mappings: &[Mapping]) -> Result<Vec<Candidate>, Absence> {
    let process = running(pid)?;
    let fail = |error: io::Error| Absence::from_error(&error, &process);
    let program = std::fs::read_link(process.join("exe")).map_err(fail)?;
    let program = program.to_string_lossy();
    let program = Path::new(program.strip_suffix(" (deleted)").unwrap_or(&program));
    let mut candidates = Vec::new();
    for mapping in mappings {
        let name = mapping.file_name();
        let is_library = name.starts_with("libssl") || name.starts_with("libcrypto");
        let may_hold_library =
            mapping.path == program || HOLDING.iter().any(|start| name.starts_with(start));
        if may_hold_library || is_library || name.starts_with("ngx_") {
            let file = mapping.open(&process).map_err(fail)?;
            let key = FileKey::of(&file).map_err(fail)?;
            candidates.push(Candidate { mapping: mapping.clone(), file, key, may_hold_library });
            if candidates.len() == MAX_CANDIDATES {
                break;
            }
        }
    }
    Ok(candidates)
}

/// Says why none of a process's files is a library that can be probed.
pub fn absence(mappings: &[Mapping], roles: &[&Role]) -> Absence {
    if let Some(detail) = roles.iter().find_map(|role| match role {
        Role::Unsupported(detail) => Some(detail.clone()),
        _ => None,
    }) {
        return Absence { reason: NoLibrary::UnsupportedBuild, detail };
    }
    let names = mappings.iter().map(Mapping::file_name);
    let other = names.into_iter().find_map(|name| {
        OTHER_LIBRARIES.iter().find(|(start, _)| name.starts_with(start)).map(|(_, stack)| *stack)
    });
    if let Some(stack) = other {
        return Absence { reason: NoLibrary::NotOpenssl, detail: format!("uses {stack}") };
    }
    let marks = roles.iter().find_map(|role| match role {
        Role::Other { marks } if !marks.is_empty() => Some(marks),
        _ => None,
    });
    if let Some(marks) = marks {
        let detail = format!("linked into the program: {}", marks.join(", "));
        return Absence { reason: NoLibrary::StaticTls, detail };
    }
    Absence { reason: NoLibrary::NoTlsLibrary, detail: "no TLS library is mapped".to_owned() }
}
