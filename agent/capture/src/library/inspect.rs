//! What a mapped file is to the probes.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
};

use memchr::memmem;

use super::placement::{self, Image, Placement, ProbePoint};

/// Files larger than this are not read whole, for that takes so much memory for a moment. TLS
/// libraries are a fiftieth of it, proxies that are linked with one about a third.
const READ_LIMIT: u64 = 32 << 20;

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
    /// A TLS library with OpenSSL's interface.
    Library {
        /// Where its probes go.
        placement: Placement,
        /// Version text it carries.
        version: Option<String>,
        /// GNU build id.
        build_id: Option<String>,
    },
    /// Has OpenSSL's interface, but its transcript calls were not found.
    Unsupported(String),
    /// An application whose own questions about verification mean that it enforces the answer.
    Application(Vec<ProbePoint>),
    /// libcrypto, which carries OpenSSL's version text where libssl does not.
    Crypto {
        /// The text.
        version: Option<String>,
    },
    /// None of these.
    Other,
}

/// Reads the role of a file with this name.
///
/// # Errors
/// When the file cannot be read.
pub fn role(file: &File, name: &str) -> io::Result<Role> {
    let size = file.metadata()?.size();
    if size > READ_LIMIT {
        return Ok(Role::Other);
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0)?;
    if name.starts_with("libcrypto") {
        return Ok(Role::Crypto { version: version(&bytes) });
    }
    let Ok(image) = Image::parse(&bytes) else { return Ok(Role::Other) };
    if image.function("SSL_set_connect_state").is_some() {
        return Ok(match placement::of_library(&image) {
            Some(placement) => {
                Role::Library { placement, version: version(&bytes), build_id: image.build_id() }
            }
            None => Role::Unsupported(format!(
                "no call of EVP_DigestUpdate found in {} (build id {})",
                version(&bytes).as_deref().unwrap_or("a library without version text"),
                image.build_id().as_deref().unwrap_or("none"),
            )),
        });
    }
    if enforces_what_it_asks(&image) {
        let points = placement::of_application(&image);
        if !points.is_empty() {
            return Ok(Role::Application(points));
        }
    }
    Ok(Role::Other)
}

/// nginx, its modules and its descendants ask for the verification result of an upstream only
/// where `proxy_ssl_verify` and its like are on. Others ask for it also to ignore it.
fn enforces_what_it_asks(image: &Image<'_>) -> bool {
    image.imports("SSL_get_verify_result")
        && memmem::find(image.section(".rodata"), b"_ssl_verify_depth\0").is_some()
}

/// The text `OpenSSL x.y.z`, which libraries carry beside the date.
fn version(bytes: &[u8]) -> Option<String> {
    memmem::find_iter(bytes, b"OpenSSL ").find_map(|at| {
        let text = bytes.get(at..)?;
        let text = &text[..text.len().min(32)];
        let end = text.iter().skip(8).position(|byte| matches!(byte, b' ' | 0))? + 8;
        let text = std::str::from_utf8(&text[..end]).ok()?;
        text[8..].starts_with(|first: char| first.is_ascii_digit()).then(|| text.to_owned())
    })
}

/// Marks of TLS stacks that are linked into programs, with what they are called.
const STATIC_STACKS: [(&[u8], &str); 5] = [
    (b"\xff Go buildinf:", "a Go program: crypto/tls"),
    (b"BoringSSL", "BoringSSL"),
    (b"rustls", "rustls"),
    (b"OpenSSL 3.", "OpenSSL 3, without symbols"),
    (b"OpenSSL 1.1", "OpenSSL 1.1, without symbols"),
];

/// The TLS stack that is linked into a program, told by its marks.
///
/// # Errors
/// When the file cannot be read.
pub fn static_stack(file: &File) -> io::Result<Option<&'static str>> {
    const CHUNK: usize = 1 << 20;
    const OVERLAP: usize = 32;
    let mut file = file;
    io::Seek::rewind(&mut file)?;
    let mut window = Vec::with_capacity(CHUNK + OVERLAP);
    loop {
        let keep = window.len().saturating_sub(OVERLAP);
        window.drain(..keep);
        if file.by_ref().take(CHUNK as u64).read_to_end(&mut window)? == 0 {
            return Ok(None);
        }
        for (mark, name) in STATIC_STACKS {
            if memmem::find(&window, mark).is_some() {
                return Ok(Some(name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_version_is_found_beside_other_text() {
        for (name, text, expected) in [
            (
                "date follows",
                &b"xx\0OpenSSL 3.0.22 25 Aug 2026\0xxxxxxxxxxxx"[..],
                Some("OpenSSL 3.0.22"),
            ),
            ("letter", b"OpenSSL 1.1.1w  11 Sep 2023\0xxxxxxxxx", Some("OpenSSL 1.1.1w")),
            (
                "prose first",
                b"OpenSSL is great\0OpenSSL 3.5.4 30 Sep 2025\0x",
                Some("OpenSSL 3.5.4"),
            ),
            ("prose only", b"OpenSSL library is great, and so is all of this", None),
            ("cut", b"OpenSSL 3.0", None),
        ] {
            assert_eq!(version(text).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn marks_are_found_across_chunk_borders() {
        for (at, expected) in [(0, true), ((1 << 20) - 4, true), ((1 << 20) + 100, true)] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&vec![0; at]).unwrap();
            file.write_all(b"BoringSSL").unwrap();
            assert_eq!(static_stack(&file).unwrap().is_some(), expected, "at {at}");
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"Boring SSL").unwrap();
        assert_eq!(static_stack(&file).unwrap(), None);
    }
}
