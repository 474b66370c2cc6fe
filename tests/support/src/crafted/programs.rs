//! Programs that hold a TLS library.

use super::{Piece, Program, Table, function};

/// `mov ebx, 0x16`.
const HANDSHAKE: Piece = Piece::Bytes(b"\xbb\x16\0\0\0");
/// `ret`.
const RETURN: Piece = Piece::Bytes(b"\xc3");

/// A Go program of 1.21 or later with a TLS client in it.
#[must_use]
pub fn go_client() -> Program {
    use Piece::{Bytes, Call};
    const WRITE: &str = "crypto/tls.(*Conn).writeRecordLocked";
    const VERIFY: &str = "crypto/x509.(*Certificate).Verify";
    const UNMARSHAL: &str = "crypto/tls.(*Conn).unmarshalHandshakeMessage";
    // After the call: test rdi, rdi; jne over a nop.
    const JUDGE: Piece = Bytes(b"\x48\x85\xff\x75\x01\x90");
    let functions = vec![
        function("runtime.main", [Bytes(b"\x90"), RETURN]),
        function(VERIFY, [RETURN]),
        function(WRITE, [Bytes(b"\x31\xc0"), RETURN]),
        function(UNMARSHAL, [RETURN]),
        function("crypto/tls.(*Conn).writeHandshakeRecord", [HANDSHAKE, Call(WRITE), RETURN]),
        // Application data: the type is another one, or an argument.
        function(
            "crypto/tls.(*Conn).Write",
            [Bytes(b"\xbb\x17\0\0\0"), Call(WRITE), Bytes(b"\x89\xcb"), Call(WRITE), RETURN],
        ),
        function(
            "crypto/tls.(*Conn).readHandshake",
            // A constant that looks like a call.
            [Bytes(b"\xb8\xe8\0\0\0"), Call(UNMARSHAL), RETURN],
        ),
        function("crypto/tls.(*Conn).verifyServerCertificate", [Call(VERIFY), JUDGE, RETURN]),
        function("crypto/tls.(*Conn).processCertsFromClient", [Call(VERIFY), JUDGE, RETURN]),
        function("example.com/spiffe.verify", [Call(VERIFY), JUDGE, RETURN]),
    ];
    Program { functions, ..Program::default() }
}

/// A program with BoringSSL in it.
#[must_use]
pub fn boringssl() -> Program {
    use Piece::{Bytes, Call};
    const CALLBACK: &str = "ssl_do_msg_callback";
    // mov esi, 1 | xor esi, esi; mov edx, content type
    let functions = vec![
        function("main", [RETURN]),
        function(CALLBACK, [RETURN]),
        function(
            "tls_add_message",
            [Bytes(b"\xbe\x01\0\0\0\xba\x16\0\0\0"), Call(CALLBACK), RETURN],
        ),
        function(
            "tls_get_message",
            [Bytes(b"\x31\xf6\xba\x16\0\0\0\x48\x89\xd9"), Call(CALLBACK), RETURN],
        ),
        function(
            "do_seal_record",
            [Bytes(b"\xbe\x01\0\0\0\xba\0\x01\0\0"), Call(CALLBACK), RETURN],
        ),
        function(
            "tls_add_change_cipher_spec",
            [Bytes(b"\xba\x14\0\0\0\xbe\x01\0\0\0"), Call(CALLBACK), RETURN],
        ),
        function("ssl_process_alert", [Bytes(b"\x31\xf6\xba\x15\0\0\0"), Call(CALLBACK), RETURN]),
    ];
    Program { functions, ..Program::default() }
}

/// A program with OpenSSL in it, stripped.
#[must_use]
pub fn openssl() -> Program {
    use Piece::{Bytes, Call, Lea};
    let functions = vec![
        function("main", [RETURN]),
        function("EVP_Digest", [RETURN]),
        // A constant that looks like a call.
        function(
            "tls_process_new_session_ticket",
            [Bytes(b"\xb8\xe8\0\0\0"), Call("EVP_Digest"), Bytes(b"\x85\xc0"), RETURN],
        ),
        function("digests_something_else", [Call("EVP_Digest"), RETURN]),
        // push rbp; lea rcx, name; pop rbp
        function(
            "ssl3_finish_mac",
            [Bytes(b"\x55"), Lea("ssl3_finish_mac"), Bytes(b"\x5d"), RETURN],
        ),
        function("other", [Lea("ssl3_digest_cached_records"), RETURN]),
    ];
    let texts = vec!["ssl3_digest_cached_records", "ssl3_finish_mac"];
    Program { functions, texts, ..Program::default() }
}

/// A program with rustls in it, stripped; its mark is a text that the caller adds.
#[must_use]
pub fn rustls() -> Program {
    use Piece::{Bytes, Call, LeaTable};
    const TABLE: &str = "Context";
    // mov edi, 0xe0; mov esi, 8
    const ASK: Piece = Bytes(b"\xbf\xe0\0\0\0\xbe\x08\0\0\0");
    let functions = vec![
        function("main", [RETURN]),
        function("allocate", [RETURN]),
        function("fork_finish", [Bytes(b"\x53"), RETURN]),
        function("fork", [ASK, Call("allocate"), LeaTable(TABLE), RETURN]),
        function("finish", [Bytes(b"\x55"), RETURN]),
        // push rbp
        function("update", [Bytes(b"\x55\x5d"), RETURN]),
        function("start", [ASK, Call("allocate"), LeaTable(TABLE), RETURN]),
        function("drop", [RETURN]),
        function("other", [LeaTable("Other"), RETURN]),
    ];
    let methods = vec!["fork_finish", "fork", "finish", "update"];
    let tables = vec![
        Table { name: TABLE, drop: None, size: 0xe0, methods },
        // Its destructor follows the last method of the other.
        Table { name: "Other", drop: Some("drop"), size: 0x40, methods: vec!["main"; 4] },
    ];
    Program { functions, tables, ..Program::default() }
}
