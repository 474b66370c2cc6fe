//! Stacks inside programs: programs made here, and real ones where they are installed.

use std::path::Path;

use iced_x86::{Decoder, DecoderOptions, Mnemonic};

use hopsight_test_support::crafted::{self, File, Piece, Program, function};

use super::{Hook, Linked, Placement, Rustls, rustls_tests::RUSTLS, survey, survey_with};
use crate::library::elf::{Elf, Functions};

fn placed(file: &File, name: &str) -> Placement {
    match survey(&file.bytes.as_slice()).unwrap().linked {
        Linked::Placed { placement, .. } => placement,
        other => panic!("{name}: {other:?}"),
    }
}

pub fn points(placement: &Placement, hook: Hook) -> Vec<u64> {
    let points = placement.points.iter().filter(|point| point.hook == hook);
    points.map(|point| point.offset).collect()
}

fn unsupported(file: &File) -> bool {
    matches!(survey(&file.bytes.as_slice()).unwrap().linked, Linked::Unsupported(_))
}

const WRITE: &str = "crypto/tls.(*Conn).writeRecordLocked";
const UNMARSHAL: &str = "crypto/tls.(*Conn).unmarshalHandshakeMessage";
const VERIFY: &str = "crypto/x509.(*Certificate).Verify";

#[test]
fn a_go_client_is_placed_at_its_handshake_calls() {
    for (name, module) in [("text in the header", false), ("text in the module's data", true)] {
        let file = crafted::go_client().go("go1.27.1", module);
        let survey = survey(&file.bytes.as_slice()).unwrap();
        let Linked::Placed { name: called, placement } = survey.linked else {
            panic!("{name}: {:?}", survey.linked)
        };
        assert_eq!(called, "Go 1.27.1 crypto/tls", "{name}");
        let calls = |caller: &'static str, callee| file.calls[&(caller, callee)].clone();
        let sent = calls("crypto/tls.(*Conn).writeHandshakeRecord", WRITE);
        assert_eq!(points(&placement, Hook::GoSent), sent, "{name}");
        let received = calls("crypto/tls.(*Conn).readHandshake", UNMARSHAL);
        assert_eq!(points(&placement, Hook::GoReceived), received, "{name}");
        // At the conditional jump after the call, which is cheap.
        let judged = |caller| calls(caller, VERIFY)[0] + 8;
        let verified = vec![judged("crypto/tls.(*Conn).verifyServerCertificate")];
        assert_eq!(points(&placement, Hook::GoVerified), verified, "{name}");
        let by_application = vec![judged("example.com/spiffe.verify")];
        assert_eq!(points(&placement, Hook::GoAppVerified), by_application, "{name}");
        assert!(placement.points.iter().all(|point| point.emulated), "{name}");
    }
}

#[test]
fn a_go_client_is_placed_wherever_the_compiler_inlined_the_calls() {
    let mut program = crafted::go_client();
    for function in &mut program.functions {
        if function.name == "crypto/tls.(*Conn).readHandshake" {
            function.name = "crypto/tls.(*Conn).clientHandshake.func3";
        }
    }
    let file = program.go("go1.26.6", false);
    let inlined = ("crypto/tls.(*Conn).clientHandshake.func3", UNMARSHAL);
    assert_eq!(points(&placed(&file, "inlined"), Hook::GoReceived), file.calls[&inlined]);
}

#[test]
fn go_up_to_1_20_is_placed_at_the_call_through_the_interface() {
    // mov r8, [rax+0x20]; mov rax, rdx; call r8
    const CALL: &[u8] = b"\x4c\x8b\x40\x20\x48\x89\xd0\x41\xff\xd0";
    for (name, calls, found) in [("one", 1, true), ("another shape", 2, false)] {
        let mut program = crafted::go_client();
        program.functions.retain(|function| function.name != UNMARSHAL);
        for function in &mut program.functions {
            if function.name == "crypto/tls.(*Conn).readHandshake" {
                function.code = vec![Piece::Bytes(CALL); calls];
            }
        }
        let file = program.go("go1.19.8", false);
        if found {
            let call = file.starts["crypto/tls.(*Conn).readHandshake"] + 7;
            assert_eq!(points(&placed(&file, name), Hook::GoUnmarshal), [call], "{name}");
        } else {
            assert!(unsupported(&file), "{name}");
        }
    }
}

