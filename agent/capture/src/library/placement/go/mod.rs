//! Go's `crypto/tls`, 1.19.6 and later: each handshake message passes whole, in the clear, through a
//! call whose arguments hold the connection, the message and its length.
//!
//! A Go program keeps the names and bounds of its functions, however it is stripped
//! ([`pclntab`]). Every function of `crypto/tls` is searched for the calls: which of them holds
//! one changes where the compiler inlines by a profile. The places are the calls themselves, never
//! the functions called: those begin with a check of the stack that may run twice.

mod pclntab;

use std::collections::BTreeSet;

use self::pclntab::{Function, FunctionTable};
use super::{
    Hook, Linked, PlacedPoints, Placement, Selection,
    image::Code,
    instruction_set::{Argument, Site, Walk},
};
use crate::library::elf::{Elf, ElfError};

const TLS: &str = "crypto/tls";
const WRITE: &str = "crypto/tls.(*Conn).writeRecordLocked";
/// From Go 1.21 on.
const UNMARSHAL: &str = "crypto/tls.(*Conn).unmarshalHandshakeMessage";
/// Up to Go 1.20 this calls `unmarshal` of the message's interface.
const READ: &str = "crypto/tls.(*Conn).readHandshake";
const VERIFY: &str = "crypto/x509.(*Certificate).Verify";
/// Calls of [`VERIFY`] that are not about the server of this handshake: a server's of its clients,
/// and one about an older handshake, before a session is offered.
const OTHER_VERIFICATIONS: [&str; 2] =
    ["crypto/tls.(*Conn).processCertsFromClient", "crypto/tls.anyValidVerifiedChain"];

/// TLS record type of handshake messages (RFC 8446 section 5.1).
const HANDSHAKE: u64 = 22;
/// Longest function that is walked through; those of `crypto/tls` have some 10 KB.
const MAX_FUNCTION: u64 = 1 << 20;
/// Most places of one kind; real programs have at most some thirty.
const MAX_SITES: usize = 256;

/// Places the probes of a Go program.
///
/// # Errors
/// When the file is damaged or would take too long.
pub fn place(elf: &Elf<'_>, version: Option<String>) -> Result<Linked, ElfError> {
    let version = version.unwrap_or_else(|| "of unknown version".to_owned());
    let name = format!("Go {} crypto/tls", version.strip_prefix("go").unwrap_or(&version));
    let Some(table) = FunctionTable::read(elf)? else {
        if elf.section(".go.buildinfo").is_none() {
            // What looked like the version was something else.
            return Ok(Linked::Absent);
        }
        return Ok(Linked::Unsupported(format!("{name}: no function table of a known form")));
    };
    let functions = table.named(elf, TLS, &[VERIFY])?;
    let named = |name: &str| functions.iter().find(|function| function.name == name);
    let Some(write) = named(WRITE) else { return Ok(Linked::Absent) };
    let program = Program { elf, table: &table, functions: &functions };
    let mut points = PlacedPoints::new(elf);

    let writes = program.calls_of(write)?;
    let sent = writes.iter().filter(|(_, site)| site.arguments[0] == Some(HANDSHAKE));
    let sent: Vec<u64> = sent.map(|(_, site)| site.at).collect();
    let unmarshal = named(UNMARSHAL);
    let received: Vec<u64> = match unmarshal {
        Some(unmarshal) => program.calls_of(unmarshal)?.iter().map(|(_, site)| site.at).collect(),
        None => program.unmarshal_through_the_interface(named(READ))?,
    };
    let verified = match named(VERIFY) {
        Some(verify) => program.verifications_by_tls(verify)?,
        None => Vec::new(),
    };
    // Without the verification a client that never looks is not told from one that does.
    if sent.is_empty() || received.is_empty() || verified.is_empty() {
        let (sent, received, verified) = (sent.len(), received.len(), verified.len());
        let calls = format!("{sent} sending, {received} receiving and {verified} verifying calls");
        return Ok(Linked::Unsupported(format!("{name}: {calls}")));
    }
    let calls = writes.len() + received.len();
    points.extend(Hook::GoSent, sent)?;
    let hook = if unmarshal.is_some() { Hook::GoReceived } else { Hook::GoUnmarshal };
    points.extend(hook, received)?;
    points.extend(Hook::GoVerified, verified)?;
    if let Some(verify) = named(VERIFY) {
        points.extend(Hook::GoAppVerified, program.verifications_by_others(verify)?)?;
    }
    let placement = Placement {
        points: points.sorted(),
        digest_calls: calls,
        selection: Selection::Named,
        verify_offsets: None,
    };
    Ok(Linked::Placed { name, placement })
}

/// The functions of a program.
struct Program<'p, 'b> {
    elf: &'p Elf<'b>,
    table: &'p FunctionTable,
    functions: &'p [Function],
}

