//! OpenSSL 3 and 4 inside a program: Node, Python's `cryptography`, proxies that are linked
//! statically.
//!
//! `ssl3_finish_mac(connection, message, length)` (ssl/s3_enc.c) is given every handshake message
//! singly. Where its name is gone from the symbols it is still there as text: the function names
//! itself in its errors (`OPENSSL_FUNC`), and no other function does.

use std::collections::HashSet;

use hopsight_abi::VerifyOffsets;

use super::{
    Hook, Linked, PlacedPoints, Placement, Selection,
    image::Code,
    instruction_set::{Argument, Site, Walk},
};
use crate::library::elf::{Elf, ElfError, Functions, Symbols};

const FINISH_MAC: &str = "ssl3_finish_mac";
const VERIFY: &str = "ssl_verify_cert_chain";
const VERIFY_RESULT: &str = "X509_STORE_CTX_get_error";
/// Where a client reads a ticket, and what it digests it with.
const NEW_TICKET: &str = "tls_process_new_session_ticket";
const DIGEST: &str = "EVP_Digest";
const NAMES: [&str; 11] = [
    FINISH_MAC,
    VERIFY,
    VERIFY_RESULT,
    NEW_TICKET,
    DIGEST,
    "SSL_set_connect_state",
    "SSL_set_accept_state",
    "SSL_get_verify_mode",
    "SSL_get_verify_callback",
    "SSL_get_SSL_CTX",
    "SSL_CTX_set_cert_verify_callback",
];
/// The name as text of its own.
pub const NAME_AS_TEXT: &[u8] = b"\0ssl3_finish_mac\0";

/// Longest function that is walked through.
const MAX_FUNCTION: u64 = 256 << 10;
/// Most places that may refer to the text.
const MAX_REFERENCES: usize = 256;

/// Places the probes of a program that holds OpenSSL; `texts` are the file offsets of
/// [`NAME_AS_TEXT`].
///
/// # Errors
/// When the file is damaged or would take too long.
pub fn place(
    elf: &Elf<'_>,
    functions: &Functions,
    texts: &[u64],
    version: Option<&str>,
) -> Result<Linked, ElfError> {
    let symbols = Symbols::find(elf, &NAMES)?;
    let name = version.unwrap_or("OpenSSL").to_owned();
    let program = Program { elf, functions, symbols };
    let named = program.symbols.get(FINISH_MAC);
    let by_text = match named {
        Some(start) => vec![start],
        None => program.functions_that_refer_to(texts)?,
    };
    let [finish_mac] = by_text.as_slice() else {
        if by_text.is_empty() {
            // A text that nothing refers to stands in other programs, too.
            return Ok(Linked::Absent);
        }
        return Ok(Linked::Unsupported(format!("{name}: ssl3_finish_mac was not found")));
    };
    let Some(bytes) = program.body(*finish_mac)? else {
        return Ok(Linked::Unsupported(format!("{name}: ssl3_finish_mac was not found")));
    };
    let body = Code { address: *finish_mac, bytes: &bytes, is_plt: false };
    let mut points = PlacedPoints::new(elf);
    points.extend(Hook::FinishMac, [elf.isa.instructions().entry(body)])?;
    for (hook, name) in
        [(Hook::ConnectState, "SSL_set_connect_state"), (Hook::AcceptState, "SSL_set_accept_state")]
    {
        let Some(start) = program.symbols.get(name) else { continue };
        let Some(bytes) = program.body(start)? else { continue };
        let body = Code { address: start, bytes: &bytes, is_plt: false };
        points.extend(hook, [elf.isa.instructions().entry(body)])?;
    }
    points.extend(Hook::VerifyResult, program.verify_results()?)?;
    points.extend(Hook::TicketInside, program.ticket_digest()?)?;
    let placement = Placement {
        points: points.sorted(),
        digest_calls: 1,
        selection: Selection::Named,
        verify_offsets: program.verify_offsets()?,
    };
    Ok(Linked::Placed { name, placement })
}

struct Program<'p, 'b> {
    elf: &'p Elf<'b>,
    functions: &'p Functions,
    symbols: Symbols,
}

impl Program<'_, '_> {
    /// The function that starts at `start`; `None` where none does, by the unwind tables.
    fn body(&self, start: u64) -> Result<Option<Vec<u8>>, ElfError> {
        let Some((_, end)) = self.functions.around(start).filter(|around| around.0 == start) else {
            return Ok(None);
        };
        let Some(offset) = self.elf.offset_of(start).filter(|_| self.elf.is_code(start)) else {
            return Ok(None);
        };
        let len = (end - start).min(MAX_FUNCTION).min(self.elf.reader.size() - offset);
        self.elf.reader.piece(offset, len).map(Some)
    }