#[test]
fn a_go_program_that_is_not_understood_is_left_alone() {
    let without = |name: &str| {
        let mut program = crafted::go_client();
        program.functions.retain(|function| function.name != name);
        program
    };
    let with = |name: &str, code: Vec<Piece>| {
        let mut program = crafted::go_client();
        let found = program.functions.iter_mut().find(|function| function.name == name).unwrap();
        found.code = code;
        program
    };
    let handshake = "crypto/tls.(*Conn).writeHandshakeRecord";
    for (name, program) in [
        ("nothing is sent", without(handshake)),
        ("nothing is read", without("crypto/tls.(*Conn).readHandshake")),
        ("nothing is verified", without("crypto/tls.(*Conn).verifyServerCertificate")),
        (
            "the type is set before another call",
            with(
                handshake,
                vec![Piece::Bytes(b"\xbb\x16\0\0\0"), Piece::Call(VERIFY), Piece::Call(WRITE)],
            ),
        ),
        (
            "the function cannot be walked to its end",
            with(
                handshake,
                // 0x06 is no instruction in 64-bit mode.
                vec![Piece::Bytes(b"\xbb\x16\0\0\0"), Piece::Call(WRITE), Piece::Bytes(b"\x06")],
            ),
        ),
        (
            "the call is within another instruction",
            // mov eax, 0xbb…; the call's first byte is the last of a constant.
            with(handshake, vec![Piece::Bytes(b"\xbb\x16\0\0\0\x48\xb8"), Piece::Call(WRITE)]),
        ),
    ] {
        assert!(unsupported(&program.go("go1.27.1", false)), "{name}");
    }
    let plain = Program {
        functions: vec![function("runtime.main", [Piece::Bytes(b"\xc3")])],
        ..Program::default()
    };
    let file = plain.go("go1.27.1", false);
    assert_eq!(survey(&file.bytes.as_slice()).unwrap().linked, Linked::Absent, "no crypto/tls");
}

#[test]
fn boringssl_is_placed_by_the_arguments_of_its_calls() {
    let file = crafted::boringssl().c(&["BoringSSL"]);
    let placement = placed(&file, "BoringSSL");
    let call = |caller| file.calls[&(caller, "ssl_do_msg_callback")][0];
    let messages = [call("tls_add_message"), call("tls_get_message")];
    assert_eq!(points(&placement, Hook::BoringMessage), messages);
    assert_eq!(points(&placement, Hook::BoringAlert), [call("ssl_process_alert")]);
    assert_eq!(placement.points.len(), 3, "the calls of every record are left alone");
}

#[test]
fn aarch64_programs_are_placed_alike() {
    use Piece::{Bytes, Call};
    const AARCH64: u16 = 183;
    const RETURN: Piece = Bytes(b"\xc0\x03\x5f\xd6");
    const CALLBACK: &str = "ssl_do_msg_callback";
    // mov w1, #1 | mov w1, wzr; mov w2, #content type
    const SENT: &[u8] = b"\x21\0\x80\x52";
    const RECEIVED: &[u8] = b"\xe1\x03\x1f\x2a";
    let call = |name, direction, content_type| {
        function(name, [Bytes(direction), Bytes(content_type), Call(CALLBACK), RETURN])
    };
    let functions = vec![
        function(CALLBACK, [RETURN]),
        call("tls_add_message", SENT, b"\xc2\x02\x80\x52"),
        call("tls_get_message", RECEIVED, b"\xc2\x02\x80\x52"),
        call("do_seal_record", SENT, b"\x02\x20\x80\x52"),
        call("tls_add_change_cipher_spec", SENT, b"\x82\x02\x80\x52"),
        call("ssl_process_alert", RECEIVED, b"\xa2\x02\x80\x52"),
    ];
    let program = Program { functions, machine: AARCH64, ..Program::default() };
    let file = program.c(&["BoringSSL"]);
    let at = |caller: &'static str| file.calls[&(caller, CALLBACK)][0];
    let messages = [at("tls_add_message"), at("tls_get_message")];
    assert_eq!(points(&placed(&file, "BoringSSL"), Hook::BoringMessage), messages);

    // mov x1, #0x16 | mov x1, x3
    let write = |name, second| function(name, [Bytes(second), Call(WRITE), RETURN]);
    let functions = vec![
        function(VERIFY, [RETURN]),
        function(WRITE, [RETURN]),
        function(UNMARSHAL, [RETURN]),
        write("crypto/tls.(*Conn).writeHandshakeRecord", b"\xc1\x02\x80\xd2"),
        write("crypto/tls.(*Conn).Write", b"\xe1\x03\x03\xaa"),
        function("crypto/tls.(*Conn).readHandshake", [Call(UNMARSHAL), RETURN]),
        function("crypto/tls.(*Conn).verifyServerCertificate", [Call(VERIFY), RETURN]),
    ];
    let program = Program { functions, machine: AARCH64, ..Program::default() };
    let file = program.go("go1.27.1", true);
    let placement = placed(&file, "Go");
    let sent = &file.calls[&("crypto/tls.(*Conn).writeHandshakeRecord", WRITE)];
    assert_eq!(&points(&placement, Hook::GoSent), sent);
    let verify = file.calls[&("crypto/tls.(*Conn).verifyServerCertificate", VERIFY)][0];
    assert_eq!(points(&placement, Hook::GoVerified), [verify + 4]);
}

