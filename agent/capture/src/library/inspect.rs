//! What a mapped file is to the probes.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    sync::{Arc, atomic::AtomicBool},
};

use memchr::memmem;

use super::{
    elf::{ElfError, Interruptible},
    placement::{self, Image, Linked, Placement, ProbePoint, Rustls},
};

/// Shared libraries larger than this are not looked into, and of programs no symbols are read whole:
/// it takes so much memory for a moment. TLS libraries are a fiftieth of it; programs that are
/// bigger are read in pieces ([`placement::survey`]).
const WHOLE: u64 = 32 << 20;

/// `OVERLAYFS_SUPER_MAGIC` (linux/magic.h).
const OVERLAY_FILESYSTEM: i64 = 0x794c_7630;

/// Identity of a file, as uprobes see it.
///
/// The kernel places uprobes by the real inode below an overlay mount, where every container has
/// a device of its own: there the device does not count, lest a process be probed twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileKey {
    device: Option<u64>,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl FileKey {
    /// Whether both are certainly the same file, whatever was done to it in between.
    #[must_use]
    pub fn is_same_inode(&self, other: &Self) -> bool {
        self.device.is_some() && (self.device, self.inode) == (other.device, other.inode)
    }

    /// Identity of an open file.
    ///
    /// # Errors
    /// When the file cannot be examined.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let filesystem = rustix::fs::fstatfs(file)?.f_type;
        Ok(Self {
            device: (filesystem != OVERLAY_FILESYSTEM).then(|| metadata.dev()),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// What a file is to the probes.
#[derive(Clone, Debug)]
pub enum Role {
    /// A TLS library, or a program that holds one.
    Library {
        /// Where its probes go.
        placement: Placement,
        /// What it is called, with its version where that is known.
        version: Option<String>,
        /// GNU build id.
        build_id: Option<String>,
    },
    /// Holds a TLS library that could be probed, but its calls were not found.
    Unsupported(String),
    /// An application whose own questions about verification mean that it enforces the answer.
    Application(Vec<ProbePoint>),
    /// libcrypto, which carries OpenSSL's version text where libssl does not.
    Crypto {
        /// The text.
        version: Option<String>,
    },
    /// None of these.
    Other {
        /// TLS stacks that a program holds by the texts in it, most telling first.
        marks: Vec<&'static str>,
    },
}

impl Role {
    const NONE: Self = Self::Other { marks: Vec::new() };
}

/// How files are looked into.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Whether rustls is looked for.
    pub rustls: Rustls,
    /// Ends the search in a big program once it is set.
    pub stop: Arc<AtomicBool>,
}

/// Reads the role of a file with this name, which may hold a TLS library of its own.
///
/// # Errors
/// When the file cannot be read.
pub fn role(file: &File, name: &str, may_hold_library: bool, search: &Search) -> io::Result<Role> {
    let size = file.metadata()?.size();
    let mut role = Role::NONE;
    if size <= WHOLE {
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        file.read_exact_at(&mut bytes, 0)?;
        if name.starts_with("libcrypto") {
            return Ok(Role::Crypto { version: placement::openssl_version(&bytes) });
        }
        role = of_whole(&bytes);
    }
    if !may_hold_library || !matches!(role, Role::Other { .. } | Role::Unsupported(_)) {
        return Ok(role);
    }
    let bytes = Interruptible { file, stop: &search.stop };
    let survey = match placement::survey_with(&bytes, search.rustls) {
        Ok(survey) => survey,
        Err(ElfError::Foreign) => return Ok(role),
        Err(ElfError::Io(error)) => return Err(error),
        Err(error) => return Ok(Role::Unsupported(format!("{name}: {error}"))),
    };
    Ok(match (survey.linked, role) {
        (Linked::Placed { name, placement }, _) => {
            Role::Library { placement, version: Some(name), build_id: survey.build_id }
        }
        (_, role @ Role::Unsupported(_)) => role,
        (Linked::Unsupported(detail), _) => Role::Unsupported(detail),
        (Linked::Absent, _) => Role::Other { marks: survey.marks },
    })
}

/// The role of a file by its symbols, all of it in memory.
fn of_whole(bytes: &[u8]) -> Role {
    let Ok(image) = Image::parse(bytes) else { return Role::NONE };
    let version = || placement::openssl_version(bytes);
    if image.function("SSL_set_connect_state").is_some() {
        return match placement::of_library(&image) {
            Some(placement) => {
                Role::Library { placement, version: version(), build_id: image.build_id() }
            }
            None => Role::Unsupported(format!(
                "no call of EVP_DigestUpdate found in {} (build id {})",
                version().as_deref().unwrap_or("a library without version text"),
                image.build_id().as_deref().unwrap_or("none"),
            )),
        };
    }
    if enforces_what_it_asks(&image) {
        let points = placement::of_application(&image);
        if !points.is_empty() {
            return Role::Application(points);
        }
    }
    Role::NONE
}

/// nginx, its modules and its descendants ask for the verification result of an upstream only
/// where `proxy_ssl_verify` and its like are on. Others ask for it also to ignore it.
fn enforces_what_it_asks(image: &Image<'_>) -> bool {
    image.imports("SSL_get_verify_result")
        && memmem::find(image.section(".rodata"), b"_ssl_verify_depth\0").is_some()
}