    /// Starts of the functions with an instruction that makes the address of one of `texts`.
    fn functions_that_refer_to(&self, texts: &[u64]) -> Result<Vec<u64>, ElfError> {
        let elf = self.elf;
        // The text begins after the zero that ends the one before.
        let addresses = texts.iter().filter_map(|text| elf.address_of(text + 1));
        let addresses: HashSet<u64> = addresses.collect();
        let mut near = HashSet::new();
        for segment in elf.code().filter(|_| !addresses.is_empty()) {
            elf.reader.windows((segment.offset, segment.size), 16, |window| {
                let address = segment.address + (window.offset - segment.offset);
                let code = Code { address, bytes: window.bytes, is_plt: false };
                elf.isa.instructions().may_refer_to(code, &addresses, &mut |at| {
                    near.extend(self.functions.around(at));
                });
                if near.len() > MAX_REFERENCES { Err(ElfError::TooMuch) } else { Ok(()) }
            })?;
        }
        let mut referring = Vec::new();
        for (start, _) in near {
            let Some(bytes) = self.body(start)? else { continue };
            let body = Code { address: start, bytes: &bytes, is_plt: false };
            if elf.isa.instructions().refers_to(body, &addresses) {
                referring.push(start);
            }
        }
        Ok(referring)
    }

    /// After the calls in `ssl_verify_cert_chain` that tell it the result.
    fn verify_results(&self) -> Result<Vec<u64>, ElfError> {
        self.calls(VERIFY, VERIFY_RESULT, |body, site| {
            self.elf.isa.instructions().after_call(body, site.at)
        })
    }

    /// The call that digests a ticket, if there is one such call.
    fn ticket_digest(&self) -> Result<Option<u64>, ElfError> {
        // A symbol is only a claim of the file.
        let is_function = |name| {
            let start = self.symbols.get(name)?;
            self.functions.around(start).filter(|around| around.0 == start)
        };
        if is_function(DIGEST).is_none() {
            return Ok(None);
        }
        let calls = self.calls(NEW_TICKET, DIGEST, |_, site| Some(site.at))?;
        Ok(<[u64; 1]>::try_from(calls).ok().map(|[call]| call))
    }

    /// A place for each direct call of `callee` in the function `function`, both by their symbols.
    fn calls(
        &self,
        function: &str,
        callee: &str,
        place: impl Fn(Code<'_>, &Site) -> Option<u64>,
    ) -> Result<Vec<u64>, ElfError> {
        let (Some(start), Some(callee)) = (self.symbols.get(function), self.symbols.get(callee))
        else {
            return Ok(Vec::new());
        };
        let Some(bytes) = self.body(start)? else { return Ok(Vec::new()) };
        let body = Code { address: start, bytes: &bytes, is_plt: false };
        let arguments = [Argument::Second; 2];
        let instructions = self.elf.isa.instructions();
        let calls = instructions.calls_of(body, &[callee], arguments, Walk::UpToTheCall);
        Ok(calls.unwrap_or_default().iter().filter_map(|site| place(body, site)).collect())
    }

    fn verify_offsets(&self) -> Result<Option<VerifyOffsets>, ElfError> {
        let instructions = self.elf.isa.instructions();
        let member = |name: &str, read: &dyn Fn(Code<'_>) -> Option<u64>| {
            let Some(start) = self.symbols.get(name) else { return Ok(None) };
            let Some(bytes) = self.body(start)? else { return Ok(None) };
            let body = Code { address: start, bytes: &bytes, is_plt: false };
            Ok::<_, ElfError>(read(body).and_then(VerifyOffsets::offset))
        };
        let returned = |body: Code<'_>| instructions.member_returned(body);
        let set = |body: Code<'_>| instructions.member_set(body);
        let mode = member("SSL_get_verify_mode", &returned)?;
        let callback = member("SSL_get_verify_callback", &returned)?;
        let context = member("SSL_get_SSL_CTX", &returned)?;
        let replacement = member("SSL_CTX_set_cert_verify_callback", &set)?;
        let offsets = (mode, callback, context, replacement);
        let (Some(mode), Some(callback), Some(context), Some(replacement)) = offsets else {
            return Ok(None);
        };
        Ok(Some(VerifyOffsets { mode, callback, context, replacement }))
    }
}