#[test]
fn what_is_not_surely_boringssl_is_left_alone() {
    const CALLBACK: &str = "ssl_do_msg_callback";
    let with = |name: &'static str, code: Vec<Piece>| {
        let mut program = crafted::boringssl();
        program.functions.push(function(name, code));
        program
    };
    // The same calls once more, of another function.
    let mut twice = crafted::boringssl();
    for original in crafted::boringssl().functions.into_iter().skip(1) {
        let name: &'static str = format!("other_{}", original.name).leak();
        let rename = |piece| match piece {
            Piece::Call(_) => Piece::Call("other_ssl_do_msg_callback"),
            other => other,
        };
        twice.functions.push(function(name, original.code.into_iter().map(rename)));
    }
    for (name, program) in [
        ("two candidates", twice),
        ("a call without constants", with("odd", vec![Piece::Call(CALLBACK)])),
        (
            "a call with another content type",
            with("odd", vec![Piece::Bytes(b"\x31\xf6\xba\x63\0\0\0"), Piece::Call(CALLBACK)]),
        ),
        (
            "a call within another instruction",
            with("odd", vec![Piece::Bytes(b"\x31\xf6\xba\x16\0\0\0\xb8"), Piece::Call(CALLBACK)]),
        ),
    ] {
        assert!(unsupported(&program.c(&["BoringSSL"])), "{name}");
    }
    let mut into_the_middle = crafted::boringssl();
    into_the_middle.functions.retain(|function| function.name != "tls_add_message");
    assert!(unsupported(&into_the_middle.c(&["BoringSSL"])), "nothing is sent");
}

/// Who digests a ticket, and with what.
const TICKET_NAMES: [&str; 2] = ["tls_process_new_session_ticket", "EVP_Digest"];

#[test]
fn the_digest_of_a_ticket_is_found_by_symbols_and_only_once() {
    const NAMES: [&str; 2] = TICKET_NAMES;
    let twice = || {
        let mut program = crafted::openssl();
        let reads = program.functions.iter_mut().find(|function| function.name == NAMES[0]);
        let code = &mut reads.unwrap().code;
        code.insert(0, crafted::Piece::Call("EVP_Digest"));
        program
    };
    let cases: [(&str, crafted::Program, &[&str], usize); 5] = [
        ("both", crafted::openssl(), &NAMES, 1),
        ("stripped", crafted::openssl(), &[], 0),
        ("no name of the digest", crafted::openssl(), &NAMES[..1], 0),
        ("no name of its caller", crafted::openssl(), &NAMES[1..], 0),
        ("called twice", twice(), &NAMES, 0),
    ];
    for (name, program, symbols, expected) in cases {
        let file = program.c_with(&["OpenSSL 3.5.4 30 Sep 2025"], symbols);
        let placement = placed(&file, "OpenSSL 3.5.4");
        assert_eq!(placement.count(Hook::TicketInside), expected, "{name}");
        assert_eq!(placement.count(Hook::FinishMac), 1, "{name}");
        if expected == 1 {
            let point = placement.points.iter().find(|point| point.hook == Hook::TicketInside);
            let call = file.calls[&(NAMES[0], NAMES[1])][0];
            assert_eq!(point.map(|point| (point.offset, point.emulated)), Some((call, true)));
        }
    }
}

#[test]
fn openssl_is_placed_by_its_own_name() {
    let file = crafted::openssl().c(&["OpenSSL 3.5.4 30 Sep 2025"]);
    let found = survey(&file.bytes.as_slice()).unwrap();
    let Linked::Placed { name, placement } = found.linked else { panic!("{:?}", found.linked) };
    assert_eq!(name, "OpenSSL 3.5.4");
    assert_eq!(points(&placement, Hook::FinishMac), [file.starts["ssl3_finish_mac"]]);
    let mut twice = crafted::openssl();
    twice.functions.push(function("odd", [Piece::Lea("ssl3_finish_mac")]));
    assert!(unsupported(&twice.c(&[])), "two functions with the name");
    let mut unused = crafted::openssl();
    unused.functions.retain(|function| function.name != "ssl3_finish_mac");
    let file = unused.c(&[]);
    let linked = survey(&file.bytes.as_slice()).unwrap().linked;
    assert_eq!(linked, Linked::Absent, "nothing refers to the name");
}

