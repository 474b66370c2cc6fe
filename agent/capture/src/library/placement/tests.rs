//! Placement on real libraries, and on instructions assembled by hand.

use std::path::{Path, PathBuf};

use super::{aarch64::Aarch64, image::Code, x86_64::X86_64, *};

fn placement_of(file: &[u8]) -> Placement {
    of_library(&Image::parse(file).unwrap()).expect("a library with transcript calls")
}

/// libssl of this machine and of the releases that `tests/build-openssl.sh` built.
fn libraries() -> Vec<PathBuf> {
    let system =
        ["/usr/lib/x86_64-linux-gnu/libssl.so.3", "/usr/lib/aarch64-linux-gnu/libssl.so.3"];
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    let releases = std::fs::read_dir(cache.join("hopsight/openssl")).into_iter().flatten();
    let built = releases
        .flatten()
        .flat_map(|release| ["libssl.so.1.1", "libssl.so.3"].map(|name| release.path().join(name)));
    system.map(PathBuf::from).into_iter().chain(built).filter(|path| path.exists()).collect()
}

#[test]
fn an_image_gives_out_function_bodies_for_a_bounded_time() {
    let Some(file) = libraries().first().map(|path| std::fs::read(path).unwrap()) else {
        hopsight_test_support::not_run("work on a libssl", "no libssl on this machine");
        return;
    };
    let image = Image::parse(&file).unwrap();
    let longest = image.bodies().max_by_key(|body| body.bytes.len()).unwrap();
    let mut given = 0;
    while let Some(body) = image.function_around(longest.address) {
        given += body.bytes.len();
    }
    assert!((60 << 20..=64 << 20).contains(&given), "{given}");
}

#[test]
fn every_openssl_release_at_hand_is_placed() {
    let libraries = libraries();
    if libraries.is_empty() {
        hopsight_test_support::not_run("places in libssl", "no libssl on this machine");
    }
    for path in libraries {
        let file = std::fs::read(&path).unwrap();
        let placement = placement_of(&file);
        let name = path.display();
        println!(
            "{name}: {} of {} digest calls, {:?}",
            placement.count(Hook::Transcript),
            placement.digest_calls,
            placement.selection
        );
        assert_ne!(placement.selection, Selection::All, "{name}: transcript calls told apart");
        assert_eq!(placement.count(Hook::Transcript), 2, "{name}");
        assert!(placement.digest_calls > 20, "{name}: {}", placement.digest_calls);
        for hook in [Hook::ConnectState, Hook::AcceptState] {
            assert_eq!(placement.count(hook), 1, "{name}: {hook}");
        }
        assert_eq!(placement.count(Hook::Ticket), 1, "{name}: the digest of a ticket");
        // Optimisation may give each of two paths a call of its own.
        let results = placement.count(Hook::VerifyResult);
        assert!((1..=2).contains(&results), "{name}: {results} verification results");
        assert!(placement.verify_offsets.is_some(), "{name}: the members that decide are found");
        println!("{name}: {:x?}", placement.verify_offsets);
        let errors = placement.count(Hook::ErrorRaised) + placement.count(Hook::ErrorPut);
        assert!((1..=16).contains(&errors), "{name}: {errors} error calls");
        let transcript = placement.points.iter().filter(|point| point.hook == Hook::Transcript);
        assert!(transcript.clone().all(|point| point.emulated), "{name}: {transcript:x?}");
        let single_stepped: Vec<_> = placement.points.iter().filter(|p| !p.emulated).collect();
        // On AArch64 a single step costs little more than a hit.
        let is_x86_64 = Image::parse(&file).unwrap().isa == Isa::X86_64;
        assert!(!is_x86_64 || single_stepped.is_empty(), "{name}: {single_stepped:x?}");
    }
}