impl<'p> Program<'p, '_> {
    /// All functions of `crypto/tls`.
    fn of_tls(&self) -> impl Iterator<Item = &'p Function> + use<'p> {
        self.functions.iter().filter(|function| function.name != VERIFY)
    }

    fn body(&self, start: u64, end: u64) -> Result<Vec<u8>, ElfError> {
        let len = end.checked_sub(start).filter(|len| *len <= MAX_FUNCTION);
        self.elf.at(start, len.ok_or(ElfError::TooMuch)?)
    }

    /// The direct calls of `callee` in the functions of `crypto/tls`.
    fn calls_of(&self, callee: &Function) -> Result<Vec<(&'p Function, Site)>, ElfError> {
        let mut calls = Vec::new();
        for function in self.of_tls() {
            let sites = self.sites_in(function.start, function.end, callee.start)?;
            calls.extend(sites.into_iter().map(|site| (function, site)));
            if calls.len() > MAX_SITES {
                return Err(ElfError::TooMuch);
            }
        }
        Ok(calls)
    }

    /// The direct calls of `target` in a function; none where it cannot be walked to its end.
    fn sites_in(&self, start: u64, end: u64, target: u64) -> Result<Vec<Site>, ElfError> {
        let bytes = self.body(start, end)?;
        let body = Code { address: start, bytes: &bytes, is_plt: false };
        let arguments = [Argument::GoSecond; 2];
        let sites = self.elf.isa.instructions().calls_of(body, &[target], arguments, Walk::Whole);
        Ok(sites.unwrap_or_default())
    }

    /// Up to Go 1.20 the message is read by a call through its interface, of which the second
    /// method is `unmarshal`.
    fn unmarshal_through_the_interface(
        &self,
        read: Option<&Function>,
    ) -> Result<Vec<u64>, ElfError> {
        let Some(read) = read else { return Ok(Vec::new()) };
        let bytes = self.body(read.start, read.end)?;
        let body = Code { address: read.start, bytes: &bytes, is_plt: false };
        let calls = self.elf.isa.instructions().interface_calls(body);
        // Anything but one is another shape than the one that is understood.
        Ok(if calls.len() == 1 { calls } else { Vec::new() })
    }

    /// Where `crypto/tls` learns whether the server's chain and name are good.
    fn verifications_by_tls(&self, verify: &Function) -> Result<Vec<u64>, ElfError> {
        let calls = self.calls_of(verify)?;
        let of_server = calls
            .iter()
            .filter(|(function, _)| !OTHER_VERIFICATIONS.contains(&function.name.as_str()));
        of_server
            .filter_map(|(function, site)| {
                self.after(function.start, function.end, site.at).transpose()
            })
            .collect()
    }

    /// Where the program's own code asks the same, as a callback of `crypto/tls` may.
    fn verifications_by_others(&self, verify: &Function) -> Result<Vec<u64>, ElfError> {
        let tls: BTreeSet<u64> = self.of_tls().map(|function| function.start).collect();
        let mut callers = BTreeSet::new();
        let (first, last) = self.table.range();
        let offset = self.elf.offset_of(first).ok_or(ElfError::Damaged("the code"))?;
        let elf = self.elf;
        elf.reader.windows((offset, last.saturating_sub(first)), 8, |window| {
            let address = first + (window.offset - offset);
            let code = Code { address, bytes: window.bytes, is_plt: false };
            elf.isa.instructions().may_call(code, &mut |at, target| {
                let around = (target == verify.start).then(|| self.table.around(at)).flatten();
                callers.extend(around.filter(|(start, _)| !tls.contains(start)));
            });
            if callers.len() > MAX_SITES { Err(ElfError::TooMuch) } else { Ok(()) }
        })?;
        let mut points = Vec::new();
        for (start, end) in callers {
            for site in self.sites_in(start, end, verify.start)? {
                points.extend(self.after(start, end, site.at)?);
            }
        }
        Ok(points)
    }

    /// After the call at `call` in the function from `start` to `end`, where the register of the
    /// returned error still holds it.
    fn after(&self, start: u64, end: u64, call: u64) -> Result<Option<u64>, ElfError> {
        let bytes = self.body(start, end)?;
        let body = Code { address: start, bytes: &bytes, is_plt: false };
        Ok(self.elf.isa.instructions().after_go_call(body, call))
    }
}

/// The version in what `go build` leaves in a program (`debug/buildinfo`), at `offset` of the file;
/// `None` where nothing of the kind lies there.
#[must_use]
pub fn version(elf: &Elf<'_>, offset: u64) -> Option<String> {
    const MAGIC: &[u8] = b"\xff Go buildinf:";
    const TEXT: usize = 32;
    const INLINE: u8 = 2;
    let left = elf.reader.size().checked_sub(offset)?;
    let bytes = elf.reader.piece(offset, left.min(256)).ok()?;
    let is_inline = bytes.starts_with(MAGIC) && *bytes.get(15)? & INLINE != 0;
    let text = is_inline.then(|| bytes.get(TEXT..)).flatten()?;
    // A length of one byte, for versions are short (a varint).
    let (&len, text) = text.split_first()?;
    let text = std::str::from_utf8(text.get(..usize::from(len & 0x7f))?).ok()?;
    let is_version = (text.starts_with("go1.") || text.starts_with("devel"))
        && text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    (len < 0x80 && is_version).then(|| text.to_owned())
}