#[test]
fn the_most_telling_mark_comes_first_wherever_it_is() {
    let program = Program {
        functions: vec![function("main", [Piece::Bytes(b"\xc3")])],
        ..Program::default()
    };
    for (name, marks, expected) in [
        ("Envoy", &["rustls-0.23.46/src", "BoringSSL"][..], &["BoringSSL", "rustls"][..]),
        ("Node", &["rustls", "OpenSSL 3.0.19 27 Jan 2026"], &["OpenSSL", "rustls"]),
        ("ztunnel", &["rustls"], &["rustls"]),
        ("none", &["TLS"], &[]),
    ] {
        let file = program.c(marks);
        assert_eq!(survey(&file.bytes.as_slice()).unwrap().marks, expected, "{name}");
    }
}

#[test]
fn damaged_programs_are_refused_or_placed_on_instructions() {
    let files = [
        crafted::go_client().go("go1.27.1", true),
        crafted::go_client().go("go1.24.11", false),
        crafted::boringssl().c(&["BoringSSL"]),
        crafted::openssl().c(&["OpenSSL 3.5.4 30 Sep 2025"]),
        crafted::openssl().c_with(&["OpenSSL 3.5.4 30 Sep 2025"], &TICKET_NAMES),
        crafted::rustls().c(&[RUSTLS]),
    ];
    for File { bytes, .. } in files {
        for at in 0..bytes.len() {
            for value in [0, 0xff, bytes[at] ^ 1] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                check_places(&damaged);
            }
        }
        for len in (0..bytes.len()).step_by(37) {
            check_places(&bytes[..len]);
        }
    }
}

/// Every place is a whole instruction of the code, and of the kind that its hook wants.
fn check_places(bytes: &[u8]) {
    let Ok(survey) = survey_with(&bytes, Rustls::LookedFor) else { return };
    let Linked::Placed { placement, .. } = survey.linked else { return };
    let elf = Elf::open(&bytes).unwrap();
    for point in &placement.points {
        let address = elf.address_of(point.offset).unwrap();
        assert!(elf.is_code(address), "{point:x?}");
        let code = &bytes[usize::try_from(point.offset).unwrap()..];
        let instruction = Decoder::with_ip(64, code, address, DecoderOptions::NONE).decode();
        assert!(!instruction.is_invalid(), "{point:x?}");
        let is_call = instruction.mnemonic() == Mnemonic::Call;
        let wants_call = matches!(
            point.hook,
            Hook::GoSent
                | Hook::GoReceived
                | Hook::GoUnmarshal
                | Hook::BoringMessage
                | Hook::TicketInside
        );
        assert!(is_call || !wants_call, "{point:x?}: {instruction:?}");
    }
}

/// Walks from the start of the function around it, by the unwind tables, to a place.
fn is_reached(file: &std::fs::File, functions: &Functions, offset: u64) -> bool {
    let elf = Elf::open(file).unwrap();
    let address = elf.address_of(offset).unwrap();
    let Some((start, _)) = functions.around(address) else { return false };
    let code = elf.at(start, address - start + 16).unwrap();
    let decoder = Decoder::with_ip(64, &code, start, DecoderOptions::NONE);
    decoder.into_iter().map(|instruction| instruction.ip()).any(|ip| ip == address)
}

#[test]
fn programs_of_this_machine_are_placed_on_their_instructions() {
    let envoy = std::env::var("HOPSIGHT_ENVOY").unwrap_or_default();
    let mut looked_at = 0;
    for (path, expected) in
        [("/usr/bin/caddy", 3), ("/usr/bin/node", 1), (envoy.as_str(), 3), ("/bin/bash", 0)]
    {
        let Ok(file) = std::fs::File::open(Path::new(path)) else {
            let why = format!("{path:?} is not installed");
            hopsight_test_support::not_run("programs with a TLS library inside", &why);
            continue;
        };
        let survey = survey(&file).unwrap();
        println!("{path}: {:?}, {:?}", survey.marks, survey.linked);
        looked_at += 1;
        let Linked::Placed { placement, .. } = survey.linked else {
            assert_eq!(expected, 0, "{path}");
            continue;
        };
        assert_eq!(placement.transcript_calls(), expected, "{path}");
        assert_eq!(
            placement.count(Hook::TicketInside),
            usize::from(path.ends_with("node")),
            "{path}"
        );
        let functions = Functions::read(&Elf::open(&file).unwrap()).unwrap();
        if !functions.is_empty() && std::env::consts::ARCH == "x86_64" {
            // Go programs have unwind tables for their C only.
            let of_c =
                placement.points.iter().filter(|point| !point.hook.as_str().starts_with("go_"));
            for point in of_c {
                assert!(is_reached(&file, &functions, point.offset), "{path}: {point:x?}");
            }
        }
    }
    assert!(looked_at > 0);
}