#[test]
fn stripped_of_its_symbols_a_library_is_placed_alike() {
    let Some(path) = libraries().into_iter().next() else {
        hopsight_test_support::not_run("places in libssl", "no libssl on this machine");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let stripped = directory.path().join("libssl.so");
    let strip = std::process::Command::new("strip").arg("-o").arg(&stripped).arg(&path).status();
    if !strip.is_ok_and(|status| status.success()) {
        hopsight_test_support::not_run(
            "places in a stripped libssl",
            "strip of binutils is not installed",
        );
        return;
    }
    let points = |path: &Path| placement_of(&std::fs::read(path).unwrap()).points.len();
    assert_eq!(points(&stripped), points(&path));
}

#[test]
fn the_digest_of_a_ticket_is_the_only_one_beside_a_question_for_sha256() {
    const DIGEST: &str = "EVP_Digest";
    let graph = |calls: &[(&'static str, u64, u64)]| {
        let mut graph = CallGraph { calls: HashMap::new() };
        for &(name, at, function) in calls {
            graph.calls.entry(name).or_default().push(Call { at, function });
        }
        graph
    };
    for (name, calls, expected) in [
        ("OpenSSL 3", &[("EVP_MD_fetch", 0x14, 0x10), (DIGEST, 0x18, 0x10)][..], Some(0x18)),
        ("OpenSSL 1.1", &[("EVP_sha256", 0x14, 0x10), (DIGEST, 0x18, 0x10)], Some(0x18)),
        ("alone", &[("EVP_sha256", 0x24, 0x20), (DIGEST, 0x18, 0x10)], None),
        (
            "beside another digest",
            &[("EVP_sha256", 0x14, 0x10), (DIGEST, 0x18, 0x10), (DIGEST, 0x28, 0x20)],
            Some(0x18),
        ),
        (
            "two of the kind",
            &[("EVP_sha256", 0x14, 0x10), (DIGEST, 0x18, 0x10), (DIGEST, 0x1c, 0x10)],
            None,
        ),
        ("none", &[("EVP_sha256", 0x14, 0x10)], None),
    ] {
        assert_eq!(ticket_digest(&graph(calls)), expected, "{name}");
    }
}

#[test]
fn nginx_is_probed_where_it_asks_for_the_result() {
    let Ok(file) = std::fs::read("/usr/sbin/nginx") else {
        hopsight_test_support::not_run("nginx's own image", "nginx is not installed");
        return;
    };
    let points = of_application(&Image::parse(&file).unwrap());
    let count = |hook| points.iter().filter(|point| point.hook == hook).count();
    assert!(count(Hook::ResultAsked) >= 1);
    assert_eq!(count(Hook::ResultAsked), count(Hook::ResultGot));
    assert_eq!(count(Hook::HostChecked), 1);
}

#[test]
fn what_is_no_library_is_an_error_or_has_no_placement() {
    assert!(matches!(Image::parse(b"#!/bin/sh\n"), Err(ImageError::Elf(_))));
    let this = std::fs::read("/proc/self/exe").unwrap();
    let image = Image::parse(&this).unwrap();
    assert_eq!(of_library(&image), None);
    for cut in [0, 1, 63, 64, 100, 4096, this.len() / 2] {
        // Must not panic; a cut file may still parse.
        let _ = Image::parse(&this[..cut]).map(|image| of_library(&image));
    }
}

const BASE: u64 = 0x1000;

fn code(bytes: &[u8]) -> Code<'_> {
    Code { address: BASE, bytes, is_plt: false }
}

#[test]
fn x86_64_calls_are_read() {
    for (name, bytes, expected) in [
        ("direct call", &[0xe8, 0x10, 0, 0, 0][..], vec![(BASE, BASE + 0x15)]),
        ("tail call", &[0xe9, 0x10, 0, 0, 0], vec![(BASE, BASE + 0x15)]),
        ("through the table", &[0xff, 0x15, 0x10, 0, 0, 0], vec![(BASE, BASE + 0x16)]),
        ("tail through the table", &[0xff, 0x25, 0x10, 0, 0, 0], vec![(BASE, BASE + 0x16)]),
        ("through a register", &[0xff, 0xd0], vec![]),
        ("opcode within a constant", &[0xb8, 0xe8, 0x10, 0, 0, 0xc3], vec![]),
    ] {
        let mut found = Vec::new();
        X86_64.calls(code(bytes), &mut |at, target| found.push((at, target)));
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn x86_64_stubs_are_read() {
    for (name, bytes, expected) in [
        ("lazy", &[0xff, 0x25, 0x0a, 0, 0, 0][..], vec![(BASE, BASE + 0x10)]),
        (
            "with a landing pad",
            &[0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, 0x06, 0, 0, 0],
            vec![(BASE + 4, BASE + 0x10), (BASE, BASE + 0x10)],
        ),
    ] {
        assert_eq!(X86_64.stubs(code(bytes)), expected, "{name}");
    }
}

#[test]
fn x86_64_entries_move_to_emulated_instructions_that_see_the_argument() {
    for (name, bytes, expected) in [
        ("push first", &[0x53, 0xc3][..], 0),
        ("landing pad, push", &[0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0xc3], 4),
        ("other register, push", &[0x31, 0xc0, 0x55, 0xc3], 2),
        ("argument saved, then used", &[0x48, 0x89, 0xfb, 0x53, 0xc3], 3),
        ("argument overwritten", &[0x31, 0xff, 0x55, 0xc3], 0),
        ("leaf", &[0x48, 0x8b, 0x07, 0xc3], 0),
    ] {
        assert_eq!(X86_64.entry(code(bytes)) - BASE, expected, "{name}");
    }
}

#[test]
fn x86_64_results_are_read_where_they_still_are() {
    const CALL: [u8; 5] = [0xe8, 0, 1, 0, 0];
    for (name, after, expected) in [
        ("test, branch", &[0x85, 0xc0, 0x74, 0x02, 0x90, 0xc3][..], Some(7)),
        ("sign extension, next call", &[0x48, 0x98, 0xe8, 0, 1, 0, 0], Some(7)),
        ("stored elsewhere, push", &[0x89, 0xc5, 0x50], Some(7)),
        ("overwritten at once", &[0x31, 0xc0, 0x50], Some(5)),
        ("joined by a loop", &[0x90, 0xeb, 0xfd], None),
    ] {
        let bytes = [&CALL[..], after].concat();
        let point = X86_64.after_call(code(&bytes), BASE);
        assert_eq!(point.map(|point| point - BASE), expected, "{name}");
    }
}

#[test]
fn x86_64_constant_reasons_are_told_from_variable_ones() {
    for (name, bytes, expected) in [
        ("mov edx, 0x44", &[0xba, 0x44, 0, 0, 0, 0xe8, 0, 0, 0, 0][..], true),
        ("mov edx, ebp", &[0x89, 0xea, 0xe8, 0, 0, 0, 0], false),
        ("an argument of its own", &[0x55, 0xe8, 0, 0, 0, 0], false),
    ] {
        let call = BASE + bytes.len() as u64 - 5;
        assert_eq!(X86_64.third_argument_is_constant(code(bytes), call), expected, "{name}");
    }
}

#[test]
fn x86_64_members_are_read_from_getters_and_setters() {
    for (name, bytes, expected) in [
        ("plain getter", &[0x8b, 0x87, 0x68, 9, 0, 0, 0xc3][..], Some(0x968)),
        ("64 bits, registers cleared", &[0x48, 0x8b, 0x47, 8, 0x31, 0xff, 0xc3], Some(8)),
        (
            "after a check of the type",
            &[0x8b, 7, 0x85, 0xc0, 0x75, 7, 0x8b, 0x87, 0x68, 9, 0, 0, 0xc3, 0x31, 0xc0, 0xc3],
            Some(0x968),
        ),
        ("overwritten", &[0x8b, 0x47, 8, 0x31, 0xc0, 0xc3], None),
        ("two answers", &[0x8b, 0x47, 8, 0xc3, 0x8b, 0x47, 12, 0xc3], None),
        ("not a getter", &[0xe9, 0, 1, 0, 0], None),
    ] {
        assert_eq!(X86_64.member_returned(code(bytes)), expected, "{name}");
    }
    for (name, bytes, expected) in [
        ("store", &[0x48, 0x89, 0xb7, 0xa8, 0, 0, 0, 0xc3][..], Some(0xa8)),
        ("after a landing pad", &[0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x89, 0x77, 8, 0xc3], Some(8)),
        ("another argument", &[0x48, 0x89, 0x57, 8, 0xc3], None),
        ("after a branch", &[0x74, 5, 0x48, 0x89, 0x77, 8, 0xc3], None),
    ] {
        assert_eq!(X86_64.member_set(code(bytes)), expected, "{name}");
    }
}

#[test]
fn aarch64_members_are_read_from_getters_and_setters() {
    for (name, code_words, expected) in [
        // ldr w0, [x0, #0x968]; ret
        ("plain getter", &[0xb949_6800, 0xd65f_03c0][..], Some(0x968)),
        // ldr x0, [x0, #8]; mov x1, #0; ret
        ("64 bits, registers cleared", &[0xf940_0400, 0xd280_0001, 0xd65f_03c0], Some(8)),
        // ldr x0, [x0, #8]; b
        ("not returned", &[0xf940_0400, 0x1400_0003], None),
    ] {
        assert_eq!(Aarch64.member_returned(code(&words(code_words))), expected, "{name}");
    }
    for (name, word, expected) in [
        ("str x1, [x0, #0xa8]", 0xf900_5401, Some(0xa8)),
        ("stp x1, x2, [x0, #0xa8]", 0xa90a_8801, Some(0xa8)),
        ("str x2, [x0, #0xa8]", 0xf900_5402, None),
    ] {
        let bytes = words(&[word, 0xd65f_03c0]);
        assert_eq!(Aarch64.member_set(code(&bytes)), expected, "{name}");
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn aarch64_calls_are_read() {
    for (name, word, expected) in [
        ("bl forward", 0x9400_0002, vec![(BASE, BASE + 8)]),
        ("bl backward", 0x97ff_ffff, vec![(BASE, BASE - 4)]),
        ("b", 0x1400_0003, vec![(BASE, BASE + 12)]),
        ("blr", 0xd63f_0000, vec![]),
        ("nop", 0xd503_201f, vec![]),
    ] {
        let bytes = words(&[word]);
        let mut found = Vec::new();
        Aarch64.calls(code(&bytes), &mut |at, target| found.push((at, target)));
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn aarch64_stubs_are_read() {
    // adrp x16, +0x10 pages; ldr x17, [x16, #0x28]; add x16, x16, #0x28; br x17
    let stub = [0x9000_0090, 0xf940_1611, 0x9100_a210, 0xd61f_0220];
    let slot = BASE + 0x1_0000 + 0x28;
    for (name, prefix, expected) in [
        ("plain", &[][..], vec![(BASE, slot)]),
        ("with a landing pad", &[0xd503_245f], vec![(BASE + 4, slot), (BASE, slot)]),
        ("after another", &[0xd503_201f], vec![(BASE + 4, slot)]),
    ] {
        let bytes = words(&[prefix, &stub].concat());
        assert_eq!(Aarch64.stubs(code(&bytes)), expected, "{name}");
    }
}

#[test]
fn aarch64_results_are_read_after_the_call() {
    for (name, rest, expected) in [
        ("cbz", &[0x3400_0040, 0xd503_201f][..], Some(4)),
        ("joined by a branch back", &[0xd503_201f, 0x17ff_ffff], None),
        ("joined by a conditional branch", &[0xd503_201f, 0x54ff_ffe0], None),
    ] {
        let bytes = words(&[&[0x9400_0100], rest].concat());
        let point = Aarch64.after_call(code(&bytes), BASE);
        assert_eq!(point.map(|point| point - BASE), expected, "{name}");
    }
}

#[test]
fn aarch64_constant_reasons_are_told_from_variable_ones() {
    for (name, before, expected) in [
        ("mov w2, #0x44", 0x5280_0882, true),
        ("mov w2, w20", 0x2a14_03e2, false),
        ("mov w1, #0x44", 0x5280_0881, false),
    ] {
        let bytes = words(&[before, 0xd503_201f, 0x9400_0100]);
        let constant = Aarch64.third_argument_is_constant(code(&bytes), BASE + 8);
        assert_eq!(constant, expected, "{name}");
    }
}
