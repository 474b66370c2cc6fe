//! Where in a TLS library's file the probes go.
//!
//! Everything is found by reading the file: which calls lead to which imported function (through
//! the procedure linkage table or the global offset table), and in which function they stand.
//! Stripped libraries will do: function boundaries come from the unwind tables, and the functions
//! wanted are told from the others by what else they call.

mod aarch64;
mod boringssl;
mod go;
mod hook;
mod image;
mod instruction_set;
mod linked;
mod openssl;
mod rustls;
mod x86_64;

use std::collections::{BTreeSet, HashMap, HashSet};

pub use hook::Hook;
use hopsight_abi::VerifyOffsets;
pub use image::{Image, ImageError};
use instruction_set::InstructionSet;
use linked::PlacedPoints;
pub use linked::{Linked, Rustls, Survey, openssl_version, survey, survey_with};
use serde::{Deserialize, Serialize};

pub use crate::library::elf::Isa;

impl Isa {
    /// What reads its code.
    fn instructions(self) -> &'static dyn InstructionSet {
        match self {
            Self::X86_64 => &x86_64::X86_64,
            Self::Aarch64 => &aarch64::Aarch64,
        }
    }
}

/// One place of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProbePoint {
    /// What is observed there.
    pub hook: Hook,
    /// File offset of the instruction.
    pub offset: u64,
    /// The kernel emulates this instruction; others cost a second exception per hit.
    pub emulated: bool,
}

/// How the calls that feed the transcript were told from libssl's other digest calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// By the names of the functions they stand in.
    Named,
    /// By what else the function calls.
    Structural,
    /// By the constants they are given.
    Arguments,
    /// Not told apart: every digest call is probed and the kernel program sorts them.
    All,
}

/// All probe points of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The points, without duplicates, in order.
    pub points: Vec<ProbePoint>,
    /// Calls in the file of the function whose calls show the transcript: `EVP_DigestUpdate` of a
    /// shared OpenSSL, what the stack has in its place else.
    pub digest_calls: usize,
    /// Which of them are probed.
    pub selection: Selection,
    /// Where the library keeps what decides over a bad verification result, if that was found.
    pub verify_offsets: Option<VerifyOffsets>,
}

impl Placement {
    /// Number of points at which handshake messages are seen.
    #[must_use]
    pub fn transcript_calls(&self) -> usize {
        self.points.iter().filter(|point| point.hook.shows_messages()).count()
    }

    /// Whether a point has one of these hooks.
    #[must_use]
    pub fn has_any(&self, hooks: &[Hook]) -> bool {
        self.points.iter().any(|point| hooks.contains(&point.hook))
    }

    /// Number of points with this hook.
    #[must_use]
    pub fn count(&self, hook: Hook) -> usize {
        self.points.iter().filter(|point| point.hook == hook).count()
    }
}

/// The functions of OpenSSL that add to the transcript (ssl/s3_enc.c), and the imported functions
/// that each of them, and no other caller of `EVP_DigestUpdate`, calls too: handshake messages go
/// to a memory BIO until the hash is known, which is then digested at once.
const TRANSCRIPT_FUNCTIONS: [(&str, &[&str]); 2] = [
    ("ssl3_finish_mac", &["BIO_write"]),
    ("ssl3_digest_cached_records", &["BIO_ctrl", "EVP_DigestInit_ex", "BIO_free"]),
];

/// Only `ssl_verify_cert_chain` calls this too; `ssl_build_cert_chain` also asks for an error, but
/// about the process's own chain.
const VERIFY_COMPANION: &str = "X509_STORE_CTX_set_default";

/// What libssl digests at once is a ticket, in `tls_process_new_session_ticket`
/// (ssl/statem/statem_clnt.c), which also asks for SHA-256: from OpenSSL 3 on by name.
const TICKET_DIGEST: &str = "EVP_Digest";
const TICKET_COMPANIONS: [&str; 2] = ["EVP_MD_fetch", "EVP_sha256"];

const LIBRARY_CALLEES: [&str; 12] = [
    "EVP_DigestUpdate",
    "BIO_write",
    "BIO_ctrl",
    "BIO_free",
    "EVP_DigestInit_ex",
    "X509_STORE_CTX_get_error",
    VERIFY_COMPANION,
    "ERR_vset_error",
    "ERR_put_error",
    TICKET_DIGEST,
    TICKET_COMPANIONS[0],
    TICKET_COMPANIONS[1],
];

/// Places the probes of a TLS library. `None` where the transcript calls cannot be found.
#[must_use]
pub fn of_library(image: &Image<'_>) -> Option<Placement> {
    let calls = CallGraph::read(image, &LIBRARY_CALLEES);
    let digest_calls = calls.of("EVP_DigestUpdate");
    let (transcript, selection) = transcript_calls(image, &calls)?;
    let mut points = PointSet::new(image);
    points.extend(Hook::Transcript, transcript);
    for (hook, name) in
        [(Hook::ConnectState, "SSL_set_connect_state"), (Hook::AcceptState, "SSL_set_accept_state")]
    {
        points.extend(hook, image.function(name).map(|start| entry(image, start)));
    }
    let companions = calls.functions_calling(VERIFY_COMPANION);
    let mut verify: Vec<_> = calls.of("X509_STORE_CTX_get_error").collect();
    if verify.iter().any(|call| companions.contains(&call.function)) {
        verify.retain(|call| companions.contains(&call.function));
    }
    points.extend(Hook::VerifyResult, verify.iter().filter_map(|call| after_call(image, call)));
    points.extend(Hook::Ticket, ticket_digest(&calls));
    points.extend(Hook::ErrorRaised, calls.of("ERR_vset_error").map(|call| call.at));
    points.extend(Hook::ErrorPut, fatal_put_error(image, &calls));
    Some(Placement {
        points: points.sorted(),
        digest_calls: digest_calls.count(),
        selection,
        verify_offsets: verify_offsets(image),
    })
}

/// Reads the offsets from the library's own getters and setter of these members, so that they fit
/// this very build.
fn verify_offsets(image: &Image<'_>) -> Option<VerifyOffsets> {
    let instructions = image.isa.instructions();
    let body = |name: &str| image.function_around(image.function(name)?);
    let offset = |offset: Option<u64>| VerifyOffsets::offset(offset?);
    let returned = |name: &str| offset(instructions.member_returned(body(name)?));
    let set = |name: &str| offset(instructions.member_set(body(name)?));
    Some(VerifyOffsets {
        mode: returned("SSL_get_verify_mode")?,
        callback: returned("SSL_get_verify_callback")?,
        context: returned("SSL_get_SSL_CTX")?,
        replacement: set("SSL_CTX_set_cert_verify_callback")?,
    })
}

/// Places the probes of an application whose questions about verification show that it enforces
/// the answer. Empty where it asks none.
#[must_use]
pub fn of_application(image: &Image<'_>) -> Vec<ProbePoint> {
    let calls = CallGraph::read(image, &["SSL_get_verify_result", "X509_check_host"]);
    let mut points = PointSet::new(image);
    let asked: Vec<_> = calls.of("SSL_get_verify_result").collect();
    points.extend(Hook::ResultAsked, asked.iter().map(|call| call.at));
    points.extend(Hook::ResultGot, asked.iter().filter_map(|call| after_call(image, call)));
    let checked = calls.of("X509_check_host").filter_map(|call| after_call(image, &call));
    points.extend(Hook::HostChecked, checked);
    points.sorted()
}

/// Picks the digest calls that feed the transcript.
fn transcript_calls(image: &Image<'_>, calls: &CallGraph) -> Option<(Vec<u64>, Selection)> {
    let digest: Vec<_> = calls.of("EVP_DigestUpdate").collect();
    if digest.is_empty() {
        return None;
    }
    let within = |functions: &HashSet<u64>| -> Vec<u64> {
        let inside = digest.iter().filter(|call| functions.contains(&call.function));
        inside.map(|call| call.at).collect()
    };
    let select = |functions_of: &dyn Fn(&str, &[&str]) -> HashSet<u64>| {
        let picked = TRANSCRIPT_FUNCTIONS.map(|(name, also)| within(&functions_of(name, also)));
        // Half a transcript is worse than a few needless hits.
        picked.iter().all(|calls| !calls.is_empty()).then(|| picked.concat())
    };
    let named = select(&|name, _| image.function(name).into_iter().collect());
    if let Some(picked) = named {
        return Some((picked, Selection::Named));
    }
    let structural = select(&|_, also| {
        let sets = also.iter().map(|callee| calls.functions_calling(callee));
        sets.reduce(|left, right| left.intersection(&right).copied().collect()).unwrap_or_default()
    });
    if let Some(picked) = structural {
        return Some((picked, Selection::Structural));
    }
    // A statically linked image holds libcrypto too, whose own digest calls are far too many.
    let is_library = image.imports("EVP_DigestUpdate");
    is_library.then(|| (digest.iter().map(|call| call.at).collect(), Selection::All))
}

/// The one call that digests a ticket; `None` where it is not told from others.
fn ticket_digest(calls: &CallGraph) -> Option<u64> {
    let companions = TICKET_COMPANIONS.map(|name| calls.functions_calling(name));
    let mut digests = calls
        .of(TICKET_DIGEST)
        .filter(|call| companions.iter().any(|companion| companion.contains(&call.function)));
    let only = digests.next()?;
    digests.next().is_none().then_some(only.at)
}

/// OpenSSL 1.1 calls `ERR_put_error` from hundreds of places, most of which cannot see an alert:
/// keeps the one in `ossl_statem_fatal`, whose reason is an argument and not a constant.
fn fatal_put_error(image: &Image<'_>, calls: &CallGraph) -> Vec<u64> {
    let variable = calls.of("ERR_put_error").filter(|call| {
        let body = image.function_around(call.at);
        body.is_some_and(|body| !image.isa.instructions().third_argument_is_constant(body, call.at))
    });
    variable.map(|call| call.at).collect()
}

fn entry(image: &Image<'_>, start: u64) -> u64 {
    let body = image.function_around(start).filter(|body| body.address == start);
    body.map_or(start, |body| image.isa.instructions().entry(body))
}

fn after_call(image: &Image<'_>, call: &Call) -> Option<u64> {
    let body = image.function_around(call.at)?;
    image.isa.instructions().after_call(body, call.at)
}

/// Probe points being collected, as file offsets.
struct PointSet<'i, 'd> {
    image: &'i Image<'d>,
    points: BTreeSet<ProbePoint>,
}

impl<'i, 'd> PointSet<'i, 'd> {
    fn new(image: &'i Image<'d>) -> Self {
        Self { image, points: BTreeSet::new() }
    }

    fn extend(&mut self, hook: Hook, addresses: impl IntoIterator<Item = u64>) {
        for address in addresses {
            let Some(offset) = self.image.file_offset(address) else { continue };
            let emulated = self.image.function_around(address).is_some_and(|body| {
                let rest = body.slice(address, body.address + body.bytes.len() as u64);
                self.image.isa.instructions().is_emulated(rest)
            });
            self.points.insert(ProbePoint { hook, offset, emulated });
        }
    }

    fn sorted(self) -> Vec<ProbePoint> {
        self.points.into_iter().collect()
    }
}

/// A call of one of the functions asked for.
#[derive(Clone, Copy, Debug)]
struct Call {
    /// Address of the call instruction.
    at: u64,
    /// Start of the function it stands in.
    function: u64,
}

/// Who calls which of the functions asked for.
struct CallGraph {
    calls: HashMap<&'static str, Vec<Call>>,
}

impl CallGraph {
    fn read(image: &Image<'_>, names: &[&'static str]) -> Self {
        let mut callees: HashMap<u64, &'static str> = HashMap::new();
        for &name in names {
            callees.extend(image.slots(name).iter().map(|&slot| (slot, name)));
            callees.extend(image.function(name).map(|address| (address, name)));
        }
        let instructions = image.isa.instructions();
        let tables = image.code.iter().filter(|code| code.is_plt);
        for (stub, slot) in tables.flat_map(|&code| instructions.stubs(code)) {
            if let Some(&name) = callees.get(&slot) {
                callees.insert(stub, name);
            }
        }
        let mut calls: HashMap<&'static str, Vec<Call>> = HashMap::new();
        for body in image.bodies() {
            instructions.calls(body, &mut |at, target| {
                if let Some(name) = callees.get(&target) {
                    calls.entry(name).or_default().push(Call { at, function: body.address });
                }
            });
        }
        Self { calls }
    }

    fn of(&self, name: &str) -> impl Iterator<Item = Call> + '_ {
        self.calls.get(name).into_iter().flatten().copied()
    }

    fn functions_calling(&self, name: &str) -> HashSet<u64> {
        self.of(name).map(|call| call.function).collect()
    }
}

#[cfg(test)]
mod linked_tests;
#[cfg(test)]
mod rustls_tests;
#[cfg(test)]
mod tests;
